"""What only the code's text has: codes and variables in calls."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]


class Raised(NamedTuple):
    """A place in the code that raises an error with a code of its own."""

    error: str
    """The class's name."""

    code: str
    """The code."""

    message: str
    """What it says, with ``…`` for what differs; empty where that is made elsewhere."""


def find_raised(folder: Path) -> list[Raised]:
    """
    Find what errors are made with a code of their own.

    Args:
        folder: With Python files.

    Returns:
        Each once, sorted.
    """
    found = set()
    for call in (node for tree in _trees(folder) for node in ast.walk(tree) if isinstance(node, ast.Call)):
        code = next((word.value for word in call.keywords if word.arg == "code"), None)
        if isinstance(call.func, ast.Name) and isinstance(code, ast.Constant) and isinstance(code.value, str):
            found.add(Raised(call.func.id, code.value, _template(call.args[0]) if call.args else ""))
    return sorted(found)


def _template(message: ast.expr) -> str:
    if isinstance(message, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in message.values)  # type: ignore[misc]
    return message.value if isinstance(message, ast.Constant) and isinstance(message.value, str) else ""


def find_waits(folder: Path) -> set[str]:
    """
    Find which errors are made with a time to wait.

    Args:
        folder: With Python files.

    Returns:
        Names of classes.
    """
    return {
        node.func.id
        for tree in _trees(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and any(word.arg == "retry_after_s" for word in node.keywords)
    }


def find_variables(*folders: Path) -> set[str]:
    """
    Find the environment variables that code reads by a name in its text.

    Args:
        folders: With Python files.

    Returns:
        Their names.
    """
    trees = [tree for folder in folders for tree in _trees(folder)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    constants = {
        node.targets[0].id: str(node.value.value)
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    found = set()
    for node in nodes:
        asked: ast.expr | None = None
        if isinstance(node, ast.Call) and _is_environment(getattr(node.func, "value", None)) and node.args:
            asked = node.args[0]
        elif isinstance(node, ast.Subscript) and _is_environment(node.value):
            asked = node.slice
        elif isinstance(node, ast.Compare) and any(map(_is_environment, node.comparators)):
            asked = node.left
        if isinstance(asked, ast.Name):
            found.add(constants.get(asked.id, asked.id))
        elif isinstance(asked, ast.Constant):
            found.add(str(asked.value))
    return {name for name in found if name.isupper()}


def find_words(folder: Path, words: frozenset[str]) -> set[str]:
    """
    Find which of some words code uses, as attributes or in quotes.

    Args:
        folder: With Python files.

        words: What to look for.

    Returns:
        Those that are there.
    """
    nodes = [node for tree in _trees(folder) for node in ast.walk(tree)]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return used & words


def _is_environment(node: ast.AST | None) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"environ", "environment"}


def _trees(folder: Path) -> Iterator[ast.Module]:
    for path in sorted(folder.rglob("*.py")):
        yield ast.parse(path.read_text())
