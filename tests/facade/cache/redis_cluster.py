"""A real Redis Cluster of three primaries on loopback, started by the test."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from redis import Redis

from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

THIRDS = ((0, 5460), (5461, 10922), (10923, 16383))
"""The slots of each primary."""

START_LIMIT_S = 10.0
"""Seconds within which the nodes must have found each other."""


@contextmanager
def redis_cluster() -> Iterator[list[RedisServer]]:
    """Start three primaries and yield them once each of them says that all slots are served."""
    with ExitStack() as stack:
        bus_ports = [free_port() for _ in THIRDS]
        servers = []
        for bus_port in bus_ports:
            # By default the bus has the port plus 10,000, which the kernel's free ports may not have.
            args = ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
            args += ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"]
            servers.append(stack.enter_context(RedisServer(args=args)))
        clients = [stack.enter_context(Redis(port=server.port)) for server in servers]
        for client, (first, last) in zip(clients, THIRDS, strict=True):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, bus_port in zip(servers[1:], bus_ports[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus_port)
        deadline = time.monotonic() + START_LIMIT_S
        while not all(_knows_all(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster's nodes didn't find each other"
            time.sleep(0.02)  # gossip tells nobody when it is done, so they are asked
        yield servers


def _knows_all(client: Redis) -> bool:
    ranges = client.execute_command("CLUSTER", "SLOTS")
    info = client.execute_command("CLUSTER", "INFO")
    return len(ranges) == len(THIRDS) and b"cluster_state:ok" in info


def cluster_url(servers: list[RedisServer]) -> str:
    """URL that names all of *servers*."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
