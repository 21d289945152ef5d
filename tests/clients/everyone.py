"""
Clients that people already use, each in its own environment, against the real stack: ``make test-clients``.

Each script asks what its client is used for and fails where an answer isn't what it should be. A client that isn't
installed fails too: run ``python -m tests.clients.install`` first.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients import install
from tests.stack import KEY

if TYPE_CHECKING:
    from tests.stack import Facade

SCRIPTS = Path(__file__).with_name("scripts")


def run(command: list[str], facade: Facade, **environment: str) -> str:
    """Run a client to its end, and give what it wrote."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        env={**kept, "BASE_URL": f"{facade.url}/v1", "API_KEY": KEY, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("name", ["langchain", "llamaindex", "litellm", "cohere", "kserve"])
def test_a_python_client(name: str, facade: Facade) -> None:
    """Everything that its script asks is answered as it should be."""
    run([str(install.python_of(name)), str(SCRIPTS / f"{name}_client.py")], facade)


def test_nodes_openai(facade: Facade) -> None:
    """Chat, streams, embeddings and errors, from JavaScript."""
    run(["node", str(SCRIPTS / "openai.mjs")], facade, NODE_HOME=str(install.FOLDER / install.NODE))


def test_perf_analyzer(facade: Facade, tmp_path: Path) -> None:
    """Triton's own load generator over HTTP, past the cache: it counts what Triton computed meanwhile."""
    program = next((install.FOLDER / "perf_analyzer").rglob("bin/perf_analyzer*"), None)
    assert program is not None, "run `python -m tests.clients.install perf_analyzer`"
    runtime = next((install.FOLDER / "perf_analyzer").rglob("cuda_runtime/lib"))
    texts = tmp_path / "texts.json"
    texts.write_text('{"data": [{"text": ["one text"]}, {"text": ["another text"]}]}')
    command = [str(program), "-m", "minilm", "-u", facade.url.removeprefix("http://"), "-i", "http"]
    command += ["--service-kind", "triton", "--input-data", str(texts), "--concurrency-range", "2"]
    command += ["-H", f"X-API-Key: {KEY}", "--measurement-interval", "1000", "--stability-percentage", "999"]
    for further in (["-H", "Cache-Control: no-store"], ["-x", "1"]):
        said = run([*command, *further], facade, LD_LIBRARY_PATH=str(runtime))
        assert "infer/sec" in said, said
