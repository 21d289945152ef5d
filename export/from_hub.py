"""
Find a model: its folder (downloaded if it is a hub id), its task and its limits, from its own files.

No weights are loaded and nothing heavy is imported, so that a wrong model is refused at once.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors

from export.artifacts import SourceModel
from export.errors import BadInput, ModelNotFound, ModelUnreadable
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

_TASK_BY_ARCHITECTURE = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForCausalLM": "text-generation",
}
"""Task of a `transformers` class, by the end of its name."""

_OWN_MODULES = "sentence_transformers."
"""Start of every module type in `modules.json` that is not the model's own code."""

MAX_SENSIBLE_TOKENS = 1_000_000
"""transformers writes 10^30 into `model_max_length` for "no limit"; anything above this is read as that."""


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
    config = _read_json(folder / "config.json")
    modules = _read_modules(folder)
    _refuse_remote_code(model_id, config, modules, is_trusted=options.trust_remote_code)
    found_task = find_task(config, modules)
    task = options.task or found_task
    if task is None:
        raise BadInput(f"The files of '{model_id}' don't say what it is for. Name it with --task.")
    check_task(task)
    if found_task not in {None, task}:
        raise BadInput(
            f"'{model_id}' is a model for {found_task}, not for {task}. Leave --task out, or change it."
        )
    _check_prompts(folder, model_id)
    if not (folder / "tokenizer.json").is_file():
        raise ModelUnreadable(
            f"'{model_id}' has no tokenizer.json. Write one with "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) and export again."
        )
    return SourceModel(
        folder=folder,
        model_id=model_id,
        revision=revision,
        fingerprint=fingerprint_files(folder),
        task=task,
        max_input_tokens=find_max_input_tokens(folder, config),
        pad_id=int(config.get("pad_token_id") or 0),
        trust_remote_code=options.trust_remote_code,
    )


def find_task(config: dict[str, Any], modules: list[dict[str, Any]]) -> str | None:
    """
    Read the task from a model's files.

    Args:
        config: Its `config.json`.

        modules: Its `modules.json`; empty if it has none.

    Returns:
        The task's name, or None if the files don't say.
    """
    if modules:
        return "embedding"
    for architecture in config.get("architectures") or ():
        for ending, task in _TASK_BY_ARCHITECTURE.items():
            if architecture.endswith(ending):
                return task
    return None


def find_max_input_tokens(folder: Path, config: dict[str, Any]) -> int:
    """
    Read after how many tokens the original truncates, as sentence-transformers decides it.

    Args:
        folder: The model's folder.

        config: Its `config.json`.

    Returns:
        Tokens, special tokens included.

    Raises:
        ModelUnreadable: If no file says.
    """
    own = _read_json(folder / "sentence_bert_config.json", default={}).get("max_seq_length")
    if own:
        return int(own)
    limits = [
        _read_json(folder / "tokenizer_config.json", default={}).get("model_max_length"),
        config.get("max_position_embeddings"),
    ]
    sensible = [int(limit) for limit in limits if limit and 0 < limit < MAX_SENSIBLE_TOKENS]
    if not sensible:
        raise ModelUnreadable(
            f"No file in {folder} says how long an input may be. Set max_seq_length in sentence_bert_config.json."
        )
    return min(sensible)


def fingerprint_files(folder: Path) -> str:
    """
    Hash a model's files: equal only if no name and no byte changed.

    Args:
        folder: The model's folder; hidden files and folders are left out.

    Returns:
        SHA-256, as 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{relative.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


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
        raise ModelNotFound(
            f"There is no folder '{model_id}', and the hub can't be reached for it. "
            "Give a local folder, or check the network, HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error
    return Path(folder)


def _refuse_remote_code(
    model_id: str, config: dict[str, Any], modules: list[dict[str, Any]], *, is_trusted: bool
) -> None:
    """Refuse a model that would run its own Python code here, unless the caller said so."""
    has_own_code = "auto_map" in config or any(
        not str(module.get("type", "")).startswith(_OWN_MODULES) for module in modules
    )
    if has_own_code and not is_trusted:
        raise BadInput(
            f"'{model_id}' brings its own Python code, which would run on this machine. "
            "Read that code, then repeat with --trust-remote-code."
        )


def _check_prompts(folder: Path, model_id: str) -> None:
    """Refuse a model that puts a prompt before every text: the door sends texts as they are."""
    prompt_name = _read_json(folder / "config_sentence_transformers.json", default={}).get(
        "default_prompt_name"
    )
    if prompt_name:
        raise ModelUnreadable(
            f"'{model_id}' adds its prompt '{prompt_name}' to every text, which the door doesn't do. "
            "Set default_prompt_name to null in config_sentence_transformers.json and send the prompt yourself."
        )


def _read_modules(folder: Path) -> list[dict[str, Any]]:
    """Read a sentence-transformers model's list of modules; empty if it isn't one."""
    modules = _read_json(folder / "modules.json", default=[])
    if not isinstance(modules, list):
        raise ModelUnreadable(
            f"{folder / 'modules.json'} is not a list of modules. Download the model again."
        )
    return modules


def _read_json(path: Path, default: Any = None) -> Any:
    """Read one of the model's JSON files; *default* stands for a file that may be missing."""
    if not path.is_file() and default is not None:
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelUnreadable(
            f"{path.parent} has no {path.name}. Give a folder that holds a model."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelUnreadable(f"{path} can't be read ({error}). Download the model again.") from error
