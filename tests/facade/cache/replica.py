"""A process that asks for many new keys at once; started by tests, several at a time."""

from __future__ import annotations

import asyncio
import sys

from facade.cache.items import ItemCache
from facade.cache.keys import ItemKeys
from facade.cache.memory import MemoryTier
from facade.cache.redis_tier import RedisTier
from tests.facade.cache.recorder import PATIENT


async def ask(url: str, count: int) -> tuple[int, bool]:
    """Ask for *count* keys, ten a request, once a line comes in; return executions, and whether all was right."""
    tier = RedisTier(url, limits=PATIENT)
    cache = ItemCache(MemoryTier(10**6), tier, lease_s=20)
    keys = ItemKeys(scope="shared", model="m", version=1, task="embedding", parameters={})
    items = [b"text %d" % number for number in range(count)]
    executions = 0

    async def request(texts: list[bytes]) -> bool:
        async def compute(indexes: list[int]) -> list[bytes]:
            nonlocal executions
            executions += len(indexes)
            await asyncio.sleep(0.2)  # a model at work
            return [texts[index].upper() for index in indexes]

        answer = await cache.get_or_compute([keys.key(text) for text in texts], compute, ttl_s=60)
        return answer.values == [text.upper() for text in texts]

    await tier.get_many([b"warm"])
    print("ready", flush=True)  # noqa: T201  # the test reads it
    await asyncio.to_thread(sys.stdin.readline)
    right = await asyncio.gather(*(request(items[start : start + 10]) for start in range(0, count, 10)))
    await cache.aclose()
    return executions, all(right)


if __name__ == "__main__":
    executed, is_right = asyncio.run(ask(sys.argv[1], int(sys.argv[2])))
    print(executed, "right" if is_right else "wrong", flush=True)  # noqa: T201  # the test reads it
