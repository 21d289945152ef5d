"""A config.pbtxt as Triton reads it."""

from __future__ import annotations

import pytest

from facade.triton.config_file import ConfigUnreadable, parse_config


def test_what_decides_on_loading_is_read() -> None:
    """Name, backend, card, versions."""
    config = parse_config(
        'name: "m"\nbackend: "python"\nversion_policy { specific { versions: [2, 1] } }\n'
        'parameters { key: "model_card" value { string_value: "{}" } }'
    )

    assert (config.name, config.backend, config.model_card, config.served_versions) == (
        "m",
        "python",
        "{}",
        (1, 2),
    )
    assert parse_config("").served_versions is None
    assert parse_config("ensemble_scheduling {}").is_ensemble


def test_what_triton_could_not_read_either_is_told_with_its_place() -> None:
    """Line and column."""
    with pytest.raises(ConfigUnreadable, match=r"^2:1 : .*no_such_field"):
        parse_config('name: "m"\nno_such_field: 1')
