"""A release from its first export to its rollback, under steady load: no caller meets a failure of the canary."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from export.options import ExportOptions
from export.pipeline import run_export
from export.progress import Progress
from tests.e2e.conftest import start_facade
from tests.export.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.anyio]

CALLERS = 40
RATE_PER_S = 30
PERCENT = 10
BROKEN = """

async def _fail(self, requests):
    raise RuntimeError("broken on purpose")

TritonPythonModel.execute = _fail
"""
"""What makes a door load well and fail at every request."""


@dataclass(frozen=True)
class Answered:
    """One answer."""

    caller: int
    """Who asked."""

    status: int
    """HTTP status."""

    version: int
    """The version that answered."""

    body: str
    """What was said, if it wasn't 200."""


class SteadyLoad:
    """Callers with keys of their own, one request after another at a fixed rate, whatever becomes of the earlier."""

    def __init__(self, url: str) -> None:
        self.answers: list[Answered] = []
        self._url = url
        self._pending: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(base_url=self._url, timeout=30)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, *self._pending, return_exceptions=True)
        await self._client.aclose()

    async def wait_for(self, is_reached: Callable[[list[Answered]], bool]) -> list[Answered]:
        """Wait until the answers from now on are so."""
        start = len(self.answers)
        async with asyncio.timeout(30):
            while not is_reached(self.answers[start:]):
                await asyncio.sleep(0.02)
        return self.answers[start:]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        number = 0
        while True:
            task = asyncio.create_task(self._ask(number))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
            number += 1
            await asyncio.sleep(started + number / RATE_PER_S - loop.time())

    async def _ask(self, number: int) -> None:
        caller = number % CALLERS
        answer = await self._client.post(
            "/v1/embeddings",
            json={"model": "tiny", "input": f"text number {number}"},
            headers={"X-API-Key": secret_of(caller)},
        )
        version = int(answer.headers.get("x-model-version", 0))
        body = "" if answer.status_code == 200 else answer.text
        self.answers.append(Answered(caller, answer.status_code, version, body))


def secret_of(caller: int) -> str:
    """Give a caller's key."""
    return f"the-key-of-caller-number-{caller}"


@pytest.fixture(name="keys_file")
def _keys_file(tmp_path: Path) -> Path:
    """A key for each caller, and one that reads metrics."""
    path = tmp_path / "keys.yaml"
    entries = [(f"caller-{number}", secret_of(number), "infer") for number in range(CALLERS)]
    entries.append(("watcher", secret_of(CALLERS), "metrics"))
    keys = [
        {
            "name": name,
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "tier": "any",
            "scopes": [scope],
        }
        for name, secret, scope in entries
    ]
    path.write_text(json.dumps({"tiers": {"any": {}}, "keys": keys}))
    return path


@pytest.fixture(name="released")
def _released(tmp_path: Path) -> Path:
    """A repository whose version 1 is stable; 2 is a candidate, and so is 3, which was broken after its export."""
    install_triton(Places(CHECKOUT), print)
    source = make_tiny_model(tmp_path / "source")
    repository = tmp_path / "repository"
    for number in range(3):
        wanted = ExportOptions(model=str(source), name="tiny", repository=repository, candidate=number > 0)
        run_export(wanted, Progress(None))
    with (repository / "tiny" / "3" / "model.py").open("a") as model:
        model.write(BROKEN)
    return repository


async def command(*arguments: str) -> dict[str, Any]:
    """Run `triton-export` as its users do."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "export", *arguments, "--json"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


async def is_dropped(url: str) -> bool:
    """Read whether the canary 3 gets callers no more."""
    async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": secret_of(CALLERS)}) as client:
        metrics = (await client.get("/metrics")).text
    return 'facade_canary_dropped{model="tiny",version="3"} 1.0' in metrics


async def test_a_release_moves_under_load(released: Path, keys_file: Path) -> None:
    """Canary, promote, a broken canary, its end by the façade, and rollback: every single request is answered."""
    with (
        TritonServer(released) as triton,
        start_facade(triton.grpc_url, FACADE_KEYS_FILE=str(keys_file)) as facade,
    ):
        where = ("--repository", str(released), "--triton", f"grpc://{triton.grpc_url}")
        async with SteadyLoad(facade.url) as load:
            seen = await load.wait_for(lambda answers: len(answers) >= CALLERS)
            assert {answer.version for answer in seen} == {1}

            await command("canary", "tiny", "2", "--percent", str(PERCENT), *where)
            await load.wait_for(lambda answers: any(answer.version == 2 for answer in answers))
            seen = await load.wait_for(lambda answers: len(answers) >= 3 * CALLERS)
            versions = {(answer.caller, answer.version) for answer in seen}
            assert len(versions) == CALLERS  # each caller keeps to one version
            trying = {caller for caller, version in versions if version == 2}
            assert 0 < len(trying) < CALLERS / 2

            await command("promote", "tiny", *where)
            await load.wait_for(lambda answers: any(answer.version == 2 for answer in answers))
            seen = await load.wait_for(lambda answers: len(answers) >= CALLERS)
            assert {answer.version for answer in seen} == {2}

            await command("canary", "tiny", "3", "--percent", str(PERCENT), *where)
            async with asyncio.timeout(30):
                while not await is_dropped(facade.url):
                    await asyncio.sleep(0.1)
            seen = await load.wait_for(lambda answers: len(answers) >= CALLERS)
            assert {answer.version for answer in seen} == {2}

            result = await command("rollback", "tiny", *where)
            assert result["release"] == {"stable": 2, "previous": [1], "rolled_back_from": 3}
            await load.wait_for(lambda answers: len(answers) >= CALLERS)

        failed = [answer for answer in load.answers if answer.status != 200]
        assert failed == []
        assert {answer.version for answer in load.answers} == {1, 2}
        shown = await command("show", "tiny", "--repository", str(released))
        assert [(row["version"], row["role"]) for row in shown["versions"]] == [
            (3, "candidate"),
            (2, "stable"),
            (1, "previous"),
        ]
