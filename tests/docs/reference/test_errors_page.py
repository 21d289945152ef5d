"""The page of the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from docs.reference import errors_page
from docs.reference.sources import CHECKOUT, find_raised
from facade import errors
from facade.problems import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping


def without(table: Mapping[Any, Any], key: object) -> dict[Any, Any]:
    """A table without one of its rows."""
    return {name: value for name, value in table.items() if name != key}


def test_every_code_is_listed() -> None:
    """Those of the table and those that a single place in the code has."""
    page = errors_page.write()

    for code in {problem.code for problem in PROBLEMS.values()} | {
        found.code for found in find_raised(CHECKOUT / "facade")
    }:
        assert page.count(f'<a id="{code}"></a>') == 1


def test_waits_are_marked() -> None:
    """Where an answer says when to come back."""
    rows = {line.split("`")[1]: line for line in errors_page.write().splitlines() if "| yes |" in line}

    assert set(rows) == {"rate_limit_exceeded", "overloaded", "backend_unavailable"}


def test_an_error_without_advice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds one says what callers do about it."""
    monkeypatch.setattr(errors_page, "REMEDIES", without(errors_page.REMEDIES, errors.Overloaded))

    with pytest.raises(ValueError, match="Overloaded"):
        errors_page.write()


def test_a_code_of_the_models_that_the_page_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models in Triton answer with no other."""
    monkeypatch.setattr(errors_page, "MODEL_CODES", without(errors_page.MODEL_CODES, "CANCELLED"))

    with pytest.raises(ValueError, match="CANCELLED"):
        errors_page.write()
