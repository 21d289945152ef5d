"""A real Triton with a model of every kind that generates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as config_pb

import export.runtime.decoder
from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.contract.vllm_standin import INPUTS, OUTPUTS
from tests.export.runtime.decoder.conftest import tiny_decoder, tiny_llama
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["tiny_decoder", "tiny_llama"]

STANDIN = "vllm_standin"
DECODER = "decoder"

MODELS = {STANDIN: "vllm:num_requests_running", DECODER: "decoder_active"}
"""Kinds of models, and each one's metric of the answers that it works on."""

DECODER_CARD = {"task": "text-generation", "max_n": 4, "max_logprobs": 5}


@pytest.fixture(scope="session", autouse=True)
async def _one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one loop for the whole run: gRPC's poller is one a process and doesn't like loops that close."""
    yield  # noqa: PT022  # a loop lives as long as an unfinished fixture


@pytest.fixture(name="triton", scope="session")
def _triton(tmp_path_factory: pytest.TempPathFactory, tiny_decoder: Path) -> Iterator[TritonServer]:
    """A real Triton that serves them all."""
    install_triton(Places(CHECKOUT), print)
    repository = tmp_path_factory.mktemp("repository")
    write_standin(repository)
    write_decoder(repository, tiny_decoder)
    with TritonServer(repository, log_path=tmp_path_factory.mktemp("log") / "triton.log") as triton:
        yield triton


def write_standin(repository: Path) -> None:
    """
    Put the stand-in for the vLLM backend into a repository, without a model card: it is nobody's export.

    Args:
        repository: The model repository.
    """
    folder = repository / STANDIN / "1"
    shutil.copytree(Path(__file__).parent / STANDIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder.parent / "config.pbtxt").write_text('backend: "python"\n')


def write_decoder(repository: Path, tiny_decoder: Path) -> None:
    """
    Put our decoder into a repository, around a small graph with random weights.

    Args:
        repository: The model repository.

        tiny_decoder: The graph and its settings.
    """
    folder = repository / DECODER / "1"
    shutil.copytree(tiny_decoder, folder)
    for module in Path(export.runtime.decoder.__file__).parent.glob("*.py"):
        shutil.copyfile(module, folder / module.name)
    save_byte_level(folder).rename(folder / "tokenizer.json")
    config = config_pb.ModelConfig(backend="python")
    config.model_transaction_policy.decoupled = True
    config.instance_group.add(count=1, kind=config_pb.ModelInstanceGroup.KIND_CPU)
    config.parameters["model_card"].string_value = json.dumps(DECODER_CARD)
    for name, kind, dims, optional in INPUTS:
        config.input.add(name=name, data_type=config_pb.DataType.Value(kind), dims=dims, optional=optional)
    for name, kind, dims in OUTPUTS:
        config.output.add(name=name, data_type=config_pb.DataType.Value(kind), dims=dims)
    (folder.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
