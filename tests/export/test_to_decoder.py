"""The decoder's graph: built for what the runtime can drive, refused with a sentence for the rest."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper

from export.errors import BadInput, ConversionFailed, ModelUnreadable
from export.to_decoder import build_decoder, check_convertible, read_graph

if TYPE_CHECKING:
    from pathlib import Path

    from export.artifacts import Graph, SourceModel


def with_config(source: SourceModel, folder: Path, **changes: Any) -> SourceModel:
    """Give the toy another `config.json`."""
    config = json.loads((source.folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return replace(source, folder=folder)


def test_the_graph_is_described(chat_graph: Graph) -> None:
    """Ids, mask and one pair of caches a layer go in; logits of one token come out."""
    names = chat_graph.input_names
    assert names[:4] == ("input_ids", "attention_mask", "past_key_values.0.key", "past_key_values.0.value")
    assert chat_graph.inputs[2].dims == (5, -1, 32)
    assert (chat_graph.output_name, chat_graph.width, chat_graph.precision) == ("logits", 2048, "fp32")


def test_nothing_but_the_graph_is_left(chat_graph: Graph) -> None:
    """The builder's own tokenizer files aren't the source's, and go."""
    found = {path.name for path in chat_graph.path.parent.iterdir()}
    assert found == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "is a GPT2LMHeadModel.*LlamaForCausalLM.*--engine vllm"),
        ({"architectures": None}, r"is a \(none\)"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling 'dynamic'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling 'linear'"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantized already \(awq\)"),
        ({"intermediate_size": 2048}, r"as wide as its vocabulary \(2048\)"),
    ],
)
def test_what_the_builder_lacks_is_refused_by_name(
    chat_source: SourceModel, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Before anything is loaded, with what can be used instead."""
    with pytest.raises(BadInput, match=words):
        check_convertible(with_config(chat_source, tmp_path, **changes))


def test_positions_that_the_builder_knows_pass(chat_source: SourceModel, tmp_path: Path) -> None:
    """Llama 3's stretched positions, and no stretching at all."""
    check_convertible(with_config(chat_source, tmp_path, rope_scaling={"rope_type": "llama3", "factor": 8.0}))
    check_convertible(with_config(chat_source, tmp_path, rope_scaling=None))


def test_half_precision_is_not_for_cpus(chat_source: SourceModel, tmp_path: Path) -> None:
    """The message names the formats that are."""
    with pytest.raises(BadInput, match=r"fp16 doesn't run on a CPU.*fp32, int8 or int4"):
        build_decoder(chat_source, tmp_path / "graph", "fp16")


def test_a_builder_that_fails_is_quoted(chat_source: SourceModel, tmp_path: Path) -> None:
    """The last thing that it said is in the message."""
    broken = with_config(chat_source, tmp_path, hidden_size=321)
    shutil.copyfile(chat_source.folder / "tokenizer.json", tmp_path / "tokenizer.json")

    with pytest.raises(ConversionFailed, match=r"'model' can't be converted: .*no file named"):
        build_decoder(broken, tmp_path / "graph", "fp32")


def test_a_graph_with_other_inputs_is_refused(chat_source: SourceModel, tmp_path: Path) -> None:
    """Hybrid models keep states that the decoder doesn't know."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    state = helper.make_tensor_value_info("past_conv.0", TensorProto.FLOAT, ["batch", 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, 8])
    graph = helper.make_graph([], "odd", [ids, state], [logits])
    onnx.save(helper.make_model(graph), str(tmp_path / "model.onnx"))

    with pytest.raises(ConversionFailed, match=r"can't fill: past_conv\.0\."):
        read_graph(chat_source, tmp_path / "model.onnx", "fp32")


def test_a_missing_config_is_a_damaged_model(chat_source: SourceModel, tmp_path: Path) -> None:
    """Not a stack trace."""
    with pytest.raises(ModelUnreadable, match=r"config\.json can't be read"):
        check_convertible(replace(chat_source, folder=tmp_path))
