"""What a class's own text says of its fields: the docstrings under them, the comments between them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import NamedTuple

_SECTION = re.compile(r"    # (?P<title>.+)\.\.\.$")
_LITERAL = re.compile(r"``(.+?)``")


class Field(NamedTuple):
    """A field of a class."""

    name: str
    """As the class has it."""

    about: str
    """The docstring under it."""

    section: str
    """The title of the comment above it and its neighbours; empty without one."""


def fields_of(cls: type[object]) -> list[Field]:
    """
    Read what a class's own text says of its fields.

    Args:
        cls: A class whose fields have docstrings under them.

    Returns:
        The fields in their order, without those of its bases.
    """
    text = textwrap.dedent(inspect.getsource(cls))
    (definition,) = ast.parse(text).body
    titles = {
        number: found["title"]
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _SECTION.match(line))
    }
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    fields = []
    for field, below in zip(body, [*body[1:], None], strict=True):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        about = ""
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            about = inspect.cleandoc(str(below.value.value))
        above = [number for number in titles if number < field.lineno]
        fields.append(Field(field.target.id, about, titles[max(above)] if above else ""))
    return fields


def prose(docstring: str) -> str:
    """Write a docstring's text as Markdown, in one line."""
    return " ".join(_LITERAL.sub(r"`\1`", docstring).split())
