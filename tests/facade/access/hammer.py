"""A worker process that asks for quota as fast as it can; started by tests, several at once."""

import asyncio
import sys
import time

from facade.access.keys import Key, Tier, to_digest
from facade.access.redis_quotas import RedisQuotas
from facade.errors import RateLimited

KEY = Key("hammered", to_digest("hammered"), "t")


async def hammer(url: str, limit: int, seconds: float) -> tuple[int, int]:
    """Ask with eight tasks for some seconds; return how many were let in, and how many asked."""
    quotas = RedisQuotas(url, timeout_s=5.0)
    tier = Tier("t", requests_per_minute=limit, tokens_per_minute=10**9, max_in_flight=1000)
    ends_at = time.monotonic() + seconds
    admitted = asked = 0

    async def ask() -> None:
        nonlocal admitted, asked
        while time.monotonic() < ends_at:
            asked += 1
            try:
                lease = await quotas.admit(KEY, tier)
            except RateLimited:
                continue
            admitted += 1
            await lease.release(tokens=1)

    await asyncio.gather(*(ask() for _ in range(8)))
    await quotas.aclose()
    return admitted, asked


async def hold(url: str, lease_ttl_s: float, places: int) -> None:
    """Take as many of *places* as there are, say how many, and hold them until killed."""
    quotas = RedisQuotas(url, timeout_s=5.0, lease_ttl_s=lease_ttl_s)
    held = []
    for _ in range(places):
        try:
            held.append(await quotas.admit(KEY, Tier("t", max_in_flight=places)))
        except RateLimited:
            break
    print(len(held), flush=True)  # noqa: T201 - the test reads it
    await asyncio.Event().wait()


if __name__ == "__main__":
    mode, redis_url, first, second = sys.argv[1:]
    if mode == "hammer":
        print(*asyncio.run(hammer(redis_url, int(first), float(second))), flush=True)  # noqa: T201
    else:
        asyncio.run(hold(redis_url, float(first), int(second)))
