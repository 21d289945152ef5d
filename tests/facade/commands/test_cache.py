"""``triton-facade cache`` says what it did, and why not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from facade.cache.keys import ItemKeys
from facade.cache.redis_tier import RedisTier
from facade.commands.cache import cache
from tests.facade.cache.recorder import PATIENT
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from pathlib import Path


async def store(url: str, model: str, count: int) -> None:
    """Store some answers of *model*."""
    keys = ItemKeys(scope="shared", model=model, version=1, task="embedding", parameters={})
    tier = RedisTier(url, limits=PATIENT)
    tier.set_many({keys.key(b"%d" % number): b"v" for number in range(count)}, 60)
    await tier.drain(5)
    await tier.aclose()


def test_purge_says_how_much_it_forgot() -> None:
    """The URL comes from the option or from FACADE_REDIS_URL."""
    with RedisServer() as server:
        asyncio.run(store(server.url, "minilm", 3))
        first = CliRunner().invoke(cache, ["purge", "--model", "minilm", "--redis-url", server.url])
        second = CliRunner().invoke(
            cache, ["purge", "--model", "minilm"], env={"FACADE_REDIS_URL": server.url}
        )
    assert (first.exit_code, first.output) == (0, "minilm: 3 stored answers forgotten.\n")
    assert (second.exit_code, second.output) == (0, "minilm: 0 stored answers forgotten.\n")


def test_the_url_may_be_a_secret_in_a_file(tmp_path: Path) -> None:
    """As for `serve`; with --json a program reads the result."""
    environment = {"FACADE_SECRETS_DIR": str(tmp_path), "FACADE_REDIS_URL": None}
    with RedisServer() as server:
        (tmp_path / "facade_redis_url").write_text(f"{server.url}\n")
        asyncio.run(store(server.url, "minilm", 2))
        purged = CliRunner().invoke(cache, ["purge", "--model", "minilm", "--json"], env=environment)
    (tmp_path / "facade_redis_url").unlink()
    absent = CliRunner().invoke(cache, ["purge", "--model", "minilm"], env=environment)
    (tmp_path / "facade_redis_url").mkdir()
    unreadable = CliRunner().invoke(cache, ["purge", "--model", "minilm"], env=environment)

    assert json.loads(purged.stdout) == {"model": "minilm", "forgotten": 2}
    assert (absent.exit_code, unreadable.exit_code) == (2, 2)
    assert "can't be read" in unreadable.stderr


def test_purge_needs_a_redis() -> None:
    """Without a URL nothing is guessed."""
    result = CliRunner().invoke(cache, ["purge", "--model", "m"], env={"FACADE_REDIS_URL": None})
    assert result.exit_code == 2
    assert "--redis-url" in result.output


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "nonsense"])
def test_purge_fails_aloud_and_keeps_the_password(scheme: str) -> None:
    """A Redis that is away, or a URL that is none, ends with a message and code 1."""
    url = f"{scheme}://user:secret@127.0.0.1:{free_port()}"
    result = CliRunner().invoke(cache, ["purge", "--model", "m", "--redis-url", url, "--timeout", "1"])
    assert result.exit_code == 1
    assert "Nothing is purged for certain" in result.output
    assert "secret" not in result.output
