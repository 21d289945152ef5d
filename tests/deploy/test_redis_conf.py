"""Redis as it is deployed: a real one with the project's own configuration and users, alone and as a cluster."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis

from deploy.write_secrets import write_kubernetes_secrets, write_secrets
from facade.access.keys import Key, Tier
from facade.access.redis_quotas import RedisQuotas
from facade.cache.purge import purge_model
from facade.cache.redis_tier import LookupState, RedisTier
from tests.facade.cache.recorder import PATIENT
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
KUBERNETES = CHECKOUT / "deploy" / "kubernetes" / "base" / "redis"


def start(config: Path, secrets: Path, folder: Path, *more: str) -> RedisServer:
    """A Redis with a configuration of the project's, on a port and in a folder of the test's own."""
    text = config.read_text().replace("/run/secrets", str(secrets)).replace("bind * -::*", "")
    (folder / "redis.conf").write_text(text.replace("port 6379", ""))
    # RedisServer's own options come after the file, as the first argument is the file.
    server = RedisServer(args=list(more))
    server._binary = str(folder / "redis-server")
    (folder / "redis-server").write_text(f'#!/bin/sh\nexec redis-server {folder}/redis.conf "$@"\n')
    (folder / "redis-server").chmod(0o755)
    return server


@pytest.fixture(name="alone")
def _alone(tmp_path: Path) -> Iterator[tuple[RedisServer, str]]:
    """docker-compose's Redis, and the façade's password."""
    write_secrets(tmp_path, "cpu")
    secrets = tmp_path / "secrets"
    password = urlsplit((secrets / "facade_redis_url").read_text().strip()).password
    assert password is not None
    with start(CHECKOUT / "deploy" / "redis" / "redis.conf", secrets, tmp_path) as server:
        yield server, password


def client(server: RedisServer, **login: str) -> Any:
    """A plain client."""
    return redis.Redis(port=server.port, decode_responses=True, **login)


def test_who_is_nobody_may_do_nothing(alone: tuple[RedisServer, str]) -> None:
    """Not even ask whether it lives; the health check's user may do that and nothing else."""
    server, _ = alone
    with pytest.raises(redis.AuthenticationError):
        client(server).ping()
    health = client(server, username="health", password="x")

    assert health.ping() is True
    for command in (("GET", "a"), ("INFO",), ("CONFIG", "GET", "*")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            health.execute_command(*command)


def test_the_facade_may_do_what_is_not_dangerous(alone: tuple[RedisServer, str]) -> None:
    """It reads and writes, and can't empty, reconfigure or stop the server."""
    server, password = alone
    facade = client(server, username="facade", password=password)

    assert facade.set("a", "1", ex=10) is True
    assert facade.eval("return redis.call('GET', KEYS[1])", 1, "a") == "1"
    for command in (
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "0"),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("ACL", "LIST"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            facade.execute_command(*command)


def test_it_is_bounded_and_forgets_the_least_used(alone: tuple[RedisServer, str]) -> None:
    """As the issue asks for: allkeys-lru below a bound, and nothing on the disk."""
    server, password = alone
    found = client(server, username="facade", password=password).info()

    assert found["maxmemory"] == 512 * 1024 * 1024
    assert found["maxmemory_policy"] == "allkeys-lru"
    assert found["aof_enabled"] == 0


def test_a_full_redis_takes_what_is_new(tmp_path: Path) -> None:
    """Old entries go; no write fails."""
    write_secrets(tmp_path, "cpu")
    secrets = tmp_path / "secrets"
    password = urlsplit((secrets / "facade_redis_url").read_text().strip()).password
    config = CHECKOUT / "deploy" / "redis" / "redis.conf"
    with start(config, secrets, tmp_path, "--maxmemory", "4mb") as server:
        facade = client(server, username="facade", password=str(password))
        for index in range(1000):
            facade.set(f"key-{index}", "x" * 10_000)

        assert facade.info()["evicted_keys"] > 0
        assert facade.get("key-999") is not None


def test_the_facade_works_with_its_rights(alone: tuple[RedisServer, str]) -> None:
    """Cache, quotas and a purge, by the façade's own code."""
    server, password = alone

    use_as_the_facade(f"redis://facade:{password}@127.0.0.1:{server.port}/0")


def test_six_nodes_become_a_cluster(tmp_path: Path) -> None:
    """By the Job's own script, with the Secrets' own users; replicas log in; a second run changes nothing."""
    write_kubernetes_secrets(tmp_path)
    secrets = {item["metadata"]["name"]: item["stringData"] for item in read_items(tmp_path)}
    for name, text in secrets["redis-users"].items():
        (tmp_path / name).write_text(text)
    password = urlsplit(secrets["facade-redis"]["facade_redis_url"].partition(",")[0]).password
    with ExitStack() as stack:
        ports = cluster_ports(6)
        for port in ports:
            folder = tmp_path / str(port)
            folder.mkdir()
            server = start(KUBERNETES / "redis.conf", tmp_path, folder, "--cluster-announce-ip", "127.0.0.1")
            server.port = port
            stack.enter_context(server)
        environment = {
            "PATH": os.environ["PATH"],
            "NODES": " ".join(f"127.0.0.1:{port}" for port in ports),
            "PASSWORD_FILE": str(tmp_path / "admin_password"),
        }
        script = ["bash", str(KUBERNETES / "create-cluster.sh")]
        first = subprocess.run(
            script, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert first.returncode == 0, first.stdout + first.stderr
        # Gossip takes a moment, and then the replicas' logins another.
        deadline = time.monotonic() + 60
        admin = {"username": "admin", "password": secrets["redis-users"]["admin_password"].strip()}
        while not all(is_settled(port, admin) for port in ports):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = subprocess.run(
            script, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "there is a cluster already" in second.stdout

        nodes = ",".join(f"127.0.0.1:{port}" for port in ports)
        use_as_the_facade(f"redis+cluster://facade:{password}@{nodes}")


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The Secrets that were written."""
    items: list[dict[str, Any]] = json.loads((folder / "secrets" / "kubernetes.json").read_text())["items"]
    return items


def cluster_ports(count: int) -> list[int]:
    """Free ports whose cluster bus, ten thousand higher, is free too."""
    found: list[int] = []
    while len(found) < count:
        port = free_port() % 20_000 + 20_000
        try:
            for probed in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", probed))
        except OSError:
            continue
        if port not in found and port - 10_000 not in found and port + 10_000 not in found:
            found.append(port)
    return found


def is_settled(port: int, login: dict[str, str]) -> bool:
    """Whether a node knows of all slots and, if it is a replica, has logged in at its primary."""
    with redis.Redis(port=port, decode_responses=True, **login) as node:
        state: Any = node.cluster("INFO")
        replication: Any = node.info("replication")
    is_linked = replication["role"] == "master" or replication["master_link_status"] == "up"
    return bool(state["cluster_state"] == "ok" and is_linked)


def use_as_the_facade(url: str) -> None:
    """Store and find an answer, count a request, and forget the answer, at *url*."""

    async def run() -> None:
        tier = RedisTier(url, limits=PATIENT)
        keys = [b"tf:c1:m:1:%d" % number for number in range(20)]
        tier.set_many(dict.fromkeys(keys, b"a"), 60)
        await tier.drain(5)
        assert [lookup.state for lookup in await tier.get_many(keys)] == [LookupState.HIT] * 20
        await tier.aclose()
        quotas = RedisQuotas(url, timeout_s=5.0)
        await (await quotas.admit(Key("k", "0" * 64, "t"), Tier("t", 5))).release()
        await quotas.aclose()
        assert await purge_model(url, "m", timeout_s=5) == 20

    asyncio.run(run())
