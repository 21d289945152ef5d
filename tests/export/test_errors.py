"""Exit codes: each kind of failure has one, and the help names it."""

from collections.abc import Iterator

from export import errors


def all_kinds(base: type[errors.ExportError] = errors.ExportError) -> Iterator[type[errors.ExportError]]:
    """Yield every kind of export error."""
    for kind in base.__subclasses__():
        yield kind
        yield from all_kinds(kind)


def test_every_kind_has_a_documented_exit_code() -> None:
    """No failure ends with a code that the help doesn't explain, and none is explained but those and Ctrl-C."""
    assert {kind.exit_code for kind in all_kinds()} == set(errors.EXIT_CODES) - {0, 130}


def test_not_built_is_bad_input() -> None:
    """Asking for what isn't built ends like any other wrong request."""
    assert errors.TargetUnfit.exit_code == errors.BadInput.exit_code == 2
