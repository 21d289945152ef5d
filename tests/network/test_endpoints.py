"""
Three real Tritons, one of which fails in one way after another, under load: nobody goes without an answer.

The short form, which CI runs; `long_faults.py` has what takes minutes (``make test-network``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.freezing import freeze, thaw
from tests.network.load import Load, until_up

if TYPE_CHECKING:
    from tests.network.fleet import Fleet
    from tests.stack import Facade

pytestmark = [pytest.mark.e2e, pytest.mark.anyio]

BACK_S = 5.0
"""Seconds after a fault's end in which the endpoint has to have calls again."""


async def test_a_kill_fails_nobody(fleet: Fleet, facade: Facade) -> None:
    """Killed with -9 in mid-load: its calls are made elsewhere, and it is back soon after it was started again."""
    async with Load(facade) as load:
        fleet.members[0].kill()
        await until_up(facade, 2)
        await load.until_answered(30)
        await fleet.restart(fleet.members[0])
        back_s = await until_up(facade, 3)
        await load.until_answered(10)

    load.check_all_answered()
    assert back_s < BACK_S


async def test_a_frozen_server_fails_nobody(fleet: Fleet, facade: Facade) -> None:
    """Stopped by a signal it accepts calls and never answers; callers have their answers within their deadline."""
    pid = fleet.members[1].pid
    assert pid is not None
    async with Load(facade) as load:
        freeze(pid)
        try:
            await until_up(facade, 2)
            await load.until_answered(30)
        finally:
            thaw(pid)
        back_s = await until_up(facade, 3)
        await load.until_answered(10)

    load.check_all_answered()
    assert back_s < BACK_S


async def test_a_network_that_is_cut_fails_nobody(networks: Fleet, facade: Facade) -> None:
    """Every packet is dropped without a word, and later none."""
    async with Load(facade) as load:
        networks.members[2].network.cut()
        await until_up(facade, 2)
        await load.until_answered(30)
        networks.members[2].network.heal()
        back_s = await until_up(facade, 3)
        await load.until_answered(10)

    load.check_all_answered()
    assert back_s < BACK_S
