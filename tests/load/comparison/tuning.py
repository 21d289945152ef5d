"""Search for the settings that serve each peer best. Not part of a whole run: ``--only tune-peers``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.load.comparison.closed import CONCURRENCY, MIXED, SHORT
from tests.load.comparison.field import named, with_traffic
from tests.load.peers.roster import PEERS, STARTING_POINT
from tests.load.rounds import ratio_of
from tests.load.suites import SuiteResult, compare

if TYPE_CHECKING:
    from tests.load.rounds import Round
    from tests.load.stage import Stage
    from tests.load.suites import Options, Say


def run_tune_peers(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare each installed peer's settings with the alternatives, one peer after the other."""
    rounds: list[Round] = [{} for _ in range(options.rounds)]
    notes = []
    for peer in (*PEERS, STARTING_POINT):
        if not peer.is_installed:
            notes.append(f"{peer.title} was left out: it isn't installed.")
            continue
        names = {named(peer.title, write_settings(change)): change for change in ({}, *peer.alternatives)}
        contenders = []
        with stage.scene() as scene:
            for name, change in names.items():
                say(f"  starting {name}")
                contenders.append(replace(scene.start_peer(peer, **change), name=name))
            both = with_traffic(contenders, SHORT) + with_traffic(contenders, MIXED)
            found = compare(stage, both, CONCURRENCY, options, say)
        for one, more in zip(rounds, found, strict=True):
            one.update(more)
        chosen, *others = names
        for traffic in (SHORT, MIXED):
            for other in others:
                ratio = ratio_of(rounds, named(other, traffic), named(chosen, traffic))
                notes.append(
                    f"{named(other, traffic)} ÷ as chosen: {ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"
                )
    return SuiteResult(
        name="tune-peers",
        title="The peers' settings",
        about=f"Closed loop, {CONCURRENCY} callers; each peer with its settings, and with one or more changed.",
        goals=[],
        rounds=rounds,
        notes=notes,
    )


def write_settings(change: dict[str, str]) -> str:
    """Write what differs from a peer's settings."""
    return " ".join(f"{name.lower()}={value}" for name, value in change.items()) or "as chosen"


PEER_TUNINGS = {"tune-peers": run_tune_peers}
"""Searches by their name on the command line."""
