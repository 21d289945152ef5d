"""A real Redis: away, locked, full, hanging, a replica."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from facade.doctor.redis_servers import RedisLook, examine_redis
from tests.facade.cache.redis_cluster import cluster_url, redis_cluster
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from facade.doctor.finding import Finding

pytestmark = pytest.mark.anyio

SETTING = "FACADE_REDIS_URL"
BOUNDED = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]


async def examine(url: str | None, use: str = "both", timeout_s: float = 5) -> RedisLook:
    """Look at one."""
    return await examine_redis(SETTING, url, use=use, timeout_s=timeout_s)


async def first_problem(url: str) -> Finding:
    """Give the first problem, which must have a remedy and no password."""
    look = await examine(url, timeout_s=0.5)
    found = next(finding for finding in look.findings if finding.status == "problem")
    assert found.remedy
    assert "hunter2" not in repr(look.findings)
    return found


async def test_a_good_redis_is_described_and_tells_the_time() -> None:
    """Version, memory, policy; its clock is ours."""
    with RedisServer(args=BOUNDED) as server:
        look = await examine(server.url)

    assert [finding.status for finding in look.findings] == ["ok", "ok"]
    assert "maxmemory 64 MiB, allkeys-lru" in look.findings[1].found
    assert abs(look.clocks[0].ours - look.clocks[0].theirs) < 1


async def test_a_killed_redis_and_a_name_that_is_none() -> None:
    """What to correct is named."""
    away = await first_problem(f"redis://:hunter2@127.0.0.1:{free_port()}")
    nobody = await first_problem("redis://:hunter2@no-such-host.invalid")

    assert ("connection refused" in away.found, "Start Redis" in away.remedy) == (True, True)
    assert "can't be resolved" in nobody.found


@pytest.mark.parametrize("login", ["", ":hunter2@", "somebody:hunter2@"])
async def test_a_wrong_password_is_told_without_it(login: str) -> None:
    """None, a wrong one, an unknown user."""
    with RedisServer(args=["--requirepass", "right"]) as server:
        found = await first_problem(f"redis://{login}127.0.0.1:{server.port}")

    assert "refuses our login" in found.found
    assert SETTING in found.remedy


async def test_a_frozen_redis_ends_in_time() -> None:
    """The connection opens, and nothing comes."""
    with RedisServer() as server:
        server.freeze()
        before = time.monotonic()
        found = await first_problem(server.url)

    assert "doesn't answer" in found.found
    assert time.monotonic() - before < 5


async def test_something_else_on_the_port() -> None:
    """A server that says something else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        found = await first_problem(f"redis://127.0.0.1:{listener.getsockname()[1]}")

    assert found.status == "problem"


@pytest.mark.parametrize(
    ("args", "use", "status", "words"),
    [
        ([], "both", "warning", "no maxmemory"),
        (
            ["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"],
            "both",
            "warning",
            "keeps no new answers",
        ),
        (["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"], "cache", "problem", "is used"),
        (BOUNDED, "quotas", "warning", "may forget counters"),
        (["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"], "quotas", "ok", "noeviction"),
    ],
)
async def test_what_it_does_when_full_fits_its_use(
    args: list[str], use: str, status: str, words: str
) -> None:
    """A cache forgets, counters don't."""
    with RedisServer(args=args) as server:
        found = (await examine(server.url, use)).findings[1]

    assert (found.status, words in found.found) == (status, True)


async def test_a_replica_and_a_cluster_without_slots_are_problems() -> None:
    """The first names its primary, the second how to find the missing node."""
    with RedisServer(args=[*BOUNDED, "--replicaof", "127.0.0.1", str(free_port())]) as server:
        replica = await first_problem(server.url)
    with RedisServer(
        args=[*BOUNDED, "--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    ) as server:
        cluster = await first_problem(server.url)

    assert "is a replica" in replica.found
    assert "CLUSTER NODES" in cluster.remedy


async def test_each_primary_of_a_cluster_is_looked_at() -> None:
    """One that is gone is told beside the others."""
    with redis_cluster() as servers:
        look = await examine(cluster_url(servers))
        servers[2].kill()
        torn = await examine(cluster_url(servers))

    described = [finding for finding in look.findings if finding.found.startswith("Redis ")]
    assert len(described) == 3
    assert len([finding for finding in look.findings if "cluster state ok" in finding.found]) == 3
    assert len(look.clocks) == 3
    assert any(finding.status == "problem" and finding.remedy for finding in torn.findings)
    assert len(torn.clocks) == 2


async def test_none_is_skipped() -> None:
    """It says what that means."""
    assert (await examine(None)).findings[0].status == "skipped"
