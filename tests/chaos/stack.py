"""
All of it together: two Tritons in networks of their own, two façades with two workers each, one Redis.

Both Tritons serve one repository, whose version 1 is stable and whose version 2 loads well and fails at every request.
Façades reach Tritons and Redis through a `Proxy` each. Their logs and Tritons' are on a small disk of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis

from deploy.local.triton import CHECKOUT, TritonServer
from export.options import ExportOptions
from export.pipeline import run_export
from export.progress import Progress
from tests.chaos.parts import KeptFacade, KeptTriton
from tests.chaos.truth import Truth, make_truth
from tests.export.tiny_model import make_tiny_model
from tests.facade.redis_server import RedisServer, free_port
from tests.freezing import thaw
from tests.network.namespaces import Namespace, why_impossible
from tests.network.proxy import Proxy
from tests.stack import KEY, facade_environment

if TYPE_CHECKING:
    from collections.abc import Callable

PORTS = {"http_port": 8000, "grpc_port": 8001, "metrics_port": 8002}
"""In a network of its own each Triton has the usual ports."""

DISK_BYTES = 8 * 1024 * 1024
REDIS_BYTES = "32mb"
CLOCK = Path(__file__).parent / "clock"
"""On a Python process's path, it lets that process believe in another time."""

BROKEN = """

async def _fail(self, requests):
    raise RuntimeError("broken on purpose")

TritonPythonModel.execute = _fail
"""
"""What makes a door load well and fail at every request."""


class Stack:
    """
    Everything that runs, in an async with statement.

    Args:
        say: Takes a line of progress.

        seed: Fixes the texts.
    """

    def __init__(self, say: Callable[[str], None], seed: int = 1) -> None:
        self._say = say
        self._seed = seed
        self._held = AsyncExitStack()
        self.tritons: list[KeptTriton] = []
        self.networks: list[Namespace] = []
        self.facades: list[KeptFacade] = []
        self.distances: list[Proxy] = []
        self.frozen: list[int] = []
        """Processes that a fault has stopped."""

    async def __aenter__(self) -> Self:
        if reason := why_impossible():
            raise SystemExit(f"Chaos needs networks of its own: {reason}.")
        async with AsyncExitStack() as opening:
            self.folder = Path(
                opening.enter_context(tempfile.TemporaryDirectory(prefix="triton-facade-chaos-"))
            )
            self.disk = opening.enter_context(_SmallDisk(self.folder / "disk"))
            await self._export()
            self.redis = opening.enter_context(RedisServer(args=["--maxmemory", REDIS_BYTES]))
            await self._start_tritons(opening)
            await self._start_facades(opening)
            opening.callback(self.thaw_all)
            self._held = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._held.aclose()

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of the façades."""
        return [f"127.0.0.1:{facade.port}" for facade in self.facades]

    def thaw_all(self) -> None:
        """Let everything go on that was stopped."""
        while self.frozen:
            thaw(self.frozen.pop())

    async def wait_whole(self, timeout_s: float = 120) -> None:
        """Wait until everything that was started again is ready, so that the next fault finds all of it."""
        async with asyncio.timeout(timeout_s):
            for kept in self.tritons:
                while not await asyncio.to_thread(kept.is_whole):
                    await asyncio.sleep(0.1)
        for facade in self.facades:
            await asyncio.to_thread(facade.wait_ready)

    def ask_redis(self) -> redis.Redis:
        """Connect to Redis without any distance."""
        return redis.Redis(port=self.redis.port, socket_timeout=5)

    async def release(self, *move: str) -> None:
        """
        Move the release, as operators do.

        Args:
            move: Arguments of `triton-export`.
        """
        where = [f"--triton=grpc://{one.server.grpc_url}" for one in self.tritons]
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "export", *move, "--repository", str(self.repository), *where],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    async def _export(self) -> None:
        self._say("exporting a tiny model, and one that will fail")
        source = make_tiny_model(self.folder / "source")
        self.repository = self.folder / "repository"
        for number in range(2):
            wanted = ExportOptions(
                model=str(source), name="tiny", repository=self.repository, candidate=number > 0
            )
            await asyncio.to_thread(run_export, wanted, Progress(None))
        with (self.repository / "tiny" / "2" / "model.py").open("a") as model:
            model.write(BROKEN)
        self.truth: Truth = await asyncio.to_thread(make_truth, source, self._seed)

    async def _start_tritons(self, opening: AsyncExitStack) -> None:
        self._say("starting two Tritons")
        for number in range(2):
            network = opening.enter_context(Namespace())
            server = _InNetwork(
                self.repository,
                network,
                log_path=self.disk / f"triton-{number}.log",
            )
            kept = KeptTriton(server)
            opening.callback(kept.stop)
            kept.start()
            self.networks.append(network)
            self.tritons.append(kept)
        for kept in self.tritons:
            await asyncio.to_thread(kept.wait_ready)

    async def _start_facades(self, opening: AsyncExitStack) -> None:
        self._say("starting two façades with two workers each")
        for target in (*(kept.server.grpc_url for kept in self.tritons), f"127.0.0.1:{self.redis.port}"):
            self.distances.append(await opening.enter_async_context(Proxy(target)))
        *tritons, redis_distance = self.distances
        self.keys_file = self.folder / "keys.yaml"
        self.write_keys()
        self.clock_file = self.folder / "clock"
        self.set_clock(0)
        for number in range(2):
            environment = facade_environment(
                ",".join(one.url for one in tritons),
                FACADE_KEYS_FILE=str(self.keys_file),
                FACADE_REDIS_URL=f"redis://{redis_distance.url}/0",
                FACADE_REPLICAS="2",
                FACADE_LOG_LEVEL="info",
            )
            if number == 1:
                environment |= {"PYTHONPATH": str(CLOCK), "CHAOS_CLOCK_FILE": str(self.clock_file)}
            facade = KeptFacade(free_port(), environment, self.disk / f"facade-{number}.log")
            opening.callback(facade.stop)
            facade.start()
            self.facades.append(facade)
        for facade in self.facades:
            await asyncio.to_thread(facade.wait_ready)

    def set_clock(self, ahead_s: float) -> None:
        """Set the second façade's clock."""
        # By a rename: a reader sees one time or the other.
        partial = self.clock_file.with_suffix(".partial")
        partial.write_text(str(ahead_s))
        partial.replace(self.clock_file)

    def write_keys(self) -> None:
        """Write a keys file with one key, whose limits are never reached."""
        tier = {"requests_per_minute": 10**8, "tokens_per_minute": 10**9, "max_in_flight": 10**6}
        key = {"name": "chaos", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tier": "any"}
        self.keys_file.write_text(json.dumps({"tiers": {"any": tier}, "keys": [key]}))
        self.keys_file.chmod(0o600)


class _InNetwork(TritonServer):
    """A Triton in a network of its own."""

    def __init__(self, repository: Path, network: Namespace, *, log_path: Path) -> None:
        super().__init__(repository, host=network.address, log_path=log_path, **PORTS)
        self._network = network

    def _command(self) -> list[str]:
        return [*self._network.prefix, *super()._command()]


class _SmallDisk:
    """A file system in memory that is soon full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = ExitStack()

    def __enter__(self) -> Path:
        self._path.mkdir()
        options = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._path)], check=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        # Lazily: a log may be open a moment longer than its writer's end is waited for.
        subprocess.run(["umount", "--lazy", str(self._path)], check=True)
