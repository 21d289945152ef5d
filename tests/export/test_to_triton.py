"""The two models' folders."""

import json
import time
from pathlib import Path

from export.artifacts import Draft, Publication, SourceModel
from export.config_pbtxt import read_card, read_config
from tests.export.tiny_model import HIDDEN_SIZE, MAX_TOKENS


def test_the_tokenizer_is_the_sources_byte_for_byte(draft: Draft, source: SourceModel) -> None:
    """The door gets the source's file, not a library's rendering of it."""
    assert (draft.door_folder / "tokenizer.json").read_bytes() == source.tokenizer_file.read_bytes()


def test_the_door_has_all_it_needs(draft: Draft) -> None:
    """Code and settings lie in the version's folder; the settings name the core and its tensors."""
    assert {path.name for path in draft.door_folder.iterdir()} == {
        "model.py",
        "batching.py",
        "metrics.py",
        "tokenizing.py",
        "door.json",
        "tokenizer.json",
    }
    assert json.loads((draft.door_folder / "door.json").read_text()) == {
        "inputs": ["text"],
        "output": "embedding",
        "core_model": "tiny_core",
        "core_inputs": list(draft.graph.input_names),
        "core_output": "sentence_embedding",
        "width": HIDDEN_SIZE,
        "max_input_tokens": MAX_TOKENS,
        "truncation_side": "right",
        "pad_id": 0,
        "max_batch_size": 64,
        "grouping": {"kind": "padded_tokens", "limit_tokens": 256, "call_tokens": 24},
    }


def test_the_graph_moves_into_the_core(draft: Draft) -> None:
    """The core's version folder holds the graph and nothing else."""
    assert [path.name for path in draft.core_folder.iterdir()] == ["model.onnx"]


def test_the_published_card_tells_the_facade_all(published: Publication) -> None:
    """The door's config carries task, dimension, limit, lifetime, release and the time of the export."""
    card = read_card(read_config(published.repository / "tiny"))
    assert card is not None
    assert abs(card.pop("created") - time.time()) < 3600
    assert card == {
        "task": "embedding",
        "model_id": "tiny",
        "revision": None,
        "dimension": HIDDEN_SIZE,
        "max_input_tokens": MAX_TOKENS,
        "default_cache_ttl_s": 86_400,
        "release": {"stable": 1},
    }


def test_the_published_files_are_in_their_places(published: Publication) -> None:
    """Door and core have the same version, and nothing is left beside the repository."""
    files = {
        path.relative_to(published.repository).as_posix()
        for path in published.repository.rglob("*")
        if path.is_file()
    }
    assert files == {
        ".lock",
        "tiny/config.pbtxt",
        "tiny/1/batching.py",
        "tiny/1/metrics.py",
        "tiny/1/core.config.pbtxt",
        "tiny/1/door.config.pbtxt",
        "tiny/1/door.json",
        "tiny/1/manifest.json",
        "tiny/1/model.py",
        "tiny/1/tokenizer.json",
        "tiny/1/tokenizing.py",
        "tiny_core/config.pbtxt",
        "tiny_core/1/model.onnx",
    }
    assert [path.name for path in Path(published.repository.parent).iterdir()] == ["repository"]
