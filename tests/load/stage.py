"""
What is started for a run, and stopped after it: the export, Triton with variants of the door, façades, peers.

A variant is the exported model under another name, with its settings edited; it may share the original's core. All
are served by one Triton, so that contenders take turns without anything being restarted; idle ones cost no CPU time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploy.local.triton import TritonServer
from export.config_pbtxt import from_text, to_text
from tests.facade.redis_server import RedisServer
from tests.load import machine
from tests.load.machine import CHECKOUT
from tests.load.measure import BenchFailed, Contender
from tests.load.peers import install
from tests.stack import KEY, MODEL_NAME, find_model_folder, start_facade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.load.peers.roster import Peer
    from tests.stack import Facade

CORE_NAME = f"{MODEL_NAME}_core"
AUTO_NAME = f"{MODEL_NAME}_auto"
NO_LIMIT = 10**9
"""Larger than anything that is counted here."""


@dataclass(frozen=True)
class Variant:
    """The exported model, changed."""

    name: str
    """Name of its door."""

    grouping: dict[str, Any] = field(default_factory=dict)
    """Fields of door.json's grouping that differ."""

    max_batch_size: int | None = None
    """Rows that door and core may merge, if they differ."""

    door_instances: int | None = None
    """Doors, if they differ."""

    core: dict[str, int] | None = None
    """``instances`` and ``threads`` of a core of its own; None shares the original's."""

    @property
    def core_name(self) -> str:
        """Name of the core that it calls."""
        has_own = self.core is not None or self.max_batch_size is not None
        return f"{self.name}_core" if has_own else CORE_NAME


PADDING = Variant("minilm_padding", grouping={"limit_tokens": NO_LIMIT, "call_tokens": NO_LIMIT})
"""The door that pads each batch to its longest text: nothing is ever cut but at the core's row limit."""


