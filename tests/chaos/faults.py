"""What goes wrong, in one table: how it begins, how it ends, how long it lasts."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.parts import kill
from tests.freezing import freeze

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.chaos.stack import Stack

    Act = Callable[[Stack], Awaitable[None]]

FREEZE_S = 10.0
NETWORK_S = 10.0
SLOW_S = 0.2
LOSS = 0.05
JUMP_S = 3600


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    title: str
    """What, for the report."""

    begin: Act
    end: Act
    seconds: float
    """How long it lasts; what is killed is over at once, and comes back by itself."""


async def nothing(_stack: Stack) -> None:
    """There is nothing to be done."""


def _kill(find: Callable[[Stack], int]) -> Act:
    async def act(stack: Stack) -> None:
        kill(find(stack))

    return act


def _freeze(find: Callable[[Stack], int]) -> Act:
    async def act(stack: Stack) -> None:
        pid = find(stack)
        stack.frozen.append(pid)
        freeze(pid)

    return act


async def _thaw(stack: Stack) -> None:
    stack.thaw_all()


def _triton(stack: Stack) -> int:
    pid = stack.tritons[0].server.pid
    assert pid is not None
    return pid


def _door(stack: Stack) -> int:
    return stack.tritons[0].stub_of("tiny")


def _core(stack: Stack) -> int:
    return stack.tritons[0].stub_of("tiny_core")


def _worker(stack: Stack) -> int:
    return stack.facades[0].worker()


def _redis(stack: Stack) -> int:
    return stack.redis.pid


async def _kill_redis(stack: Stack) -> None:
    stack.redis.kill()


async def _start_redis(stack: Stack) -> None:
    await asyncio.to_thread(stack.redis.start)


async def _slow_down(stack: Stack) -> None:
    for distance in stack.distances:
        distance.delay_s = SLOW_S / 2  # each way


async def _speed_up(stack: Stack) -> None:
    for distance in stack.distances:
        distance.delay_s = 0.0


async def _lose_packets(stack: Stack) -> None:
    for network in stack.networks:
        network.lose(LOSS)


async def _cut_off(stack: Stack) -> None:
    stack.networks[0].cut()


async def _heal(stack: Stack) -> None:
    for network in stack.networks:
        network.heal()


async def _fill_disk(stack: Stack) -> None:
    with (stack.disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


async def _empty_disk(stack: Stack) -> None:
    (stack.disk / "filler").unlink()


async def _fill_redis(stack: Stack) -> None:
    with stack.ask_redis() as client:
        # Nothing is evicted, and there is no room: every write is refused.
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")


async def _widen_redis(stack: Stack) -> None:
    with stack.ask_redis() as client:
        client.config_set("maxmemory", "32mb")


async def _forget_everything(stack: Stack) -> None:
    with stack.ask_redis() as client:
        client.flushall()


async def _break_keys(stack: Stack) -> None:
    stack.keys_file.write_text("keys: [{name: chaos, sha256: ")


async def _mend_keys(stack: Stack) -> None:
    stack.write_keys()


async def _try_broken_canary(stack: Stack) -> None:
    await stack.release("canary", "tiny", "2", "--percent", "100")


async def _roll_back(stack: Stack) -> None:
    await stack.release("rollback", "tiny")


async def _jump_clock(stack: Stack) -> None:
    stack.set_clock(JUMP_S)


async def _reset_clock(stack: Stack) -> None:
    stack.set_clock(0)


FAULTS = {
    "kill-triton": Fault("kill -9: a Triton", _kill(_triton), nothing, 0),
    "kill-door": Fault("kill -9: a door's stub", _kill(_door), nothing, 0),
    "kill-core": Fault("kill -9: a core's stub", _kill(_core), nothing, 0),
    "kill-worker": Fault("kill -9: a façade's worker", _kill(_worker), nothing, 0),
    "kill-redis": Fault("kill -9: Redis, away for 5 s", _kill_redis, _start_redis, 5),
    "freeze-triton": Fault("frozen for 10 s: a Triton", _freeze(_triton), _thaw, FREEZE_S),
    "freeze-door": Fault("frozen for 10 s: a door's stub", _freeze(_door), _thaw, FREEZE_S),
    "freeze-core": Fault("frozen for 10 s: a core's stub", _freeze(_core), _thaw, FREEZE_S),
    "freeze-worker": Fault("frozen for 10 s: a façade's worker", _freeze(_worker), _thaw, FREEZE_S),
    "freeze-redis": Fault("frozen for 10 s: Redis", _freeze(_redis), _thaw, FREEZE_S),
    "slow-network": Fault("200 ms more to Tritons and Redis", _slow_down, _speed_up, NETWORK_S),
    "lossy-network": Fault("5 % of the packets to Tritons lost", _lose_packets, _heal, NETWORK_S),
    "cut-triton": Fault("a Triton cut off", _cut_off, _heal, NETWORK_S),
    "full-disk": Fault("the disk of all logs full", _fill_disk, _empty_disk, NETWORK_S),
    "full-redis": Fault("Redis full", _fill_redis, _widen_redis, NETWORK_S),
    "expired-keys": Fault("everything in Redis gone", _forget_everything, nothing, 0),
    "broken-keys-file": Fault("a broken keys file", _break_keys, _mend_keys, NETWORK_S),
    "broken-canary": Fault("every caller on a canary that fails", _try_broken_canary, _roll_back, 10),
    "clock-jump": Fault("one façade's clock an hour ahead", _jump_clock, _reset_clock, NETWORK_S),
}
"""By their name on the command line, in the order in which they are tried."""
