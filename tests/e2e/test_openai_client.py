"""OpenAI's client as it is used: asynchronous, streamed, with its own retries and time-outs; curl and httpx too."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tests.stack import KEY, start_facade

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.local.triton import TritonServer
    from tests.stack import Facade

pytestmark = pytest.mark.e2e

ASKED: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


def test_the_asynchronous_client_gets_what_the_other_gets(facade: Facade) -> None:
    """Whole, streamed, many at a time, vectors in its default base64."""
    wanted: dict[str, Any] = {"model": "tiny-chat", "messages": ASKED, "temperature": 0, "max_tokens": 40}

    async def ask() -> tuple[list[str], str, list[int]]:
        async with openai.AsyncOpenAI(base_url=f"{facade.url}/v1", api_key=KEY, max_retries=0) as client:
            whole = await asyncio.gather(*(client.chat.completions.create(**wanted) for _ in range(4)))
            stream = await client.chat.completions.create(**wanted, stream=True)
            streamed = "".join([piece.choices[0].delta.content or "" async for piece in stream])
            vectors = await client.embeddings.create(model="minilm", input=["one text", "another text"])
        texts = [one.choices[0].message.content or "" for one in whole]
        return texts, streamed, [len(one.embedding) for one in vectors.data]

    texts, streamed, lengths = asyncio.run(ask())
    with openai.OpenAI(base_url=f"{facade.url}/v1", api_key=KEY, max_retries=0) as client:
        assert client.chat.completions.create(**wanted).choices[0].message.content == streamed
    assert set(texts) == {streamed}
    assert lengths == [384, 384]


def test_its_time_out_ends_the_wait(facade: Facade) -> None:
    """As its own error, at once."""
    with (
        openai.OpenAI(base_url=f"{facade.url}/v1", api_key=KEY, max_retries=0, timeout=0.001) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model="tiny-chat", messages=ASKED)


def test_its_retries_wait_as_long_as_they_are_told(triton: TritonServer, tmp_path: Path) -> None:
    """A caller over its limit gets 429 with a wait; the client waits and is answered."""
    keys = tmp_path / "keys.yaml"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys.write_text(
        f"tiers:\n  one: {{max_in_flight: 1}}\nkeys:\n  - {{name: caller, sha256: '{digest}', tier: one}}\n"
    )
    with start_facade(triton.grpc_url, FACADE_KEYS_FILE=str(keys)) as facade:
        url = f"{facade.url}/v1"
        # A caller that holds its one place until told to let go.
        asked = {
            "model": "tiny-chat",
            "messages": ASKED,
            "stream": True,
            "max_tokens": 900,  # seconds, however slow the machine: the place isn't free before it is let go
            "ignore_eos": True,
        }
        with httpx.stream("POST", f"{url}/chat/completions", json=asked, headers=facade.headers) as held:
            lines = held.iter_lines()
            next(lines)
            with (
                openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client,
                pytest.raises(openai.RateLimitError) as refused,
            ):
                client.embeddings.create(model="minilm", input="a")
            assert int(refused.value.response.headers["retry-after-ms"]) > 0
            letting_go = threading.Timer(0.5, held.close)
            letting_go.start()
            with openai.OpenAI(base_url=url, api_key=KEY, max_retries=8) as client:
                assert client.embeddings.create(model="minilm", input="a").data
            letting_go.join()


def test_curl_and_httpx(facade: Facade) -> None:
    """The V2 protocol by hand: JSON, and a model's readiness."""
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["one text"]}]}
    key = ["-H", f"X-API-Key: {KEY}"]
    done = subprocess.run(
        ["curl", "-sS", "--fail", f"{facade.url}/v2/models/minilm/infer", *key, "-d", json.dumps(body)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [1, 384]
    answer = httpx.post(f"{facade.url}/v2/models/minilm/infer", json=body, headers=facade.headers)
    assert answer.json()["outputs"] == json.loads(done.stdout)["outputs"]
    assert httpx.get(f"{facade.url}/v2/models/minilm/ready", headers=facade.headers).status_code == 200
