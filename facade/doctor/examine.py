"""All examinations, the slow ones at once, each bounded in time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facade.doctor import machine
from facade.doctor.api_keys import examine_keys
from facade.doctor.bounded import in_thread
from facade.doctor.clocks import ClockSeen, examine_clocks
from facade.doctor.environment import examine_environment, examine_secret_files, read_leniently
from facade.doctor.finding import Finding, Section, problem
from facade.doctor.redis_servers import RedisLook, examine_redis
from facade.doctor.repository import RepositoryLook, examine_repository, skip_repository
from facade.doctor.running_facade import examine_running
from facade.doctor.tritons import TritonLook, compare_with_disk, examine_default_model, examine_tritons
from facade.triton.channel import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from facade.doctor.running_facade import Answer
    from facade.settings import Settings

Look = TypeVar("Look")

FILES_LIMIT_S = 30.0
"""Seconds for looking at files; a network disk that is gone hangs for ever."""

DEEP_LIMIT_S = 3600.0
"""Seconds where all files are read to be hashed."""


@dataclass(frozen=True)
class Questions:
    """What is to be examined."""

    chosen: Mapping[str, Any]
    """The command line's settings by field."""

    variables: Mapping[str, str]
    """The environment."""

    repository: Path | None
    """The model repository; None for none."""

    facade_url: str | None = None
    """A façade that runs; None for none."""

    timeout_s: float = 5.0
    """Seconds for each step over the network."""

    is_deep: bool = False
    """Whether the repository's files are hashed."""

    clock: Callable[[], float] = time.time
    """This machine's clock."""


async def examine(asked: Questions) -> list[Section]:
    """
    Look at everything.

    Args:
        asked: At what.

    Returns:
        A section a subject, in reading order.
    """
    secrets_dir = asked.variables.get("FACADE_SECRETS_DIR") or None
    settings, wrong = read_leniently(asked.chosen, secrets_dir)
    now = asked.clock()
    tritons, quick, on_disk, caches, quotas, (running, answer) = await asyncio.gather(
        _guarded(
            examine_tritons(settings.triton_url, _tls(settings), timeout_s=asked.timeout_s, now=now),
            lambda finding: TritonLook([finding]),
        ),
        _guarded(in_thread(lambda: _examine_machine(settings, asked.repository), FILES_LIMIT_S), _alone),
        _guarded(_examine_disk(asked), lambda finding: RepositoryLook([finding])),
        _guarded(_examine_cache_redis(settings, asked.timeout_s), _as_redis),
        _guarded(_examine_quota_redis(settings, asked.timeout_s), _as_redis),
        _guarded(_examine_facade(asked), lambda finding: ([finding], None)),
    )
    served = None if tritons.served is None else tritons.served.keys()
    key = _secret(settings.api_key)
    reading = in_thread(lambda: examine_keys(settings.keys_file, key, served=served, now=now), FILES_LIMIT_S)
    keys = await _guarded(reading, _alone)
    seen = [*caches.clocks, *quotas.clocks]
    if asked.facade_url is not None and answer is not None and answer.date is not None:
        # Its date is cut to seconds: half of one is added, to be wrong by half of one at most.
        seen.append(ClockSeen(f"façade {asked.facade_url}", answer.date + 0.5, answer.asked_at))
    offset_s = now - time.time()  # a test's clock is off by so much
    seen = [clock._replace(ours=clock.ours + offset_s) for clock in seen]
    environment = examine_environment(settings, wrong, asked.variables, cores=machine.usable_cores())
    compared = [
        *compare_with_disk(tritons, on_disk.models),
        *examine_default_model(tritons, settings.default_model),
    ]
    return [
        Section("machine", quick),
        Section("settings", [*environment, *examine_secret_files(secrets_dir)]),
        Section("repository", on_disk.findings),
        Section("triton", [*tritons.findings, *compared]),
        Section("redis", [*caches.findings, *quotas.findings]),
        Section("keys", keys),
        Section("clocks", examine_clocks(seen, now=now)),
        *([Section("façade", running)] if running else []),
    ]


