"""Images in requests, and labels in order."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pytest

from facade.errors import BackendFailed, InvalidInput
from facade.inference.catalogue import ModelCard, ServedModel
from facade.inference.classify import decode_image, rank_labels

MODEL = ServedModel("m", (1,), 8, ModelCard(task="text-classification", labels=("a", "b", "c")))


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:image/x;charset=y;BASE64,"])
def test_an_image_is_read_from_base64(head: str) -> None:
    """Bare, or in a data: URL."""
    assert decode_image(head + b64encode(b"\x89PNG").decode(), "input", 100) == b"\x89PNG"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:image/png,raw", "without base64"),
        ("https://example.org/cat.png", "nothing is fetched"),
        ("not base64!", "is not base64"),
        ("é", "is not base64"),
        ("", "is an empty image"),
        (b64encode(bytes(101)).decode(), "has 101 bytes; an image may have 100"),
    ],
)
def test_what_is_no_image_is_named(text: str, reason: str) -> None:
    """With what to do about it."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        decode_image(text, "input[2]", 100)

    assert caught.value.param == "input[2]"


def test_the_best_label_comes_first() -> None:
    """Equal scores keep the labels' order; as many as asked for are given."""
    values = np.array([0.2, 0.4, 0.4], dtype="<f4").tobytes()

    ranked = rank_labels(values, MODEL, 2)

    assert [found.label for found in ranked] == ["b", "c"]
    assert ranked[0].score == pytest.approx(0.4)


def test_scores_without_labels_are_a_failure() -> None:
    """A card that doesn't fit its model gives no wrong names."""
    with pytest.raises(BackendFailed, match="2 scores for its 3 labels"):
        rank_labels(bytes(8), MODEL, None)
