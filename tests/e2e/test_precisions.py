"""Every config that a CPU can serve is loaded by the real Triton, which answers as parity promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tritonclient.grpc

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from export import pipeline
from export.options import ExportOptions
from export.progress import Progress
from tests.export.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

TEXTS = ["the cat sat on the mat", "a tree", "cats looked at it from the tree while other cats sat", ""]

PRECISIONS = ("fp32", "int8")
"""What a CPU can run."""


@pytest.fixture(name="client", scope="module")
def _client(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    """A real Triton with the tiny model in every precision of a CPU, each under its own name."""
    folder = tmp_path_factory.mktemp("precisions")
    model = make_tiny_model(folder)
    repository: Path = folder / "repository"
    for precision in PRECISIONS:
        options = ExportOptions(
            model=str(model), name=f"tiny-{precision}", repository=repository, precision=precision
        )
        pipeline.run_export(options, Progress(None))
    install_triton(Places(CHECKOUT), print)
    with TritonServer(repository) as triton:
        client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
        yield client
        client.close()


def encode(client: tritonclient.grpc.InferenceServerClient, name: str) -> npt.NDArray[np.float32]:
    """Ask Triton for the vectors of the texts, in one request."""
    text = tritonclient.grpc.InferInput("text", [len(TEXTS), 1], "BYTES")
    text.set_data_from_numpy(np.array([[row.encode()] for row in TEXTS], dtype=np.object_))
    vectors: npt.NDArray[np.float32] = client.infer(name, [text]).as_numpy("embedding")
    return vectors


@pytest.mark.e2e
def test_triton_serves_every_precision_of_a_cpu(client: tritonclient.grpc.InferenceServerClient) -> None:
    """Doors and cores load as they were written, and the quantised model answers like the other, but not equally."""
    exact, quantised = (encode(client, f"tiny-{precision}") for precision in PRECISIONS)
    cosines = (exact * quantised).sum(axis=1)
    assert cosines.min() > 0.95
    assert not np.array_equal(exact, quantised)
