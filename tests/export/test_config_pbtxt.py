"""The configs that Triton reads."""

from pathlib import Path
from typing import Any

import pytest

from export import config_core, config_pbtxt
from export.artifacts import Graph, TensorSpec
from export.errors import RepositoryError
from export.profiles import cpu_profile, profile_for
from export.tasks import embedding

TOKENS = tuple(TensorSpec(name, "INT64", (-1,)) for name in ("input_ids", "attention_mask"))
GRAPH = Graph(Path("model.onnx"), TOKENS, "sentence_embedding", 384, 18)
CARD = {"task": "embedding", "dimension": 384, "model_id": 'quote " and ü', "release": {"stable": 3}}


@pytest.fixture
def door() -> Any:
    """A door's config that serves version 3."""
    return embedding.door_config("minilm", CARD, cpu_profile(2), [3])


@pytest.fixture
def core() -> Any:
    """A core's config that serves versions 2 and 3."""
    return config_core.core_config("minilm_core", GRAPH, cpu_profile(2), [3, 2, 3])


def test_the_door_has_the_tensor_contract(door: Any) -> None:
    """Text in as BYTES [1]; the vector as FP32 and the count as UINT32 out; batched, no optional input."""
    assert [(i.name, i.data_type, list(i.dims), i.optional) for i in door.input] == [("text", 13, [1], False)]
    assert [(o.name, o.data_type, list(o.dims)) for o in door.output] == [
        ("embedding", 11, [384]),
        ("num_input_tokens", 4, [1]),
    ]
    assert (door.backend, door.max_batch_size) == ("python", 64)
    assert door.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in door.instance_group] == [(2, 2)]


def test_only_a_core_on_a_gpu_merges_groups(core: Any) -> None:
    """Groups of a CPU's door have lengths of their own, and Triton's batcher spins on what it can't merge."""
    on_gpu = config_core.core_config("minilm_core", GRAPH, profile_for("a100").fit(256), [3])
    assert not core.HasField("dynamic_batching")
    assert on_gpu.HasField("dynamic_batching")


def test_the_core_runs_the_graph(core: Any) -> None:
    """int64 inputs of any length, the pooled output, one thread an operator, and a warm-up row."""
    assert [(i.name, i.data_type, list(i.dims)) for i in core.input] == [
        ("input_ids", 9, [-1]),
        ("attention_mask", 9, [-1]),
    ]
    assert [(o.name, o.data_type, list(o.dims)) for o in core.output] == [("sentence_embedding", 11, [384])]
    assert core.parameters["intra_op_thread_count"].string_value == "1"
    assert (core.backend, core.platform) == ("onnxruntime", "")
    assert set(core.model_warmup[0].inputs) == {"input_ids", "attention_mask"}


def test_versions_are_served_by_number(door: Any, core: Any) -> None:
    """The policy is specific: Triton serves what is named, whatever lies on disk."""
    assert config_pbtxt.served_versions(door) == [3]
    assert config_pbtxt.served_versions(core) == [2, 3]


def test_no_response_cache(door: Any, core: Any) -> None:
    """Triton's own cache is never switched on."""
    assert not door.HasField("response_cache")
    assert not core.HasField("response_cache")


def test_text_survives_the_round_trip(door: Any, core: Any, tmp_path: Path) -> None:
    """What is written is read back equal, the card with its quotes and accents included."""
    for config in (door, core):
        (tmp_path / config_pbtxt.CONFIG_FILE).write_text(config_pbtxt.to_text(config), encoding="utf-8")
        assert config_pbtxt.read_config(tmp_path) == config
    assert config_pbtxt.read_card(door) == CARD


def test_a_missing_config_is_none(tmp_path: Path) -> None:
    """A model that was never published has no config."""
    assert config_pbtxt.read_config(tmp_path) is None


@pytest.mark.parametrize("content", [b"max_batch_size: many", b"\xff\xfe", b"unknown_field: 1"])
def test_a_broken_config_is_named(tmp_path: Path, content: bytes) -> None:
    """A config that Triton couldn't read either is an error with the file's name."""
    (tmp_path / config_pbtxt.CONFIG_FILE).write_bytes(content)
    with pytest.raises(RepositoryError, match=r"config\.pbtxt can't be read"):
        config_pbtxt.read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_strangers_config_has_no_card(core: Any, text: str) -> None:
    """No card, or one that isn't a JSON object, means that the export didn't write this door."""
    if text:
        core.parameters["model_card"].string_value = text
    assert config_pbtxt.read_card(core) is None


def test_own_cores_are_told_from_others(door: Any, core: Any) -> None:
    """Only a core that the export wrote is taken for one."""
    assert config_pbtxt.is_own_core(core)
    assert not config_pbtxt.is_own_core(door)
