"""
Three real Tritons through faults that last, ``make test-network``; `test_endpoints.py` is the short form.

Each test prints what callers saw.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.freezing import freeze, thaw
from tests.network.load import Load, until_up
from tests.network.proxy import Proxy
from tests.stack import start_facade

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.fleet import Fleet
    from tests.stack import Facade

pytestmark = [pytest.mark.e2e, pytest.mark.anyio]

FAULT_CALLS = 300
"""Calls under each fault: 10 s of them."""


def report(capsys: pytest.CaptureFixture[str], fault: str, load: Load, back_s: float | None = None) -> None:
    """Print what callers saw."""
    took = sorted(one.took_s for one in load.outcomes)
    good = sum(one.status == 200 and one.is_right for one in load.outcomes)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    back = "" if back_s is None else f", calls again {back_s:.1f} s after its end"
    with capsys.disabled():
        text = f"{good} of {len(took)} answered, p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms, max {took[-1]:.2f} s"
        sys.stderr.write(f"\n{fault}: {text}{back}\n")


async def test_a_rolling_release_moves_callers_once(
    fleet: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """While endpoints differ, callers get the old version until half of them have the new one; no call fails."""
    versions: list[set[str]] = []
    async with Load(facade) as load:
        for member, expected in zip(fleet.members, ("1", "2", "2"), strict=True):
            await asyncio.to_thread(member.release, 2)
            # The catalogue looks once a second.
            await load.until_answered(60)
            await load.until_version(expected)
            versions.append({one.version for one in load.outcomes[-10:]})

    report(capsys, "rolling release", load)
    load.check_all_answered()
    assert versions == [{"1"}, {"2"}, {"2"}]


async def test_a_model_process_that_is_killed_fails_nobody(
    fleet: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """Triton goes on saying that the model is ready, and answers every call with an error; others answer instead."""
    member = fleet.members[0]
    async with Load(facade) as load:
        for pid in member.stubs():
            os.kill(pid, signal.SIGKILL)
        await load.until_answered(FAULT_CALLS)
        await fleet.restart(member)
        await load.until_answered(100)

    report(capsys, "model process killed", load)
    load.check_all_answered()


async def test_a_long_freeze_fails_nobody(
    fleet: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped by a signal for 10 s."""
    pid = fleet.members[1].pid
    assert pid is not None
    async with Load(facade) as load:
        freeze(pid)
        try:
            await load.until_answered(FAULT_CALLS)
        finally:
            thaw(pid)
        back_s = await until_up(facade, 3)
        await load.until_answered(30)

    report(capsys, "frozen", load, back_s)
    load.check_all_answered()
    assert back_s < 5


async def test_a_long_cut_fails_nobody(
    networks: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long enough for the kernel's retransmissions to be far apart."""
    async with Load(facade) as load:
        networks.members[2].network.cut()
        await load.until_answered(2 * FAULT_CALLS)
        networks.members[2].network.heal()
        back_s = await until_up(facade, 3)
        await load.until_answered(30)

    report(capsys, "cut off", load, back_s)
    load.check_all_answered()
    assert back_s < 5


async def test_resets_fail_nobody(
    networks: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each packet is answered by a reset."""
    async with Load(facade) as load:
        networks.members[0].network.reset(8001)
        await load.until_answered(FAULT_CALLS)
        networks.members[0].network.heal()
        back_s = await until_up(facade, 3)
        await load.until_answered(30)

    report(capsys, "connections reset", load, back_s)
    load.check_all_answered()
    assert back_s < 5


@pytest.mark.parametrize("share", [0.05, 0.2])
async def test_lost_packets_fail_nobody(
    networks: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    """On the way to one of three, both ways; what is lost is sent again by the kernel or asked elsewhere."""
    async with Load(facade) as load:
        networks.members[1].network.lose(share)
        await load.until_answered(FAULT_CALLS)
        networks.members[1].network.heal()
        back_s = await until_up(facade, 3)
        await load.until_answered(30)

    report(capsys, f"{share:.0%} of the packets lost", load, back_s)
    load.check_all_answered()


async def test_a_slow_line_fails_nobody(
    networks: Fleet, facade: Facade, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of three answers over 16 kbit/s: a second for two answers."""
    async with Load(facade) as load:
        networks.members[0].network.throttle(16_000)
        await load.until_answered(FAULT_CALLS)
        networks.members[0].network.heal()
        await until_up(facade, 3)
        await load.until_answered(30)

    report(capsys, "16 kbit/s", load)
    load.check_all_answered()


# asyncio's streams complain from their destructors about connections that the façade opened while it was starting.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("has_hedges", [False, True])
async def test_a_distant_server_fails_nobody(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], *, has_hedges: bool
) -> None:
    """One of three is 200 ms away, with and without hedges."""
    async with Proxy(fleet.members[0].grpc_url, delay_s=0.1) as proxy:
        url = ",".join([proxy.url, *(member.grpc_url for member in fleet.members[1:])])
        with start_facade(url, FACADE_CACHE="false", FACADE_HEDGE=str(has_hedges)) as facade:
            async with Load(facade) as load:
                await load.until_answered(FAULT_CALLS)

    report(capsys, f"200 ms away, {'with' if has_hedges else 'without'} hedges", load)
    load.check_all_answered()


async def test_a_name_is_followed(
    networks: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Addresses come and go behind one name, and no call is lost."""
    unshare = shutil.which("unshare")
    assert unshare is not None
    hosts = tmp_path / "hosts"
    addresses = [member.host for member in networks.members]

    def name(count: int) -> None:
        # In place: the façade sees this very file in the place of its /etc/hosts.
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{a} triton.test\n" for a in addresses[:count]))

    name(1)
    script = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    prefix = [unshare, "--mount", "sh", "-c", script, "sh"]
    with start_facade("dns:///triton.test:8001", prefix=prefix, FACADE_CACHE="false") as facade:
        async with Load(facade) as load:
            started = time.monotonic()
            for count in (3, 2, 1, 3):
                name(count)
                await until_up(facade, count)
            await load.until_answered(60)
        report(capsys, f"a name that changed four times in {time.monotonic() - started:.0f} s", load)
    load.check_all_answered()
