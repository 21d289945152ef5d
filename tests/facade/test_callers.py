"""Keys, networks, quotas and cache through real HTTP, with a real Redis where one is configured."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from facade.access.host_table import create_table
from facade.app import build_app
from facade.settings import Settings
from tests.facade.conftest import until_ready
from tests.facade.redis_server import RedisServer
from tests.facade.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

RIGHT = {"alice": "secret-of-alice", "bob": "secret-of-bob", "ops": "secret-of-ops", "away": "secret-of-away"}


def digest(name: str) -> str:
    """SHA-256 of a caller's secret."""
    return hashlib.sha256(RIGHT[name].encode()).hexdigest()


def keys_text(limit: int = 3) -> str:
    """A keys file with one caller of each kind."""
    return f"""
tiers:
  small: {{requests_per_minute: {limit}, tokens_per_minute: 1000, priority: 2}}
  free: {{}}
keys:
  - {{name: alice, sha256: "{digest("alice")}", tier: small, models: ["mini*"]}}
  - {{name: bob, sha256: "{digest("bob")}", tier: free, models: ["other"]}}
  - {{name: ops, sha256: "{digest("ops")}", tier: free, scopes: [metrics]}}
  - {{name: away, sha256: "{digest("away")}", tier: free, networks: ["10.0.0.0/8"]}}
"""


@pytest.fixture(name="keys_file")
def _keys_file(tmp_path: Path) -> Path:
    """The file."""
    path = tmp_path / "keys.yaml"
    path.write_text(keys_text())
    return path


@pytest.fixture(name="redis", scope="module")
def _redis() -> Iterator[RedisServer]:
    """A real Redis."""
    with RedisServer() as redis:
        yield redis


