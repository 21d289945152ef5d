"""Settings come from the environment, and wrong ones are said in words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from facade.settings import Settings


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed to the network, 8 MiB, 30 s."""
    settings = Settings()

    assert (settings.host, settings.port, settings.environment) == ("127.0.0.1", 8080, "production")
    assert settings.body_limit_bytes == 8 * 1024 * 1024
    assert settings.default_timeout_s == 30
    assert settings.max_inputs == 2048


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """``FACADE_`` and the field's name."""
    monkeypatch.setenv("FACADE_PORT", "9999")
    monkeypatch.setenv("FACADE_PUBLIC_PATHS", "/a, /b,")
    settings = Settings()

    assert settings.port == 9999
    assert settings.public_paths == {"/a", "/b"}


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a print nor in an error."""
    monkeypatch.setenv("FACADE_API_KEY", "hush")

    assert "hush" not in repr(Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACADE_PORT", "70000"),
        ("FACADE_API_KEY", " "),
        ("FACADE_DEFAULT_TIMEOUT_S", "0"),
        ("FACADE_DEFAULT_TIMEOUT_S", "601"),
        ("FACADE_ENVIRONMENT", "prod"),
        ("FACADE_CALLS_IN_FLIGHT", "0"),
        ("FACADE_DENY_NETWORKS", "10.0.0.1/8"),
        ("FACADE_TRUSTED_PROXIES", "proxy"),
    ],
)
def test_impossible_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """At start-up, not at the first request."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError):
        Settings()
