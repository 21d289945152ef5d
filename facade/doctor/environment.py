"""
The settings: which are wrong, which are risky together, which names nobody knows.

`serve` stops at wrong settings. Here the wrong ones count as unset, so that everything else can still be looked at.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from facade.doctor.api_keys import examine_permissions
from facade.doctor.finding import Finding, ok, problem, warning
from facade.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "FACADE_"
TLS_PREFIX = "triton_tls_"

OTHER_NAMES = frozenset(
    {
        "SECRETS_DIR",
        "RUN",
        "PARENT_PID",
        "CPUS",
        "PUBLISHED_ADDRESS",
        "PUBLISHED_PORT",
        "IMAGE",
        "WORKER_INDEX",
    }
)
"""What follows the prefix in variables that are no fields of `Settings`: of the launcher, and of deploy/'s Compose."""

_NAMED = re.compile(rf"{PREFIX}([A-Z0-9_]+)")


def read_leniently(chosen: Mapping[str, Any], secrets_dir: str | None) -> tuple[Settings, list[Finding]]:
    """
    Read the settings; what is wrong becomes a finding, and counts as unset.

    Args:
        chosen: The command line's values by field.

        secrets_dir: ``FACADE_SECRETS_DIR``; None for none.

    Returns:
        The settings, and a finding for each wrong one.
    """
    findings: list[Finding] = []
    given: dict[str, Any] = dict(chosen)
    if secrets_dir is not None:
        if wrong := _examine_secrets_dir(Path(secrets_dir)):
            findings.append(wrong)
        else:
            given["_secrets_dir"] = secrets_dir
    unset: dict[str, Any] = {}
    while True:
        try:
            return Settings(**given | unset), findings
        except ValidationError as error:
            before = len(unset)
            for one in error.errors(include_input=False):
                _unset(str(one["msg"]), [str(part) for part in one["loc"]], unset, findings)
            if len(unset) == before:
                unset |= {name: field.get_default() for name, field in Settings.model_fields.items()}


def _unset(message: str, location: list[str], unset: dict[str, Any], findings: list[Finding]) -> None:
    """Note one wrong setting; of several that don't go together, the first counts as unset."""
    reason = message.removeprefix("Value error, ")
    names = location[:1] or [name.lower() for name in _NAMED.findall(reason)]
    names = [name for name in names if name in Settings.model_fields]
    if not unset.keys() & set(names):  # else it only follows from what was unset before
        check = f"{PREFIX}{names[0].upper()}" if names else "settings"
        remedy = (
            "Correct it, or unset it for its default."
            if location
            else "`triton-facade serve` won't start so."
        )
        findings.append(problem(check, reason, remedy))
    if name := next((name for name in names if name not in unset), None):
        # The files for TLS are of use together only.
        together = [other for other in Settings.model_fields if other.startswith(TLS_PREFIX)]
        for one in together if name.startswith(TLS_PREFIX) else [name]:
            unset[one] = Settings.model_fields[one].get_default()


def examine_environment(
    settings: Settings, wrong: list[Finding], variables: Mapping[str, str], *, cores: float
) -> list[Finding]:
    """
    Look for settings that work and are risky, and for names that nobody reads.

    Args:
        settings: As they count.

        wrong: What `read_leniently` found.

        variables: The process's environment.

        cores: How many may be used.

    Returns:
        All findings about settings.
    """
    names = {finding.check for finding in wrong}
    findings = list(wrong)
    if (
        settings.api_key is None
        and settings.keys_file is None
        and not names & {"FACADE_API_KEY", "FACADE_KEYS_FILE"}
    ):
        remedy = "Set FACADE_API_KEY to a long random string, or FACADE_KEYS_FILE (`triton-facade keys new --help`)."
        findings.append(
            problem("keys", "neither FACADE_API_KEY nor FACADE_KEYS_FILE is set: nobody could call", remedy)
        )
    findings += _examine_unknown(variables)
    findings += _examine_exposure(settings)
    findings += _examine_sharing(settings)
    findings += _examine_limits(settings, cores)
    return findings or [ok("settings", "all valid; none is risky as far as can be told from here")]


def _examine_unknown(variables: Mapping[str, str]) -> list[Finding]:
    """Find misspelt names, which `serve` ignores without a word."""
    known = {name.upper() for name in Settings.model_fields} | OTHER_NAMES
    findings = []
    for variable in sorted(variables):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = (
                f"Is {PREFIX}{close[0]} meant?"
                if close
                else "Remove it, or see docs/deploy.md for the names."
            )
            findings.append(warning(variable, "no setting of this name; it is ignored", meant))
    return findings


