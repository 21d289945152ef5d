"""
What a model's own files say about it: its task, limits and labels, and what can't be exported.

No weights are loaded and nothing heavy is imported, so that a wrong model is refused at once.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from export.errors import BadInput, ModelUnreadable

_TASK_BY_ARCHITECTURE = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForCausalLM": "text-generation",
}
"""Task of a `transformers` class, by the end of its name."""

_OWN_MODULES = "sentence_transformers."
"""Start of every module type in `modules.json` that is not the model's own code."""

_OWN_ACTIVATIONS = "torch."
"""Start of every activation in a cross-encoder's `config.json` that is not the model's own code."""

_CROSS_ENCODER_KEYS = ("sentence_transformers", "sbert_ce_default_activation_function")
"""What sentence-transformers writes into the `config.json` of a cross-encoder, since 4.0 and before."""

_OFFSET_POSITIONS = (
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
)
"""Architectures whose position table starts behind the padding id: `max_position_embeddings` counts rows never used."""

_LFS_POINTER = b"version https://git-lfs"
"""Start of the small text that Git leaves in place of a large file."""

MAX_SENSIBLE_TOKENS = 1_000_000
"""transformers writes 10^30 into `model_max_length` for "no limit"; anything above this is read as that."""


def find_tasks(config: dict[str, Any], modules: list[dict[str, Any]], kind: str | None) -> tuple[str, ...]:
    """
    Read from a model's files what it can do.

    Args:
        config: Its `config.json`.

        modules: Its `modules.json`; empty if it has none.

        kind: The `model_type` of its `config_sentence_transformers.json`; None if it has none.

    Returns:
        Tasks that fit, the likeliest first; empty if the files don't say.

    Raises:
        BadInput: If it is of a kind that no task is for.
    """
    endings = [
        task
        for architecture in config.get("architectures") or ()
        for ending, task in _TASK_BY_ARCHITECTURE.items()
        if architecture.endswith(ending)
    ]
    if kind == "SparseEncoder":
        raise BadInput("The model makes sparse vectors, which no task is for. Use a dense embedding model.")
    if kind == "CrossEncoder" or any(key in config for key in _CROSS_ENCODER_KEYS):
        return _tasks_of_cross_encoder(config, endings)
    if modules:
        return ("embedding",)
    if "text-classification" in endings and len(find_labels(config)) == 1:
        return ("reranking", "text-classification")  # one score: of a pair by custom, of a text if asked for
    return tuple(endings[:1])


def _tasks_of_cross_encoder(config: dict[str, Any], endings: list[str]) -> tuple[str, ...]:
    """Return reranking, or refuse a cross-encoder that doesn't give one score of a pair."""
    if "text-classification" not in endings:
        raise BadInput(
            "The model is a cross-encoder without a classification head, which can't be exported. "
            "Use one whose architecture ends in ForSequenceClassification."
        )
    labels = find_labels(config)
    if len(labels) != 1:
        raise BadInput(
            f"The model is a cross-encoder with {len(labels)} labels, which classifies pairs of texts; no task is for "
            "that. For reranking use one with one label."
        )
    return ("reranking",)


def find_activation(config: dict[str, Any]) -> str | None:
    """
    Read what a cross-encoder's files name as the function from its output to a score.

    Args:
        config: Its `config.json`.

    Returns:
        The function's import path; None if no file names one.
    """
    own = config.get("sentence_transformers")
    named = own.get("activation_fn") if isinstance(own, dict) else None
    return named or config.get("sbert_ce_default_activation_function")


def find_labels(config: dict[str, Any]) -> tuple[str, ...]:
    """
    Read a classifier's labels, in the order of its scores.

    Args:
        config: Its `config.json`.

    Returns:
        The labels; transformers leaves them out of the file when they are its own two.

    Raises:
        ModelUnreadable: If they aren't numbered from 0 on.
    """
    labels = config.get("id2label")
    if labels is None:
        return tuple(f"LABEL_{number}" for number in range(int(config.get("num_labels") or 2)))
    if not isinstance(labels, dict) or set(labels) != {str(number) for number in range(len(labels))}:
        raise ModelUnreadable(
            "id2label in config.json doesn't number its labels from 0 on. Repair it, then export again."
        )
    return tuple(str(labels[str(number)]) for number in range(len(labels)))


