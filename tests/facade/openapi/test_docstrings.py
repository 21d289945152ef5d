"""What is read in a class's own text."""

from __future__ import annotations

from facade.openapi.docstrings import Field, fields_of, prose


class Documented:
    """A class with fields."""

    first: int = 1
    """The
    first."""

    # Others...

    second: int = 2
    """The second."""

    third: int = 3


def test_fields_have_their_docstrings_and_sections() -> None:
    """A field without either has none."""
    assert fields_of(Documented) == [
        Field("first", "The\nfirst.", ""),
        Field("second", "The second.", "Others"),
        Field("third", "", "Others"),
    ]


def test_docstrings_become_prose() -> None:
    """Literals in Markdown's way, and no line ends."""
    assert prose("``a`` and\n    `b`.") == "`a` and `b`."
