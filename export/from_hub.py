"""
Find a model: its folder (downloaded if it is a hub id), and what its own files say.

No weights are loaded and nothing heavy is imported, so that a wrong model is refused at once.
"""

import errno
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors

from export import from_files
from export.artifacts import SourceModel
from export.errors import BadInput, ModelNotFound, ModelUnreadable
from export.from_files import read_json
from export.options import ExportOptions, check_task

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_UNUSED_FILES = [
    "onnx/*",
    "openvino/*",
    "*.h5",
    "*.msgpack",
    "*.ot",  # codespell:ignore ot
    "*.onnx",
    "*.gguf",
    "flax_*",
    "tf_*",
]
"""Other frameworks' copies of the weights; not downloaded."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""The system's reasons that lie with this machine's disk and not with the network."""


def find_model(options: ExportOptions) -> SourceModel:
    """
    Find the model that was asked for, and read what its files say.

    Args:
        options: What was asked for.

    Returns:
        The model on this machine's disk.

    Raises:
        ModelNotFound: If there is no such folder or hub id, or it can't be reached or opened.

        ModelUnreadable: If files are missing or damaged.

        BadInput: If it brings its own code without the flag, or its task isn't the one asked for.
    """
    folder, model_id, revision = _locate(options)
    try:
        return _read_files(options, folder, model_id, revision)
    # Its JSON is whole, but a number is a text, or a list a number: each key read would need a check of its own.
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ModelUnreadable(
            f"A value in the JSON files of '{model_id}' isn't of the kind that belongs there ({error}). "
            "Download the model again."
        ) from error


def _read_files(options: ExportOptions, folder: Path, model_id: str, revision: str | None) -> SourceModel:
    """Read what a model's own files say of it."""
    config = read_json(folder / "config.json")
    modules = from_files.read_modules(folder)
    from_files.refuse_remote_code(model_id, config, modules, is_trusted=options.trust_remote_code)
    own = read_json(folder / "config_sentence_transformers.json", default={})
    fitting = from_files.find_tasks(config, modules, own.get("model_type"))
    task = _choose_task(model_id, options.task, fitting, config)
    from_files.check_prompts(folder, model_id)
    from_files.check_weights(folder, model_id)
    _check_input_files(folder, model_id, task)
    tokenizer_config = read_json(folder / "tokenizer_config.json", default={})
    has_labels = task.endswith("classification")
    return SourceModel(
        folder=folder,
        model_id=model_id,
        revision=revision,
        fingerprint=from_files.fingerprint_files(folder),
        task=task,
        max_input_tokens=0
        if task == "image-classification"
        else from_files.find_max_input_tokens(folder, config, task),
        pad_id=int(config.get("pad_token_id") or 0),
        trust_remote_code=options.trust_remote_code,
        truncation_side=tokenizer_config.get("truncation_side", "right"),
        labels=from_files.find_labels(config) if has_labels else (),
        matryoshka_dimensions=tuple(sorted(config.get("matryoshka_dimensions") or ())),
        notes=from_files.find_notes(config, modules, task),
    )


def _check_input_files(folder: Path, model_id: str, task: str) -> None:
    """Refuse a model without the file that says how its inputs are prepared."""
    if task == "image-classification" and not (folder / "preprocessor_config.json").is_file():
        raise ModelUnreadable(
            f"'{model_id}' has no preprocessor_config.json, which says how images are prepared. Download it again."
        )
    if task != "image-classification" and not (folder / "tokenizer.json").is_file():
        raise ModelUnreadable(
            f"'{model_id}' has no tokenizer.json. Write one with "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) and export again."
        )


def _choose_task(model_id: str, asked: str | None, fitting: tuple[str, ...], config: dict[str, Any]) -> str:
    """Return the task asked for if it fits, or the one that the files name."""
    task = asked or (fitting[0] if fitting else None)
    if task is None:
        raise BadInput(f"The files of '{model_id}' don't say what it is for. Name it with --task.")
    check_task(task)
    if fitting and task not in fitting:
        raise BadInput(
            f"'{model_id}' is a model for {' or '.join(fitting)}, not for {task}. Leave --task out, or change it."
        )
    if not fitting and task != "embedding" and config.get("architectures"):
        raise BadInput(
            f"'{model_id}' is a {config['architectures'][0]}, which has no head for {task}. "
            "Give a model that was trained for it, or use --task embedding."
        )
    return task


def _locate(options: ExportOptions) -> tuple[Path, str, str | None]:
    """Return the model's folder, its id to record, and its commit if it came from the hub."""
    folder = Path(options.model).expanduser()
    if options.model and folder.is_dir():
        if options.revision is not None:
            raise BadInput("--revision names a commit on the hub, but MODEL is a folder. Leave it out.")
        return folder.resolve(), options.model_id or folder.resolve().name, None
    if folder.exists() or not _HUB_ID.fullmatch(options.model):
        raise ModelNotFound(
            f"There is no model folder at '{options.model}'. Check the path, or give a hub id."
        )
    downloaded = _download(options.model, options.revision)
    # The cache keeps each commit in a folder of that name.
    return downloaded, options.model, downloaded.name


def _download(model_id: str, revision: str | None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache."""
    at = f" at revision '{revision}'" if revision else ""
    try:
        folder = huggingface_hub.snapshot_download(model_id, revision=revision, ignore_patterns=_UNUSED_FILES)
    except hub_errors.GatedRepoError as error:
        raise ModelNotFound(
            f"'{model_id}' is gated. Accept its terms on its hub page, then set HF_TOKEN to a token of that account."
        ) from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError) as error:
        raise ModelNotFound(
            f"There is no folder and no hub model '{model_id}'{at} that these credentials can see. "
            "Check the name; a private model needs HF_TOKEN."
        ) from error
    except (hub_errors.HfHubHTTPError, hub_errors.LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise ModelNotFound(
                f"'{model_id}' can't be downloaded: {error.strerror}. "
                "Free space there, or set HF_HOME to a folder on another disk."
            ) from error
        raise ModelNotFound(
            f"There is no folder '{model_id}', and the hub can't be reached for it. "
            "Give a local folder, or check the network, HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error
    return Path(folder)
