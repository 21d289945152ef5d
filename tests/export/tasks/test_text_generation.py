"""Text generation as the pipeline sees it: one model without a core, for either engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploy.local.model import CHAT_FOLDER
from export import pipeline
from export.config_pbtxt import read_card, read_config
from export.errors import BadInput
from export.options import ExportOptions, GenerationOptions
from export.progress import Progress
from export.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    from pathlib import Path

    from export.artifacts import Draft, SourceModel

CARD_FIELDS = {
    "task",
    "model_id",
    "revision",
    "created",
    "default_cache_ttl_s",
    "max_input_tokens",
    "max_model_len",
    "chat_template",
    "special_tokens",
    "adds_bos",
    "default_sampling",
    "max_n",
    "max_logprobs",
}


def test_the_version_is_all_that_the_decoder_reads(chat_source: SourceModel, chat_draft: Draft) -> None:
    """Its code, the tokenizer byte for byte, the graph, and `decoder.json`; there is no core."""
    names = {path.name for path in chat_draft.door_folder.iterdir()}
    settings = json.loads((chat_draft.door_folder / "decoder.json").read_text())

    assert chat_draft.core_folder is None
    assert {"model.py", "engine.py", "tokenizer.json", "model.onnx", "model.onnx.data"} <= names
    assert "door.json" not in names
    copied = (chat_draft.door_folder / "tokenizer.json").read_bytes()
    assert copied == chat_source.tokenizer_file.read_bytes()
    assert (settings["layers"], settings["kv_heads"], settings["head_dim"]) == (4, 5, 32)
    assert (settings["eos_token_ids"], settings["bos_token_id"]) == ([4, 2], 1)
    assert (settings["threads"], settings["slots"], settings["max_model_len"]) == (2, 32, 1024)


def test_the_card_tells_the_facade_how_to_chat(chat_source: SourceModel, chat_draft: Draft) -> None:
    """One token less than the context is left for a prompt."""
    options = ExportOptions(model=str(CHAT_FOLDER), name="chat", repository=chat_draft.door_folder)
    card = TextGeneration(options).card(chat_source, chat_draft.graph)

    assert set(card) == CARD_FIELDS
    assert (card["task"], card["max_input_tokens"], card["max_model_len"]) == ("text-generation", 1023, 1024)


def test_a_gpu_is_vllms(chat_source: SourceModel, tmp_path: Path) -> None:
    """The decoder of ours runs on CPUs."""
    options = ExportOptions(str(CHAT_FOLDER), "chat", tmp_path, target="a100")

    with pytest.raises(BadInput, match="Use --engine vllm there"):
        TextGeneration(options).convert(chat_source, tmp_path / "graph")


def test_vllm_gets_a_version_without_a_graph(tmp_path: Path) -> None:
    """Its two files, the card of the same form, and nothing that says it was compared here."""
    options = ExportOptions(
        str(CHAT_FOLDER),
        "chat",
        tmp_path / "repository",
        target="a100",
        engine="vllm",
        generation=GenerationOptions(max_model_len=512, dtype="bfloat16"),
    )
    publication = pipeline.run_export(options, Progress(None))

    version = tmp_path / "repository" / "chat" / "1"
    config = read_config(version.parent)
    card = read_card(config) or {}
    assert {path.name for path in version.iterdir()} >= {"model.json", "manifest.json"}
    assert not list(version.glob("*.py")) + list(version.glob("*.onnx*"))
    assert json.loads((version / "model.json").read_text())["max_model_len"] == 512
    assert config is not None
    assert config.backend == "vllm"
    assert set(card) == {*CARD_FIELDS, "release"}
    assert (card["max_input_tokens"], card["max_model_len"]) == (511, 512)
    assert publication.manifest["parity"]["measure"] == "not run here"
    assert publication.manifest["verified_on"] is None
    assert publication.manifest["recipe"]["generation"]["dtype"] == "bfloat16"
    assert not (tmp_path / "repository" / "chat_core").exists()
