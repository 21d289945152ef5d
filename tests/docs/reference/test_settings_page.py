"""The page of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from docs.reference import settings_page
from facade.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def without(table: Mapping[Any, Any], key: object) -> dict[Any, Any]:
    """A table without one of its rows."""
    return {name: value for name, value in table.items() if name != key}


def rows() -> dict[str, str]:
    """Read the page's rows, by the variable."""
    lines = [line for line in settings_page.write().splitlines() if line.startswith("| ")]
    return {line.split("`")[1]: line for line in lines if line.count("`") > 1}


def test_every_setting_has_its_meaning() -> None:
    """And its secrets are marked as such."""
    found = rows()

    for name, info in Settings.model_fields.items():
        meaning = found[settings_page.variable(name)].rpartition(" | ")[2]
        assert meaning.strip(" |")
        assert ("*secret*" in found[settings_page.variable(name)]) == ("SecretStr" in str(info.annotation))


def test_values_and_defaults_are_written_for_readers() -> None:
    """Ranges in words, bytes with their unit, choices one by one."""
    found = rows()

    assert "| integer, 0 to 65535 | `8080` |" in found["FACADE_PORT"]
    assert "| number, above 0 | `30` |" in found["FACADE_DEFAULT_TIMEOUT_S"]
    assert "| `67108864` (64 MiB) |" in found["FACADE_CACHE_MEMORY_BYTES"]
    assert "| `production`, `development` | `production` |" in found["FACADE_ENVIRONMENT"]
    assert "| `/health/live,/health/ready` |" in found["FACADE_PUBLIC_PATHS"]


def test_settings_of_the_facade_itself_stand_apart() -> None:
    """Nobody sets them by mistake."""
    above, below = settings_page.write().split("## Set by the façade itself")

    assert "FACADE_WORKER_INDEX" not in above
    assert "FACADE_WORKER_INDEX" in below


def test_a_variable_that_the_page_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code can't read one more without a word here."""
    monkeypatch.setattr(settings_page, "OUTSIDE", without(settings_page.OUTSIDE, "NO_COLOR"))

    with pytest.raises(ValueError, match="NO_COLOR"):
        settings_page.write()


def test_make_takes_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its help lists the same."""
    monkeypatch.setattr(settings_page, "SERVE", without(settings_page.SERVE, "MODEL"))

    with pytest.raises(ValueError, match="MODEL"):
        settings_page.write()
