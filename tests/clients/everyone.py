"""
Clients that people already use, each in its own environment, against the real stack: ``make test-clients``.

Each script asks what its client is used for and fails where an answer isn't what it should be. A client that isn't
installed fails too: run ``python -m tests.clients.install`` first.
"""

from __future__ import annotations

import json
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


def perf_analyzer(facade: Facade, *arguments: str) -> str:
    """Run Triton's own load generator for a second or two, and give what it wrote."""
    program = next((install.FOLDER / "perf_analyzer").rglob("bin/perf_analyzer*"), None)
    assert program is not None, "run `python -m tests.clients.install perf_analyzer`"
    runtime = next((install.FOLDER / "perf_analyzer").rglob("cuda_runtime/lib"))
    command = [str(program), *arguments, "-H", f"X-API-Key: {KEY}", "--concurrency-range", "2"]
    command += ["--measurement-interval", "1000", "--stability-percentage", "999"]
    return run(command, facade, LD_LIBRARY_PATH=str(runtime))


@pytest.mark.parametrize("past_the_cache", [["-H", "Cache-Control: no-store"], ["-x", "1"]])
def test_perf_analyzer(facade: Facade, tmp_path: Path, past_the_cache: list[str]) -> None:
    """Over HTTP, past the cache: it counts what Triton computed meanwhile."""
    texts = tmp_path / "texts.json"
    texts.write_text('{"data": [{"text": ["one text"]}, {"text": ["another text"]}]}')
    command = ["-m", "minilm", "-u", facade.url.removeprefix("http://"), "-i", "http"]
    said = perf_analyzer(
        facade, *command, "--service-kind", "triton", "--input-data", str(texts), *past_the_cache
    )
    assert "infer/sec" in said, said


def test_perf_analyzer_as_a_client_of_openai(facade: Facade, tmp_path: Path) -> None:
    """Chat, whole: this version asks for no streams over HTTP."""
    message = {"role": "user", "content": "What is the capital of France?"}
    payload = {"model": "tiny-chat", "messages": [message], "max_tokens": 16}
    asked = tmp_path / "chat.json"
    asked.write_text(json.dumps({"data": [{"payload": [payload]}]}))
    command = ["-m", "tiny-chat", "-u", facade.url, "--endpoint", "v1/chat/completions", "--async"]
    said = perf_analyzer(facade, *command, "--service-kind", "openai", "--input-data", str(asked))
    assert "infer/sec" in said, said
