"""Search for the settings that serve a peer best. Not part of a whole run: ``--only tune-litserve`` and so on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tests.load.comparison.closed import CONCURRENCY, MIXED, SHORT
from tests.load.comparison.field import named, with_traffic
from tests.load.measure import BenchFailed
from tests.load.peers.roster import PEERS, STARTING_POINT
from tests.load.rounds import ratio_of
from tests.load.suites import SuiteResult, compare

if TYPE_CHECKING:
    from tests.load.peers.roster import Peer
    from tests.load.stage import Stage
    from tests.load.suites import Options, Say


def run_tuning(peer: Peer, stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare a peer's settings with the alternatives."""
    if not peer.is_installed:
        raise BenchFailed(f"{peer.title} isn't installed: python -m tests.load.peers.install {peer.name}")
    changes = {named(peer.title, write_settings(change)): change for change in ({}, *peer.alternatives)}
    contenders = []
    for name, change in changes.items():
        say(f"  starting {name}")
        contenders.append(replace(stage.start_peer(peer, **change), name=name))
    both = with_traffic(contenders, SHORT) + with_traffic(contenders, MIXED)
    rounds = compare(stage, both, CONCURRENCY, options, say)
    chosen, *others = changes
    notes = []
    for traffic in (SHORT, MIXED):
        for other in others:
            ratio = ratio_of(rounds, named(other, traffic), named(chosen, traffic))
            notes.append(
                f"{named(other, traffic)} ÷ as chosen: {ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"
            )
    return SuiteResult(
        name=f"tune-{peer.name}",
        title=f"{peer.title}'s settings",
        about=(
            f"Closed loop, {CONCURRENCY} callers. As chosen: {write_settings(peer.settings)}; and one or more of them "
            "changed."
        ),
        goals=[],
        rounds=rounds,
        notes=notes,
    )


def write_settings(change: dict[str, str]) -> str:
    """Write what differs from a peer's settings."""
    return " ".join(f"{name.lower()}={value}" for name, value in change.items()) or "as chosen"


PEER_TUNINGS = {f"tune-{peer.name}": partial(run_tuning, peer) for peer in (*PEERS, STARTING_POINT)}
"""Searches by their name on the command line."""
