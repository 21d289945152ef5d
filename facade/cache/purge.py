"""
Forget a model everywhere: in Redis at once, in each running façade within seconds.

The keys are found by their prefix, a batch at a time, so that Redis goes on serving meanwhile. Then a stamp is
left, which façades look for (`ItemCache.follow_purges`): it comes last, so that what they fetch from Redis after
they saw it can't be from before.
"""

import time

from redis.asyncio import Redis

from facade.cache.keys import model_prefix
from facade.cache.redis_nodes import connect, send_command
from facade.cache.redis_routes import list_primaries
from facade.cache.redis_tier import PURGES_KEY

STAMP_LIFE_S = 7 * 86_400
"""Seconds that stamps are kept after the last purge; longer than any answer lives."""

_BATCH = 1000
"""Keys that Redis looks at in one step; some ms of its time."""


async def purge_model(url: str, model: str, *, timeout_s: float = 5.0) -> int:
    """
    Delete all answers of *model*, whatever version.

    Args:
        url: As for `facade.cache.redis_tier.RedisTier`.

        model: Name as Triton knows it.

        timeout_s: Seconds that one step may take.

    Returns:
        The number of answers that Redis held.

    Raises:
        redis.exceptions.RedisError: If a Redis can't be reached or refuses; some answers may be gone already.
    """
    prefix = model_prefix(model)
    deleted = 0
    nodes = await list_primaries(url, PURGES_KEY, timeout_s=timeout_s)
    for address, _ in nodes:
        client = connect(address, timeout_s=timeout_s, pool_size=1, pool_timeout_s=timeout_s)
        async with client:
            deleted += await _purge_node(client, prefix)
    stamp_address = next(address for address, holds_stamps in nodes if holds_stamps)
    async with connect(stamp_address, timeout_s=timeout_s, pool_size=1, pool_timeout_s=timeout_s) as client:
        await send_command(client, "HSET", PURGES_KEY, prefix, int(time.time() * 1000))
        await send_command(client, "EXPIRE", PURGES_KEY, STAMP_LIFE_S)
    return deleted


async def _purge_node(client: Redis, prefix: bytes) -> int:
    """Delete what one server holds under *prefix*; a key that SCAN shows twice is counted once."""
    deleted = 0
    cursor = 0
    while True:
        # The prefix has no character that means something in a pattern; see `facade.cache.keys`.
        cursor, keys = await client.scan(cursor, match=prefix + b"*", count=_BATCH)
        if keys:
            async with client.pipeline(transaction=False) as pipe:
                for key in keys:
                    # One by one: a cluster's node refuses keys of several slots in one command.
                    pipe.unlink(key)
                deleted += sum(await pipe.execute())
        if cursor == 0:
            return deleted