class Stage:
    """
    Everything that a run needs, in a with statement.

    It installs nothing: `make bench` did, and a run that measures has no business changing an environment.

    Args:
        exported: A repository with the exported model; it is copied.

        say: Takes a line of progress.

        variants: Variants of the model that Triton serves beside the original.
    """

    def __init__(
        self, exported: Path, say: Callable[[str], None], variants: tuple[Variant, ...] = (PADDING,)
    ) -> None:
        self._exported = exported
        self._say = say
        self._variants = variants
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            folder = opening.enter_context(tempfile.TemporaryDirectory(prefix="triton-facade-bench-"))
            self.folder = Path(folder)
            self.repository = self.folder / "repository"
            shutil.copytree(self._exported, self.repository)
            for variant in self._variants:
                add_variant(self.repository, variant)
            self._say("starting Triton")
            self.triton = opening.enter_context(TritonServer(self.repository))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def scene(self) -> Iterator[Stage]:
        """
        Make room for what is to end before the stage does.

        Yields:
            The same stage; what is started on it within the with statement ends with it.
        """
        outer, self._open = self._open, ExitStack()
        try:
            with self._open:
                yield self
        finally:
            self._open = outer

    @property
    def tokenizer_file(self) -> Path:
        """The exported tokenizer."""
        return self.repository / MODEL_NAME / "1" / "tokenizer.json"

    @property
    def triton_pid(self) -> int:
        """Triton's process."""
        assert self.triton.pid is not None
        return self.triton.pid

    def start_facade(self, **environment: str) -> Facade:
        """
        Start a façade that lasts as long as the stage.

        Args:
            environment: Settings beyond the defaults.

        Returns:
            The façade, ready.
        """
        # It logs as it does for its users: one line a request.
        chosen = {"FACADE_LOG_LEVEL": "info", **environment}
        return self._open.enter_context(start_facade(self.triton.grpc_url, **chosen))

    def start_peer(self, peer: Peer, **settings: str) -> Contender:
        """
        Start a peer that lasts as long as the stage.

        Args:
            peer: Who.

            settings: What differs from its own.

        Returns:
            It, ready, as a contender for short texts.

        Raises:
            BenchFailed: If it doesn't become ready; the message has the end of what it said.
        """
        chosen = {**peer.settings, **settings}
        ports = [str(free_port()) for _ in range(3)]
        # Short, because Ray puts sockets below it.
        folder = Path(
            self._open.enter_context(tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True))
        )
        python = install.python_of(peer.name) if peer.has_environment else Path(sys.executable)
        environment = {
            "PEER_FOLDER": str(folder),
            "PEER_GRAPH": str(self.repository / CORE_NAME / "1" / "model.onnx"),
            "PEER_TOKENIZER": str(self.tokenizer_file),
            "PEER_MAX_TOKENS": "256",
            "PEER_MODEL": str(find_model_folder()),
            **dict(zip(("PEER_PORT", "PEER_PORT_2", "PEER_PORT_3"), ports, strict=True)),
            **{f"PEER_{name}": value for name, value in chosen.items()},
            "PYTHONPATH": str(CHECKOUT),
            "BENTOML_HOME": str(folder / "bentoml"),
            **peer.environment,
        }
        log = folder / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), *(part.format(port=ports[0], **chosen) for part in peer.command)],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._open.callback(_end, process)
        try:
            await_answer(f"http://127.0.0.1:{ports[0]}{peer.ready_path}", process, timeout_s=90)
        except BenchFailed as error:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchFailed(f"{peer.title} didn't start: {error}\n{said}") from error
        return Contender(
            name=peer.title,
            protocol="http",
            address=f"127.0.0.1:{ports[0]}",
            model=MODEL_NAME,
            programs={"peer": process.pid},
            dialect=peer.dialect,
            other_paths=list(peer.other_paths),
            may_refuse=True,
        )

    def start_application(self, application: str, health_path: str, **environment: str) -> tuple[str, int]:
        """
        Start an ASGI application on uvicorn as it is fastest, for as long as the stage lasts.

        Args:
            application: ``module:name``.

            health_path: What answers 200 when it is ready.

            environment: Its settings.

        Returns:
            ``host:port`` and process id.
        """
        port = free_port()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", application),
                *("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
                *("--log-level", "warning"),
            ],
            cwd=CHECKOUT,
            env={**os.environ, **environment},
        )
        self._open.callback(_end, process)
        await_answer(f"http://127.0.0.1:{port}{health_path}", process)
        return f"127.0.0.1:{port}", process.pid

    def start_redis(self) -> str:
        """
        Start a Redis that lasts as long as the stage.

        Returns:
            Its URL.
        """
        server = self._open.enter_context(RedisServer())
        return server.url

    def write_keys_file(self) -> Path:
        """
        Write a keys file whose one key has every limit, none of which is ever reached.

        Returns:
            Its path.
        """
        tier = {
            "requests_per_minute": NO_LIMIT,
            "tokens_per_minute": NO_LIMIT,
            "max_in_flight": NO_LIMIT,
            "priority": 1,
        }
        key = {"name": "bench", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tier": "bench"}
        path = self.folder / "keys.yaml"
        # JSON is YAML.
        path.write_text(json.dumps({"tiers": {"bench": tier}, "keys": [key]}), encoding="utf-8")
        path.chmod(0o600)
        return path

    def through(
        self, facade: Facade, name: str, *, variant: Variant | None = None, traffic: str = "short"
    ) -> Contender:
        """
        Describe a model behind a façade as a contender.

        Args:
            facade: The façade.

            name: What the report calls it.

            variant: The model; None for the original.

            traffic: Kind of texts.

        Returns:
            The contender.
        """
        return Contender(
            name=name,
            protocol="http",
            address=facade.url.removeprefix("http://"),
            model=variant.name if variant else MODEL_NAME,
            core=variant.core_name if variant else CORE_NAME,
            triton_http=self.triton.http_url,
            triton_metrics=self.triton.metrics_url,
            programs={"facade": facade.process.pid, "triton": self.triton_pid},
            headers={"authorization": f"Bearer {KEY}"},
            traffic=traffic,
        )

    def directly(self, name: str, *, traffic: str = "short") -> Contender:
        """
        Describe the door itself, called over gRPC, as a contender.

        Args:
            name: What the report calls it.

            traffic: Kind of texts.

        Returns:
            The contender.
        """
        return Contender(
            name=name,
            protocol="grpc",
            address=self.triton.grpc_url,
            model=MODEL_NAME,
            core=CORE_NAME,
            triton_http=self.triton.http_url,
            programs={"triton": self.triton_pid},
            traffic=traffic,
        )

    def directly_http(self, name: str, *, traffic: str = "short") -> Contender:
        """
        Describe the door itself, called over Triton's own HTTP with binary tensors, as a contender.

        Args:
            name: What the report calls it.

            traffic: Kind of texts.

        Returns:
            The contender: it costs the generator as little as a façade does.
        """
        described = self.directly(name, traffic=traffic)
        return replace(described, protocol="http", address=self.triton.http_url, dialect="triton")

    def export_auto(self) -> Variant:
        """
        Export the model once more, in the fastest precision that passes parity, and let Triton load it.

        Returns:
            It, as a variant.
        """
        command = [sys.executable, "-m", "export", "export", str(find_model_folder())]
        options = ["--name", AUTO_NAME, "--precision", "auto", "--repository", str(self.repository)]
        follow = ["--triton", f"grpc://{self.triton.grpc_url}"]
        done = subprocess.run(
            [*command, *options, *follow], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchFailed(f"exporting with --precision auto failed: {done.stderr[-2000:]}")
        return Variant(AUTO_NAME, core={})


def add_variant(repository: Path, variant: Variant) -> None:
    """
    Add a variant of the exported model to its repository.

    Args:
        repository: The model repository.

        variant: What differs.

    Raises:
        BenchFailed: If the door knows no such setting: it would be ignored, and the original measured twice.
    """
    door = repository / variant.name
    shutil.copytree(repository / MODEL_NAME, door)
    config = from_text((door / "config.pbtxt").read_text(encoding="utf-8"))
    config.name = variant.name
    if variant.max_batch_size is not None:
        config.max_batch_size = variant.max_batch_size
    if variant.door_instances is not None:
        config.instance_group[0].count = variant.door_instances
    (door / "config.pbtxt").write_text(to_text(config), encoding="utf-8")

    for settings_file in door.glob("*/door.json"):
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        settings["core_model"] = variant.core_name
        if unknown := set(variant.grouping) - set(settings["grouping"]):
            raise BenchFailed(f"{variant.name}: door.json's grouping has no {sorted(unknown)}")
        settings["grouping"].update(variant.grouping)
        settings["max_batch_size"] = variant.max_batch_size or settings["max_batch_size"]
        settings_file.write_text(json.dumps(settings), encoding="utf-8")
    if variant.core_name != CORE_NAME:
        _add_core(repository, variant)


def _add_core(repository: Path, variant: Variant) -> None:
    core = repository / variant.core_name
    shutil.copytree(repository / CORE_NAME, core)
    config = from_text((core / "config.pbtxt").read_text(encoding="utf-8"))
    config.name = variant.core_name
    if variant.max_batch_size is not None:
        config.max_batch_size = variant.max_batch_size
    if variant.core is not None:
        config.instance_group[0].count = variant.core["instances"]
        config.parameters["intra_op_thread_count"].string_value = str(variant.core["threads"])
    (core / "config.pbtxt").write_text(to_text(config), encoding="utf-8")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def await_answer(
    url: str, process: subprocess.Popen[Any], timeout_s: float = 60, poll_s: float = 0.01
) -> None:
    """
    Wait until a program answers 200.

    Args:
        url: What is asked.

        process: Who should answer.

        timeout_s: Patience.

        poll_s: Seconds between two questions.

    Raises:
        BenchFailed: If it ended or didn't answer in time.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # ours, always http
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchFailed(f"{url} doesn't answer: {error}") from error
        time.sleep(poll_s)


def _end(process: subprocess.Popen[Any]) -> None:
    # Some peers leave their workers behind.
    tree = machine.tree_of(process.pid)
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in tree - {process.pid}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
