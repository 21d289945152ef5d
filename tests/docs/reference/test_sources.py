"""What is read in the code's own text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.reference.sources import (
    Raised,
    find_raised,
    find_variables,
    find_waits,
    find_words,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_codes_are_found_where_errors_are_made(tmp_path: Path) -> None:
    """With what they say; a code that is made elsewhere isn't known."""
    (tmp_path / "some.py").write_text(
        'raise Bad(f"The {x} is wrong.", code="wrong", retry_after_s=1)\n'
        'raise Worse(text, code="worse")\n'
        "raise Worse(text, code=other)\n"
    )

    assert find_raised(tmp_path) == [Raised("Bad", "wrong", "The … is wrong."), Raised("Worse", "worse", "")]
    assert find_waits(tmp_path) == {"Bad"}


def test_variables_are_found_where_they_are_read(tmp_path: Path) -> None:
    """By their name in the text, or by that of a constant."""
    (tmp_path / "some.py").write_text(
        'NAME = "NAMED"\n'
        'os.environ["TAKEN"], os.environ.get("ASKED"), environment.get(NAME), "HELD" in os.environ\n'
        'table.get("OTHER")\n'
    )

    assert find_variables(tmp_path) == {"NAMED", "TAKEN", "ASKED", "HELD"}


def test_words_are_found_as_attributes_and_in_quotes(tmp_path: Path) -> None:
    """And those that aren't there are not."""
    (tmp_path / "some.py").write_text('Codes.BAD, "WORSE"\n')

    assert find_words(tmp_path, frozenset({"BAD", "WORSE", "WORST"})) == {"BAD", "WORSE"}