def find_max_input_tokens(folder: Path, config: dict[str, Any], task: str) -> int:
    """
    Read after how many tokens the original truncates, as sentence-transformers decides it.

    A classifier's authors may have set no limit at all, so there the positions that can be used decide.

    Args:
        folder: The model's folder.

        config: Its `config.json`.

        task: What it is exported for.

    Returns:
        Tokens, special tokens included.

    Raises:
        ModelUnreadable: If no file says, or one says less than a token.
    """
    own = read_json(folder / "sentence_bert_config.json", default={}).get("max_seq_length")
    if own:
        if int(own) < 1:
            raise ModelUnreadable(
                f"max_seq_length in {folder / 'sentence_bert_config.json'} is {own}; set it to a number of tokens."
            )
        return int(own)
    positions = config.get("max_position_embeddings")
    if positions and task != "embedding" and config.get("model_type") in _OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    limits = [
        read_json(folder / "tokenizer_config.json", default={}).get("model_max_length"),
        positions,
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


def find_notes(config: dict[str, Any], modules: list[dict[str, Any]], task: str) -> tuple[str, ...]:
    """
    Say what a model's files leave open, and how it is decided.

    Args:
        config: Its `config.json`.

        modules: Its `modules.json`; empty if it has none.

        task: What it is exported for.

    Returns:
        Sentences for the person at the terminal.
    """
    if task == "embedding" and not modules:
        note = (
            "The model has no modules.json: a vector is the mean of its tokens' vectors, not normalised, as "
            "sentence-transformers makes it of a plain encoder."
        )
        return (note,)
    if task == "reranking" and find_activation(config) is None:
        return ("The files name no activation: a score is the sigmoid of the model's one output.",)
    return ()


def refuse_remote_code(
    model_id: str, config: dict[str, Any], modules: list[dict[str, Any]], *, is_trusted: bool
) -> None:
    """
    Refuse a model that would run its own Python code here, unless the caller said so.

    Args:
        model_id: The model's id, for the message.

        config: Its `config.json`.

        modules: Its `modules.json`.

        is_trusted: True if the caller said so.

    Raises:
        BadInput: If it has code of its own and isn't trusted.
    """
    activation = find_activation(config)
    has_own_code = (
        "auto_map" in config
        or any(not str(module.get("type", "")).startswith(_OWN_MODULES) for module in modules)
        or (activation is not None and not activation.startswith(_OWN_ACTIVATIONS))
    )
    if has_own_code and not is_trusted:
        raise BadInput(
            f"'{model_id}' brings its own Python code, which would run on this machine. "
            "Read that code, then repeat with --trust-remote-code."
        )


def check_prompts(folder: Path, model_id: str) -> None:
    """
    Refuse a model that puts a prompt before every text: the door sends texts as they are.

    Args:
        folder: The model's folder.

        model_id: The model's id, for the message.

    Raises:
        ModelUnreadable: If it does.
    """
    prompt_name = read_json(folder / "config_sentence_transformers.json", default={}).get(
        "default_prompt_name"
    )
    if prompt_name:
        raise ModelUnreadable(
            f"'{model_id}' adds its prompt '{prompt_name}' to every text, which the door doesn't do. "
            "Set default_prompt_name to null in config_sentence_transformers.json and send the prompt yourself."
        )


def check_weights(folder: Path, model_id: str) -> None:
    """
    Refuse a folder that Git filled without its large files.

    Args:
        folder: The model's folder.

        model_id: The model's id, for the message.

    Raises:
        ModelUnreadable: If a file is only a pointer to the real one.
    """
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "tokenizer.json"]):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelUnreadable(
                    f"{path.name} of '{model_id}' is a Git LFS pointer, not the file itself. "
                    "Run `git lfs pull` in its folder, or download the model again."
                )


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """
    Read a sentence-transformers model's list of modules.

    Args:
        folder: The model's folder.

    Returns:
        The modules; empty if it isn't such a model.

    Raises:
        ModelUnreadable: If the file is damaged.
    """
    modules: list[dict[str, Any]] = read_json(folder / "modules.json", default=[])
    if not all(isinstance(module, dict) for module in modules):
        raise ModelUnreadable(
            f"{folder / 'modules.json'} is not a list of modules. Download the model again."
        )
    return modules


def read_json(path: Path, default: Any = None) -> Any:
    """
    Read one of the model's JSON files.

    Args:
        path: The file.

        default: Stands for a file that may be missing; None is for one that may not.

    Returns:
        Its content.

    Raises:
        ModelUnreadable: If it is missing or damaged.
    """
    if not path.is_file() and default is not None:
        return default
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelUnreadable(
            f"{path.parent} has no {path.name}. Give a folder that holds a model."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelUnreadable(f"{path} can't be read ({error}). Download the model again.") from error
    kind = dict if default is None else type(default)
    if not isinstance(content, kind):
        raise ModelUnreadable(
            f"{path} doesn't hold what it should: a JSON {kind.__name__}. Download the model again."
        )
    return content
