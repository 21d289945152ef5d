"""Three real Tritons with one tiny model, each with its own files, process and (where that can be had) network."""

from __future__ import annotations

import asyncio
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.network.namespaces import Namespace, why_impossible
from tests.security.small_repository import MODEL_NAME, write_repository

PORTS = {"http_port": 8000, "grpc_port": 8001, "metrics_port": 8002}
"""In a network of its own each server has Triton's usual ports."""


class Member(TritonServer):
    """
    One of the Tritons.

    Args:
        repository: Its own model repository.

        namespace: Its network; None for the machine's.
    """

    def __init__(self, repository: Path, namespace: Namespace | None) -> None:
        if namespace is None:
            super().__init__(repository)
        else:
            super().__init__(repository, host=namespace.address, **PORTS)
        self._namespace = namespace

    @property
    def network(self) -> Namespace:
        """Its network, where it has one."""
        assert self._namespace is not None
        return self._namespace

    def _command(self) -> list[str]:
        return [*(self._namespace.prefix if self._namespace else []), *super()._command()]

    def stubs(self) -> list[int]:
        """List the processes that run its models."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    def release(self, version: int) -> None:
        """Publish a version and drop the others, as an export with ``--triton`` does."""
        folder = self.repository / MODEL_NAME
        config_path = folder / "config.pbtxt"
        config = text_format.Parse(config_path.read_text(), model_config_pb2.ModelConfig())
        card = json.loads(config.parameters["model_card"].string_value)
        card["release"] = {"stable": version}
        config.parameters["model_card"].string_value = json.dumps(card)
        config.version_policy.specific.versions[:] = [version]
        target = folder / str(version)
        target.mkdir(exist_ok=True)
        (target / "model.py").write_text((folder / "1" / "model.py").read_text())
        config_path.write_text(text_format.MessageToString(config))
        with closing(http.client.HTTPConnection(self.host, self.http_port, timeout=60)) as connection:
            connection.request("POST", f"/v2/repository/models/{MODEL_NAME}/load")
            answer = connection.getresponse()
            assert answer.status == http.client.OK, answer.read()


class Fleet:
    """
    Three of them, started together.

    Args:
        folder: Where their repositories are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = ExitStack()
        self.members: list[Member] = []
        # A server dies with the thread that started it.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self.reason = why_impossible()
        """Why they share the machine's network; None if each has its own."""

    @property
    def url(self) -> str:
        """Of all of them, as ``FACADE_TRITON_URL`` takes it."""
        return ",".join(member.grpc_url for member in self.members)

    def __enter__(self) -> Self:
        install_triton(Places(CHECKOUT), print)
        with ExitStack() as held:
            for index in range(3):
                namespace = None if self.reason else held.enter_context(Namespace())
                member = Member(write_repository(self._folder / str(index)), namespace)
                # Not `stop`: three of them, one after another, wait for seconds for calls that aren't there.
                held.callback(member.kill)
                member.start()
                self.members.append(member)
            for member in self.members:
                member.wait_ready()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        self._starter.shutdown()

    async def restart(self, member: Member) -> None:
        """Start one again, and wait until it is ready; callers go on meanwhile."""
        await asyncio.get_running_loop().run_in_executor(self._starter, member.restart)
