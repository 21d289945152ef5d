"""Settings that are wrong, risky or misspelt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from facade.doctor.environment import examine_environment, examine_secret_files, read_leniently
from facade.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a-key-that-is-long-enough-for-anybody"


def test_every_wrong_setting_is_named_and_the_others_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` would stop; here the good ones are kept, so that Triton can still be asked."""
    monkeypatch.setenv("FACADE_WORKERS", "many")
    monkeypatch.setenv("FACADE_REDIS_URL", "http://user:hunter2@host")
    monkeypatch.setenv("FACADE_TRITON_URL", "triton.example:8001")
    settings, wrong = read_leniently({}, None)

    assert sorted(finding.check for finding in wrong) == ["FACADE_REDIS_URL", "FACADE_WORKERS"]
    assert {finding.status for finding in wrong} == {"problem"}
    assert (settings.triton_url, settings.workers, settings.redis_url) == ("triton.example:8001", 1, None)
    assert "hunter2" not in repr(wrong)


@pytest.mark.parametrize(
    ("variables", "check"),
    [
        ({"API_KEY": KEY, "KEYS_FILE": "/keys.yaml"}, "FACADE_API_KEY"),
        (
            {"TRITON_TLS_CERT_FILE": "/cert.pem", "TRITON_TLS_CA_FILE": "/ca.pem"},
            "FACADE_TRITON_TLS_CERT_FILE",
        ),
        ({"TRITON_TLS_CERT_FILE": "/cert.pem", "TRITON_TLS_KEY_FILE": "/k.pem"}, "FACADE_TRITON_TLS_CA_FILE"),
        ({"MAX_TIMEOUT_S": "5"}, "FACADE_DEFAULT_TIMEOUT_S"),
    ],
)
def test_settings_that_do_not_go_together_are_one_finding(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], check: str
) -> None:
    """What follows from one being unset isn't told again."""
    for name, value in variables.items():
        monkeypatch.setenv(f"FACADE_{name}", value)
    settings, wrong = read_leniently({"triton_url": "triton.example:8001"}, None)

    assert [finding.check for finding in wrong] == [check]
    assert settings.triton_url == "triton.example:8001"


def checks(**chosen: Any) -> dict[str, str]:
    """Examine settings; give check and status."""
    found = examine_environment(Settings(**chosen), [], {}, cores=2)
    assert all(finding.remedy for finding in found if finding.status != "ok")
    return {finding.check: finding.status for finding in found}


@pytest.mark.parametrize(
    ("chosen", "check", "status"),
    [
        ({}, "settings", "ok"),
        ({"api_key": None}, "keys", "problem"),
        ({"host": "0.0.0.0"}, "FACADE_API_KEY", "warning"),
        ({"host": "::"}, "FACADE_TRUSTED_PROXIES", "warning"),
        ({"trusted_proxies": "0.0.0.0/0"}, "FACADE_TRUSTED_PROXIES", "problem"),
        ({"environment": "development", "workers": 2}, "FACADE_ENVIRONMENT", "warning"),
        ({"metrics_host": "0.0.0.0"}, "FACADE_METRICS_HOST", "warning"),
        ({"replicas": 2}, "FACADE_REPLICAS", "warning"),
        ({"workers": 4}, "FACADE_WORKERS", "warning"),
        ({"body_limit_bytes": 1024}, "FACADE_MAX_IMAGE_BYTES", "warning"),
    ],
)
def test_risky_settings_are_told(chosen: dict[str, Any], check: str, status: str) -> None:
    """Each has a remedy; nothing else is said of the same settings."""
    assert checks(**{"api_key": SecretStr(KEY), **chosen})[check] == status


def test_a_misspelt_name_is_told_with_the_right_one() -> None:
    """`serve` ignores it without a word."""
    settings = Settings(api_key=SecretStr(KEY))
    found = examine_environment(
        settings, [], {"FACADE_TRITON_ULR": "x", "FACADE_SECRETS_DIR": "", "HOME": ""}, cores=2
    )

    assert [(one.check, one.remedy) for one in found] == [
        ("FACADE_TRITON_ULR", "Is FACADE_TRITON_URL meant?")
    ]


def test_a_secrets_folder_that_is_none_and_files_that_all_may_read(tmp_path: Path) -> None:
    """The first is a problem, the second a warning for each file."""
    settings, wrong = read_leniently({}, str(tmp_path / "absent"))
    secret = tmp_path / "facade_api_key"
    secret.write_text(KEY)
    secret.chmod(0o644)

    assert [finding.check for finding in wrong] == ["FACADE_SECRETS_DIR"]
    assert [(one.check, one.status) for one in examine_secret_files(str(tmp_path))] == [
        ("facade_api_key", "warning")
    ]
    assert read_leniently({}, str(tmp_path))[0].api_key == SecretStr(KEY)
    assert settings.api_key is None
