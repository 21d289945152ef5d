"""The toy can be made again: the same folder, and the same weights to the last bit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import set_seed

from deploy.local.model import CHAT_FOLDER
from deploy.local.tiny_chat import train
from deploy.local.tiny_chat.corpus import Corpus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEIGHTS_LIMIT_BYTES = 10_000_000


@pytest.fixture(name="tokenizer", scope="module")
def _tokenizer() -> Any:
    """The tokenizer, learnt anew."""
    return train.make_tokenizer()


@pytest.fixture(name="_deterministic")
def _deterministic_arithmetic() -> Iterator[None]:
    """Arithmetic as the script has it."""
    torch.use_deterministic_algorithms(mode=True)
    yield
    torch.use_deterministic_algorithms(mode=False)


@pytest.mark.skipif(sys.version_info[:3] != (3, 11, 7), reason="each Python's documentation is another text")
def test_what_is_shipped_is_what_the_script_writes(tokenizer: Any, tmp_path: Path) -> None:
    """Every file but the weights to the last byte, and the weights in their form."""
    train.save(train.make_model(), tokenizer, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in CHAT_FOLDER.iterdir()}
    for path in tmp_path.iterdir():
        shipped = CHAT_FOLDER / path.name
        if path.suffix == ".json":
            assert path.read_bytes() == shipped.read_bytes(), path.name
        else:
            assert path.stat().st_size == shipped.stat().st_size <= WEIGHTS_LIMIT_BYTES


@pytest.mark.usefixtures("_deterministic")
def test_the_same_seed_makes_the_same_weights(tokenizer: Any) -> None:
    """After a step of training they differ from the first ones, and not from each other."""
    said: list[str] = []
    weights = []
    for _ in range(2):
        set_seed(train.SEED)
        model = train.make_model()
        first = model.model.layers[0].mlp.up_proj.weight.detach().clone()
        train.train(model, Corpus(tokenizer, train.SEED), 1, said.append)
        weights.append(model.state_dict())

    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert not torch.equal(first, weights[0]["model.layers.0.mlp.up_proj.weight"])
    assert [line.split(",")[0] for line in said] == ["step 0", "step 0"]


def test_matrices_come_near_orthogonal() -> None:
    """Wide and tall ones: singular values between a half and one and a half."""
    for shape in ((32, 96), (96, 32)):
        values = torch.linalg.svdvals(train.orthogonalize(torch.randn(shape)))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.5
