"""A worker process that counts in a host's table; started by tests, several at once."""

import asyncio
import signal
import sys
import time
from pathlib import Path

from facade.access.host_quotas import HostQuotas
from facade.access.keys import Key, Tier, to_digest
from facade.errors import RateLimited

KEY = Key("hammered", to_digest("hammered"), "t")


async def hammer(quotas: HostQuotas, limit: int, seconds: float) -> tuple[int, int]:
    """Ask for some seconds, with some places held meanwhile; return how many were let in, and how many asked."""
    tier = Tier("t", requests_per_minute=limit, tokens_per_minute=10**9, max_in_flight=1000)
    ends_at = time.monotonic() + seconds
    admitted = asked = 0
    held = []
    while time.monotonic() < ends_at:
        asked += 1
        try:
            held.append(await quotas.admit(KEY, tier))
        except RateLimited:
            continue
        admitted += 1
        if len(held) > 5:
            await held.pop(0).release(tokens=3)
    for lease in held:
        await lease.release(tokens=3)
    return admitted, asked


async def hold(quotas: HostQuotas, places: int) -> None:
    """Take as many of *places* as there are, say how many, and hold them until killed."""
    held = []
    for _ in range(places):
        try:
            held.append(await quotas.admit(KEY, Tier("t", max_in_flight=places)))
        except RateLimited:
            break
    print(len(held), flush=True)  # noqa: T201 - the test reads it
    await asyncio.Event().wait()


def lock(quotas: HostQuotas) -> None:
    """Take the lock of the key's bucket, say so, and keep it until killed."""
    spot = quotas._remember(KEY.name)
    print(int(quotas._table.lock(spot.bucket)), flush=True)  # noqa: T201
    signal.pause()


if __name__ == "__main__":
    mode, path, worker, first, second = sys.argv[1:]
    # One window for ever: a test that ran into the next would see what slides out.
    own = HostQuotas(Path(path), int(worker), window_s=1e9)
    if mode == "hammer":
        # The parent says go, so that all ask at the same time.
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        print(*asyncio.run(hammer(own, int(first), float(second))), flush=True)  # noqa: T201
    elif mode == "hold":
        asyncio.run(hold(own, int(first)))
    else:
        lock(own)