@asynccontextmanager
async def facade(triton: WireTriton, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A façade with settings of its own, and a client of it."""
    chosen = Settings(triton_url=triton.url, catalogue_interval_s=0.05, **settings)
    async with (
        serving(build_app(chosen)) as base_url,
        httpx.AsyncClient(base_url=base_url) as client,
    ):
        await until_ready(client)
        yield client


async def embed(
    client: httpx.AsyncClient, caller: str, text: str | list[str] = "a", **headers: str
) -> httpx.Response:
    """Ask for an embedding as one of the callers."""
    return await client.post(
        "/v1/embeddings",
        json={"model": "minilm", "input": text},
        headers={"X-API-Key": RIGHT.get(caller, caller), **headers},
    )


# Identity...


async def test_a_key_opens_its_own_models_only(triton: WireTriton, keys_file: Path) -> None:
    """403 for another model, and the list shows only what may be used."""
    async with facade(triton, keys_file=keys_file) as client:
        assert (await embed(client, "alice")).status_code == 200
        refused = await embed(client, "bob")
        listed = await client.get("/v1/models", headers={"X-API-Key": RIGHT["bob"]})

    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "model_not_allowed"
    assert listed.json()["data"] == []


async def test_a_scope_opens_its_own_paths_only(triton: WireTriton, keys_file: Path) -> None:
    """Who may read metrics may not infer, and the other way round."""
    async with facade(triton, keys_file=keys_file) as client:
        metrics = await client.get("/metrics", headers={"X-API-Key": RIGHT["ops"]})
        inference = await embed(client, "ops")
        metrics_of_alice = await client.get("/metrics", headers={"X-API-Key": RIGHT["alice"]})

    assert metrics.status_code == 200
    assert inference.status_code == metrics_of_alice.status_code == 403


async def test_networks_come_before_keys(triton: WireTriton, keys_file: Path) -> None:
    """An unknown network is 403 with any key and with none; probes are answered all the same."""
    async with facade(triton, keys_file=keys_file, allow_networks=("10.0.0.0/8",)) as client:
        assert (await embed(client, "alice")).status_code == 403
        assert (await client.post("/predict")).status_code == 403
        assert (await client.get("/health/live")).status_code == 200


async def test_forwarded_addresses_are_believed_from_proxies_only(
    triton: WireTriton, keys_file: Path
) -> None:
    """The key that is bound to a network opens behind the trusted proxy, and never by a header alone."""
    async with facade(triton, keys_file=keys_file) as client:
        forged = await embed(client, "away", **{"X-Forwarded-For": "10.1.2.3"})
    async with facade(triton, keys_file=keys_file, trusted_proxies=("127.0.0.0/8",)) as client:
        believed = await embed(client, "away", **{"X-Forwarded-For": "10.1.2.3"})
        elsewhere = await embed(client, "away", **{"X-Forwarded-For": "10.1.2.3, 192.0.2.1"})

    assert (forged.status_code, believed.status_code, elsewhere.status_code) == (403, 200, 403)


async def test_guessing_is_slowed(triton: WireTriton, keys_file: Path) -> None:
    """After too many 401s an address gets 429, with the wait."""
    async with facade(triton, keys_file=keys_file, failures_per_minute=5) as client:
        seen = [(await embed(client, f"guess-{i}")).status_code for i in range(5)]
        refused = await embed(client, "guess-6")

    assert seen == [401] * 5
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_an_edit_holds_at_once_and_a_broken_one_never(triton: WireTriton, keys_file: Path) -> None:
    """The file is followed; a broken edit keeps the last good keys and shows in a metric."""
    async with facade(triton, keys_file=keys_file) as client:
        keys_file.write_text("keys: [{name: broken")
        await until_metric(client, "facade_keys_file_current 0.0")
        assert (await embed(client, "alice")).status_code == 200

        keys_file.write_text(keys_text().replace(digest("bob"), "0" * 64))
        await until_metric(client, "facade_keys_file_current 1.0")
        assert (await embed(client, "bob")).status_code == 401


# Quotas...


async def test_a_quota_is_counted_down_in_openais_headers(triton: WireTriton, keys_file: Path) -> None:
    """Every answer says what is left; the next is 429 with the wait."""
    async with facade(triton, keys_file=keys_file) as client:
        answers = [await embed(client, "alice", f"text {i}") for i in range(4)]
        metrics = await client.get("/metrics", headers={"X-API-Key": RIGHT["ops"]})

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert re.fullmatch(r"(\d+m)?\d+(\.\d+)?(ms|s)", answers[0].headers["x-ratelimit-reset-requests"])
    # Four tokens a text, charged when the answer is known.
    assert answers[2].headers["x-ratelimit-remaining-tokens"] == "992"
    refused = answers[-1]
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["retry-after-ms"]) >= 1000 * (int(refused.headers["retry-after"]) - 1)
    assert 'facade_quota_refusals_total{tier="small"} 1.0' in metrics.text


async def test_limits_change_with_the_file(triton: WireTriton, keys_file: Path) -> None:
    """No restart; what was used stays used."""
    async with facade(triton, keys_file=keys_file) as client:
        assert [(await embed(client, "alice")).status_code for _ in range(4)][-1] == 429
        keys_file.write_text(keys_text(limit=5))
        async with asyncio.timeout(10):
            while (await embed(client, "alice")).status_code == 429:
                await asyncio.sleep(0.05)


async def test_workers_share_a_quota_through_their_hosts_table(
    triton: WireTriton, keys_file: Path, tmp_path: Path
) -> None:
    """Two workers of one façade count as one."""
    table = tmp_path / "quotas.table"
    create_table(table, 2)
    async with (
        facade(triton, keys_file=keys_file, host_quotas_file=table, workers=2, worker_index=0) as one,
        facade(triton, keys_file=keys_file, host_quotas_file=table, workers=2, worker_index=1) as two,
    ):
        seen = [(await embed(client, "alice")).status_code for client in (one, two, one, two)]

    assert seen == [200, 200, 200, 429]


async def test_workers_without_a_table_grant_their_share(
    triton: WireTriton, keys_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A table of garbage costs a line in the log and the exactness, not the service."""
    table = tmp_path / "quotas.table"
    table.write_bytes(b"garbage")
    keys_file.write_text(keys_text(limit=4))
    async with facade(triton, keys_file=keys_file, host_quotas_file=table, workers=2) as client:
        seen = [(await embed(client, "alice")).status_code for _ in range(3)]

    assert seen == [200, 200, 429]
    assert "each worker counts alone, at its share of every limit" in caplog.text


async def test_replicas_share_a_quota_through_redis(
    triton: WireTriton, keys_file: Path, redis: RedisServer
) -> None:
    """Two façades count as one."""
    url = SecretStr(redis.url)
    async with (
        facade(triton, keys_file=keys_file, redis_url=url, cache=False) as one,
        facade(triton, keys_file=keys_file, redis_url=url, cache=False) as two,
    ):
        seen = [(await embed(client, "alice")).status_code for client in (one, two, one, two)]

    assert seen == [200, 200, 200, 429]


# The cache...


async def test_an_answer_is_kept(triton: WireTriton, keys_file: Path) -> None:
    """The second time it comes from memory, with its age, and Triton isn't asked."""
    async with facade(triton, keys_file=keys_file) as client:
        first, second = await embed(client, "alice"), await embed(client, "alice")
        partial = await embed(client, "alice", ["b", "a", "b"])

    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit-memory")
    assert "age" not in first.headers
    assert second.headers["age"] == "0"
    assert first.content == second.content
    assert partial.headers["x-cache"] == "partial"
    vectors = [entry["embedding"] for entry in partial.json()["data"]]
    assert vectors[0] == vectors[2] != vectors[1] == first.json()["data"][0]["embedding"]
    assert [len(batch) for batch in triton.batches] == [1, 1]


async def test_a_key_chooses_whom_its_answers_are_kept_for(triton: WireTriton, keys_file: Path) -> None:
    """Two private keys don't see each other's answers, two shared ones do, and neither kind sees the other's."""
    scopes = {"alice": "private", "bob": "private", "ops": "shared", "away": "shared"}
    entries = [
        f'  - {{name: {name}, sha256: "{digest(name)}", tier: free, cache: {scope}}}'
        for name, scope in scopes.items()
    ]
    keys_file.write_text("\n".join(["tiers: {free: {}}", "keys:", *entries]))
    async with facade(triton, keys_file=keys_file) as client:
        seen = [(await embed(client, name)).headers["x-cache"] for name in [*scopes, *scopes]]

    assert seen == ["miss", "miss", "miss", "hit-memory", *["hit-memory"] * 4]
    assert len(triton.batches) == 3


async def test_the_caller_decides_about_the_cache(triton: WireTriton, keys_file: Path) -> None:
    """no-store, only-if-cached and max-age mean what RFC 9111 says."""
    keys_file.write_text(keys_text(limit=100))
    async with facade(triton, keys_file=keys_file) as client:
        missing = await embed(client, "alice", **{"Cache-Control": "only-if-cached"})
        stored = await embed(client, "alice", **{"Cache-Control": "no-store"})
        still_missing = await embed(client, "alice", **{"Cache-Control": "only-if-cached"})
        await embed(client, "alice")
        found = await embed(client, "alice", **{"Cache-Control": "only-if-cached, max-age=60"})
        afresh = await embed(client, "alice", **{"Cache-Control": "no-cache"})
        wrong = await embed(client, "alice", **{"Cache-Control": "max-age=soon"})

    assert [missing.status_code, stored.status_code, still_missing.status_code] == [504, 200, 504]
    assert (stored.headers["x-cache"], afresh.headers["x-cache"]) == ("bypass", "bypass")
    assert (found.status_code, found.headers["x-cache"]) == (200, "hit-memory")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "Cache-Control"


async def test_a_new_version_has_answers_of_its_own(triton: WireTriton, keys_file: Path) -> None:
    """Nothing of the old version is served for the new one."""
    async with facade(triton, keys_file=keys_file) as client:
        await embed(client, "alice")
        triton.models["minilm"]["versions"] = [1, 2]
        triton.models["minilm"]["card"]["release"] = {"stable": 2}
        async with asyncio.timeout(10):
            while (await client.get("/v1/models/minilm", headers={"X-API-Key": RIGHT["alice"]})).json()[
                "version"
            ] == 1:
                await asyncio.sleep(0.02)
        answer = await embed(client, "alice")

    assert (answer.headers["x-cache"], answer.headers["x-model-version"]) == ("miss", "2")


async def test_replicas_share_answers_through_redis_and_survive_its_loss(
    triton: WireTriton, keys_file: Path
) -> None:
    """What one computed, the other has; with Redis gone both answer all the same."""
    keys_file.write_text(keys_text(limit=1000))
    with RedisServer() as redis:
        url = SecretStr(redis.url)
        async with (
            facade(triton, keys_file=keys_file, redis_url=url) as one,
            facade(triton, keys_file=keys_file, redis_url=url) as two,
        ):
            await embed(one, "alice")
            async with asyncio.timeout(10):
                # The write to Redis is not waited for.
                wish = {"Cache-Control": "only-if-cached"}
                while (answer := await embed(two, "alice", **wish)).status_code == 504:
                    await asyncio.sleep(0.01)
            assert answer.headers["x-cache"] == "hit-redis"
            redis.kill()
            for number in range(10):
                assert (await embed(one, "alice", f"new {number}")).status_code == 200


async def until_metric(client: httpx.AsyncClient, line: str) -> None:
    """Wait until the metrics have a line."""
    async with asyncio.timeout(10):
        while line not in (await client.get("/metrics", headers={"X-API-Key": RIGHT["ops"]})).text:
            await asyncio.sleep(0.05)


async def test_every_stage_is_measured(triton: WireTriton, keys_file: Path) -> None:
    """One histogram has all six."""
    async with facade(triton, keys_file=keys_file) as client:
        await embed(client, "alice")
        metrics = (await client.get("/metrics", headers={"X-API-Key": RIGHT["ops"]})).text

    for stage in ("authenticate", "quota", "cache", "queue", "triton", "serialise"):
        found = re.search(rf'facade_stage_seconds_count{{stage="{stage}"}} (\S+)', metrics)
        assert found is not None, stage
        assert float(found[1]) >= 1
