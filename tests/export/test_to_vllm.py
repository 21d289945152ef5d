"""What Triton's vLLM backend reads, by the names that it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from export.errors import BadInput
from export.options import GenerationOptions
from export.to_vllm import lora_rank_limit, write_vllm_files

if TYPE_CHECKING:
    from pathlib import Path

    from export.artifacts import SourceModel

ENGINE_ARGUMENTS = {
    "model",
    "revision",
    "tokenizer_revision",
    "dtype",
    "max_model_len",
    "tensor_parallel_size",
    "gpu_memory_utilization",
    "enable_prefix_caching",
    "disable_log_stats",
    "trust_remote_code",
    "enable_lora",
    "max_loras",
    "max_lora_rank",
}
"""Fields of vLLM's `AsyncEngineArgs` that are used; an unknown one would be a TypeError at load."""


def make_adapter(folder: Path, rank: int) -> str:
    """Write what tells an adapter's rank."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "peft_type": "LORA"}))
    return str(folder)


def test_a_folder_is_named_by_its_path(chat_source: SourceModel, tmp_path: Path) -> None:
    """As the GPU machine sees it, if that is another one."""
    path = write_vllm_files(chat_source, GenerationOptions(), tmp_path)
    arguments = json.loads(path.read_text())

    assert path.name == "model.json"
    assert set(arguments) <= ENGINE_ARGUMENTS
    assert arguments["model"] == str(chat_source.folder)
    assert (arguments["dtype"], arguments["max_model_len"]) == ("auto", 1024)
    assert not (tmp_path / "multi_lora.json").exists()
    path = write_vllm_files(chat_source, GenerationOptions(served_path="/weights/chat"), tmp_path)
    assert json.loads(path.read_text())["model"] == "/weights/chat"


def test_a_model_of_the_hub_is_pinned(chat_source: SourceModel, tmp_path: Path) -> None:
    """Its id and its commit, so that no later push changes what is served."""
    source = replace(chat_source, model_id="org/chat", revision="abc123", trust_remote_code=True)
    arguments = json.loads(write_vllm_files(source, GenerationOptions(), tmp_path).read_text())

    assert set(arguments) <= ENGINE_ARGUMENTS
    assert (arguments["model"], arguments["revision"], arguments["tokenizer_revision"]) == (
        "org/chat",
        "abc123",
        "abc123",
    )
    assert arguments["trust_remote_code"] is True


def test_adapters_are_listed_by_name(chat_source: SourceModel, tmp_path: Path) -> None:
    """In the backend's own file, and vLLM is told the largest rank."""
    loras = (
        ("legal", make_adapter(tmp_path / "legal", 8)),
        ("poems", make_adapter(tmp_path / "poems", 24)),
    )
    version = tmp_path / "version"
    path = write_vllm_files(chat_source, GenerationOptions(loras=loras), version)
    arguments = json.loads(path.read_text())

    assert set(arguments) <= ENGINE_ARGUMENTS
    assert (arguments["enable_lora"], arguments["max_loras"], arguments["max_lora_rank"]) == (True, 2, 32)
    assert json.loads((version / "multi_lora.json").read_text()) == dict(loras)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (GenerationOptions(max_model_len=4096), "beyond the model's context of 1024"),
        (GenerationOptions(tensor_parallel_size=3), "10 attention heads.*over 3 GPUs"),
        (GenerationOptions(loras=(("a b", "x"),)), "can't name an adapter"),
        (GenerationOptions(loras=(("legal", "nowhere"),)), "PEFT LoRA adapter"),
    ],
)
def test_what_vllm_would_refuse_at_load_is_refused_here(
    chat_source: SourceModel, tmp_path: Path, options: GenerationOptions, words: str
) -> None:
    """Hours before the GPU machine would say it."""
    with pytest.raises(BadInput, match=words):
        write_vllm_files(chat_source, options, tmp_path)


def test_a_rank_is_rounded_up_to_one_that_vllm_knows() -> None:
    """Beyond the largest there is none."""
    assert [lora_rank_limit(rank) for rank in (1, 8, 9, 320, 512)] == [8, 8, 16, 320, 512]
    with pytest.raises(BadInput, match="rank 513"):
        lora_rank_limit(513)
