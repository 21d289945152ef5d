"""Settings come from the environment, and wrong ones are said in words."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

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


def test_an_empty_choice_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose hands on what isn't set as an empty text."""
    monkeypatch.setenv("FACADE_UI", "")
    assert Settings().ui is None

    monkeypatch.setenv("FACADE_UI", "true")
    assert Settings().ui is True


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
        ("FACADE_OTLP_ENDPOINT", "collector:4318"),
        ("FACADE_TRITON_URL", ""),
        ("FACADE_TRITON_URL", "a:8001,b"),
        ("FACADE_TRITON_URL", "a:8001,"),
        ("FACADE_TRITON_URL", "dns:///triton"),
        ("FACADE_TRITON_URL", "dns:///a:8001,b:8001"),
    ],
)
def test_impossible_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """At start-up, not at the first request."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://:hush@cache:6379/5",
        "rediss://user:hush@[::1]:6379?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "unix://:hush@/run/redis.sock",
        "redis+cluster://:hush@one:7000,[::1]:7001/",
        "rediss+cluster://one:7000",
    ],
)
def test_a_redis_url_is_taken_as_it_is(url: str) -> None:
    """One server, a socket, or a cluster, with or without a password."""
    settings = Settings(redis_url=SecretStr(url))

    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "http://:hush@cache",
        "redis://",
        "redis://:hush@cache:port",
        "redis://:hush@cache/first",
        "unix://run",
        "redis+cluster://",
        "redis+cluster://:hush@one:7000,two",
        "redis://[::1",
    ],
)
def test_a_redis_url_that_makes_no_sense_is_refused_without_a_word_of_it(url: str) -> None:
    """It may hold a password; the form that is wanted is said instead."""
    with pytest.raises(ValidationError, match=r"must look like redis://") as caught:
        Settings(quota_redis_url=SecretStr(url))

    assert "hush" not in str(caught.value)
