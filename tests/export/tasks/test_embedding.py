"""Embedding: every pooling that sentence-transformers has, shortened vectors, plain encoders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import BertModel

from export.artifacts import SourceModel
from export.original import load_original, quiet
from export.parity_door import LocalDoor
from export.profiles import cpu_profile
from export.tasks import embedding
from facade.inference.embed import shorten_vector
from tests.export.assembled import assemble
from tests.export.tiny_model import HIDDEN_SIZE, make_tiny_model, make_tokenizer, tiny_config

TEXTS = ["the cat", "", "the cat sat on the mat " * 9, "tree"]


@pytest.mark.parametrize(
    ("pooling", "width"), [(("cls", "max"), 2 * HIDDEN_SIZE), ("lasttoken", HIDDEN_SIZE)]
)
def test_other_poolings_are_traced(pooling: str | tuple[str, ...], width: int, tmp_path: Path) -> None:
    """A vector of the first token, of the last, of maxima, or several joined, equals sentence-transformers'."""
    made = assemble(make_tiny_model(tmp_path / "model", pooling=pooling), tmp_path)
    assert made.draft.graph.width == width
    assert made.compare().figures["min_cosine"] > 0.99999


def test_a_model_that_shortens_its_vectors_keeps_doing_so(tmp_path: Path) -> None:
    """A model saved with truncate_dim answers with that many components, as sentence-transformers' encode does."""
    made = assemble(make_tiny_model(tmp_path / "model", truncate_dim=12), tmp_path)
    assert made.task.card(made.source, made.draft.graph)["dimension"] == 12
    assert made.compare().figures["max_norm_difference"] < 1e-4


def test_a_plain_encoder_is_pooled_as_sentence_transformers_would(tmp_path: Path) -> None:
    """An encoder without modules.json is exported with mean pooling when its task is named, and the reader is told."""
    model = tmp_path / "model"
    make_tokenizer(model)
    BertModel(tiny_config()).save_pretrained(model)
    made = assemble(model, tmp_path, task="embedding")
    assert "mean of its tokens" in made.source.notes[0]
    assert made.compare().figures["min_cosine"] > 0.99999


def test_shortened_vectors_equal_truncate_dim(tiny_model: Path, tmp_path: Path) -> None:
    """What callers get for fewer dimensions is sentence-transformers' truncate_dim, scaled to length 1."""
    made = assemble(tiny_model, tmp_path)
    vectors, _ = LocalDoor(made.draft).encode(TEXTS)
    with quiet():
        original = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=16)
        expected = original.encode(TEXTS, normalize_embeddings=True)
    raw = b"".join(shorten_vector(vector.tobytes(), 16) for vector in vectors)
    shortened = np.frombuffer(raw, dtype=np.float32).reshape(len(TEXTS), 16)
    assert np.abs(shortened - expected).max() < 1e-5


def test_trained_dimensions_stand_in_the_card(source: SourceModel, converted: object) -> None:
    """A model that names the dimensions it was trained for passes them on; others say nothing."""
    trained = replace(source, matryoshka_dimensions=(8, 16, 4096))
    assert embedding.card(trained, converted)["matryoshka_dimensions"] == [8, 16]
    assert "matryoshka_dimensions" not in embedding.card(source, converted)


def test_the_door_keeps_to_the_tensor_contract(source: SourceModel, converted: object) -> None:
    """Text in as BYTES [1]; the vector as FP32 and the count as UINT32 out."""
    card = embedding.card(source, converted) | {"release": {"stable": 1}}
    config = embedding.door_config("tiny", card, cpu_profile(2), [1])
    assert [(i.name, list(i.dims)) for i in config.input] == [("text", [1])]
    assert [(o.name, list(o.dims)) for o in config.output] == [
        ("embedding", [load_original(source).get_embedding_dimension()]),
        ("num_input_tokens", [1]),
    ]