async def _guarded(looking: Awaitable[Look], to_look: Callable[[Finding], Look]) -> Look:
    """Turn what a look raises, against its word, into a finding, so that the others are still told."""
    try:
        return await looking
    except TimeoutError:
        remedy = (
            "A disk or a name that doesn't answer holds it up: see `mount`, `dmesg` and /etc/resolv.conf."
        )
        return to_look(problem("time", "the look didn't come to its end in time", remedy))
    except Exception as error:  # noqa: BLE001  # the report is worth more without this part than not at all
        # The type alone: a message could quote a URL with its password.
        remedy = "This is a bug of the doctor: please report it."
        return to_look(problem("doctor", f"the look failed ({type(error).__name__})", remedy))


def _alone(finding: Finding) -> list[Finding]:
    return [finding]


def _as_redis(finding: Finding) -> RedisLook:
    return RedisLook([finding])


def _examine_machine(settings: Settings, repository: Path | None) -> list[Finding]:
    findings = [
        *machine.examine_packages(),
        machine.examine_cores(settings.workers),
        machine.examine_memory(settings.workers, settings.cache_memory_bytes if settings.cache else 0),
        machine.examine_open_files(),
        machine.examine_disk("disk", Path.cwd()),
    ]
    if repository is not None:
        findings.append(machine.examine_disk("repository's disk", repository))
    is_triton_here = any(part in settings.triton_url for part in ("127.0.0.1", "localhost", "[::1]"))
    findings.append(machine.examine_shared_memory(is_triton_here=is_triton_here))
    findings.append(machine.examine_port("port", settings.host, settings.port, "FACADE_PORT"))
    findings.append(
        machine.examine_port(
            "metrics port", settings.metrics_host, settings.metrics_port, "FACADE_METRICS_PORT"
        )
    )
    return findings


async def _examine_disk(asked: Questions) -> RepositoryLook:
    repository = asked.repository
    if repository is None:
        return skip_repository()
    limit_s = DEEP_LIMIT_S if asked.is_deep else FILES_LIMIT_S
    return await in_thread(lambda: examine_repository(repository, is_deep=asked.is_deep), limit_s)


async def _examine_cache_redis(settings: Settings, timeout_s: float) -> RedisLook:
    use = "both" if settings.quota_redis_url is None else "cache"
    return await examine_redis("FACADE_REDIS_URL", _secret(settings.redis_url), use=use, timeout_s=timeout_s)


async def _examine_quota_redis(settings: Settings, timeout_s: float) -> RedisLook:
    if settings.quota_redis_url is None:
        return RedisLook()
    url = settings.quota_redis_url.get_secret_value()
    return await examine_redis("FACADE_QUOTA_REDIS_URL", url, use="quotas", timeout_s=timeout_s)


async def _examine_facade(asked: Questions) -> tuple[list[Finding], Answer | None]:
    url = asked.facade_url
    if url is None:
        return [], None
    return await in_thread(lambda: examine_running(url, asked.timeout_s), 4 * asked.timeout_s)


def _tls(settings: Settings) -> TlsFiles | None:
    if settings.triton_tls_ca_file is None:
        return None
    return TlsFiles(settings.triton_tls_ca_file, settings.triton_tls_cert_file, settings.triton_tls_key_file)


def _secret(value: Any) -> str | None:
    return None if value is None else str(value.get_secret_value())


def count(sections: list[Section]) -> dict[str, int]:
    """
    Count the findings of each status.

    Args:
        sections: All findings.

    Returns:
        How many by status.
    """
    counts = {"problem": 0, "warning": 0, "ok": 0, "skipped": 0}
    for section in sections:
        for finding in section.findings:
            counts[finding.status] += 1
    return counts
