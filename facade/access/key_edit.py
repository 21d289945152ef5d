"""
Change a keys file's text by one key, so that all else stays as somebody wrote it, comments included.

An edit is done on the text where the text allows it, and is then read back: if the result doesn't mean exactly what
was asked for, the file is written anew from its meaning, which loses comments and nothing else.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from facade.access.key_text import StrictLoader, load_document, parse_keys
from facade.access.keys import KeysInvalid

PRIVATE_MODE = 0o600
"""Names, networks and models of callers are nobody else's business."""


def with_key(text: str, entry: Mapping[str, object]) -> str:
    """
    Add a key at the end.

    Args:
        text: The file as it is; may be empty.

        entry: The new key's fields, as in the file.

    Returns:
        The file as it shall be.

    Raises:
        KeysInvalid: If *text* is wrong, or would be with *entry*.
    """
    parse_keys(text)
    document = load_document(text)
    wanted = {**document, "keys": [*_entries(document), dict(entry)]}
    parse_keys(_dump(wanted))
    line = _flow(entry)
    root = _root(text)
    listed = _keys_node(root)
    if listed is not None and listed.value and not listed.flow_style:
        # In the column of the other entries' dashes, below the last line that any of them has.
        indent = listed.start_mark.column
        lines = text.splitlines(keepends=True)
        after = _last_line(listed.value[-1]) + 1
        lines[after - 1] = lines[after - 1].rstrip("\n") + "\n"
        edited = "".join([*lines[:after], f"{' ' * indent}- {line}\n", *lines[after:]])
    else:
        edited = f"{text.rstrip()}\nkeys:\n  - {line}\n".lstrip() if "keys" not in document else ""
    return edited if _means(edited, wanted) else _dump(wanted)


def without_key(text: str, name: str) -> str:
    """
    Remove a key.

    Args:
        text: The file as it is.

        name: The key's name.

    Returns:
        The file as it shall be; the last key leaves an empty list.

    Raises:
        KeysInvalid: If *text* is wrong or has no such key.
    """
    ring = parse_keys(text)
    if name not in ring.keys:
        raise KeysInvalid(f"there is no key {name!r}")
    document = load_document(text)
    entries = _entries(document)
    index = next(position for position, entry in enumerate(entries) if entry["name"] == name)
    wanted = {**document, "keys": entries[:index] + entries[index + 1 :]}
    edited = ""
    listed = _keys_node(_root(text))
    if listed is not None and not listed.flow_style and len(entries) > 1:
        lines = text.splitlines(keepends=True)
        node = listed.value[index]
        del lines[node.start_mark.line : _last_line(node) + 1]
        edited = "".join(lines)
    return edited if _means(edited, wanted) else _dump(wanted)


def with_tier(text: str, name: str) -> str:
    """
    Begin an empty file with one tier without limits, for the operator to narrow.

    Args:
        text: The file as it is.

        name: The tier's name.

    Returns:
        *text* if anything is in it, else a file with this tier.
    """
    return text if text.strip() else _dump({"tiers": {name: {}}})


def write_text(path: Path, text: str) -> None:
    """
    Replace a file in one step, durably, readable by its owner only.

    Args:
        path: The file, or a link to it, which stays.

        text: What it shall contain.
    """
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), PRIVATE_MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Keep other editors of a file waiting; its readers aren't concerned.

    Args:
        path: The file. A lock file is kept beside it, since the file itself is replaced.

    Yields:
        While nobody else is in here for the same file.
    """
    target = path.resolve()
    with target.with_name(f".{target.name}.lock").open("w", encoding="utf-8") as lock:
        os.fchmod(lock.fileno(), PRIVATE_MODE)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, also when the process dies


def _entries(document: Mapping[str, object]) -> list[dict[str, object]]:
    entries = document.get("keys") or []
    if not isinstance(entries, list):
        raise KeysInvalid("field 'keys': must be a list")
    return entries


def _root(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=StrictLoader)


def _keys_node(root: yaml.Node | None) -> yaml.SequenceNode | None:
    if isinstance(root, yaml.MappingNode):
        for name, value in root.value:
            if name.value == "keys" and isinstance(value, yaml.SequenceNode):
                return value
    return None


def _last_line(node: yaml.Node) -> int:
    """Number of the line, from 0, on which the innermost last part of *node* ends."""
    # A block's own end mark lies behind the comments that follow it; a scalar's doesn't.
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1])
    mark = node.end_mark
    return mark.line if mark.column > 0 else mark.line - 1


def _means(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return bool(text) and load_document(text) == wanted
    except KeysInvalid:
        return False


def _flow(entry: Mapping[str, object]) -> str:
    """Write one entry on one line."""
    return yaml.safe_dump(dict(entry), default_flow_style=True, sort_keys=False, width=2**20).strip()


def _dump(document: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False)