def _examine_exposure(settings: Settings) -> list[Finding]:
    findings = []
    is_open = not _is_loopback(settings.host)
    if is_open and settings.keys_file is None and settings.api_key is not None:
        remedy = "Give each caller one: `triton-facade keys new NAME --file keys.yaml`, FACADE_KEYS_FILE=keys.yaml."
        found = (
            f"listens on {settings.host} with one key for everybody: it can't be taken from one of them alone"
        )
        findings.append(warning("FACADE_API_KEY", found, remedy))
    if is_open and not settings.trusted_proxies:
        remedy = "Behind a load balancer name its network, else all callers look like one; without one all is well."
        found = f"listens on {settings.host}, and no proxy's X-Forwarded-For is believed"
        findings.append(warning("FACADE_TRUSTED_PROXIES", found, remedy))
    if any(network.strip().endswith("/0") for network in settings.trusted_proxies):
        remedy = "Name the load balancers' networks alone: so anybody can claim any address."
        findings.append(problem("FACADE_TRUSTED_PROXIES", "trusts the whole internet", remedy))
    if settings.environment == "development" and (is_open or settings.workers > 1):
        remedy = "Set FACADE_ENVIRONMENT=production, or leave it unset."
        findings.append(warning("FACADE_ENVIRONMENT", "development: shows /docs to anybody", remedy))
    if settings.metrics_port is not None and not _is_loopback(settings.metrics_host):
        remedy = (
            "Let a firewall or a NetworkPolicy admit Prometheus alone, or set FACADE_METRICS_HOST=127.0.0.1."
        )
        found = f"{settings.metrics_host}:{settings.metrics_port} shows metrics without a key to whoever reaches it"
        findings.append(warning("FACADE_METRICS_HOST", found, remedy))
    return findings


def _examine_sharing(settings: Settings) -> list[Finding]:
    findings = []
    if settings.replicas > 1 and settings.redis_url is None and settings.quota_redis_url is None:
        remedy = "Set FACADE_REDIS_URL: without it each façade counts alone."
        found = f"{settings.replicas} façades and no Redis: a caller gets its quota at each"
        findings.append(warning("FACADE_REPLICAS", found, remedy))
    if settings.otlp_endpoint is not None and importlib.util.find_spec("opentelemetry") is None:
        remedy = "Install triton-facade[otel], or unset it: `serve` won't start so."
        findings.append(problem("FACADE_OTLP_ENDPOINT", "set, and OpenTelemetry isn't installed", remedy))
    return findings


def _examine_limits(settings: Settings, cores: float) -> list[Finding]:
    findings = []
    if settings.workers > max(1, cores + 0.5):
        remedy = f"Set it to {max(1, int(cores))}: more workers than cores only take turns."
        findings.append(warning("FACADE_WORKERS", f"{settings.workers} workers on {cores:g} cores", remedy))
    if settings.max_image_bytes * 4 / 3 > settings.body_limit_bytes:
        remedy = "Raise FACADE_BODY_LIMIT_BYTES to 1.4 times FACADE_MAX_IMAGE_BYTES, or lower the latter."
        found = "an image of the largest size is, in base64, larger than FACADE_BODY_LIMIT_BYTES"
        findings.append(warning("FACADE_MAX_IMAGE_BYTES", found, remedy))
    return findings


def _examine_secrets_dir(folder: Path) -> Finding | None:
    """Give what keeps the folder from being read, or who else may read what is in it."""
    check = "FACADE_SECRETS_DIR"
    if not folder.is_dir():
        return problem(check, f"{folder} isn't a folder", "Mount the secrets there, or unset it.")
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("facade_") and path.is_file():
                with path.open("rb"):
                    pass
    except OSError as error:
        return problem(
            check, f"{error.filename} can't be read", "Let the façade's user read it: `chown`, `chmod 400`."
        )
    return None


def examine_secret_files(folder: str | None) -> list[Finding]:
    """
    See who may read the files that stand for settings.

    Args:
        folder: ``FACADE_SECRETS_DIR``; None for none.

    Returns:
        A finding for each file that too many may read, or write.
    """
    if folder is None or not Path(folder).is_dir():
        return []
    files = [path for path in sorted(Path(folder).glob("facade_*")) if path.is_file()]
    return [found for path in files if (found := examine_permissions(path.name, path)).status != "ok"]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
