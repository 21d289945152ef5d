"""Who takes part in a comparison, started and found to answer alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.load.comparison import perf_analyzer
from tests.load.comparison.truth import check_truth
from tests.load.measure import BenchFailed
from tests.load.peers.roster import STARTING_POINT, find_installed
from tests.load.rounds import spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.load.measure import Contender
    from tests.load.rounds import Round, Spread
    from tests.load.stage import Stage
    from tests.load.suites import Say

OURS = "façade"
DIRECT, DIRECT_HTTP, DIRECT_TOOL = (
    "Triton directly, gRPC",
    "Triton directly, HTTP",
    "Triton directly, perf_analyzer",
)


@dataclass(frozen=True)
class Field:
    """Contenders for short texts, and what is known of them."""

    ours: Contender
    """The façade with default settings."""

    peers: list[Contender]
    """Servers of the same file."""

    batching: set[str]
    """Names of those peers that merge requests."""

    direct: list[Contender]
    """Triton without a façade."""

    start: list[Contender]
    """The starting point, if it was asked for."""

    notes: list[str]
    """A sentence for each that was left out."""

    def everyone(self) -> list[Contender]:
        """All of them, ours first."""
        return [self.ours, *self.peers, *self.start, *self.direct]


def gather(stage: Stage, say: Say, *, with_direct: bool = False, with_start: bool = False) -> Field:
    """
    Start everybody, and check that all answer alike.

    Args:
        stage: Where they run.

        say: Takes a line of progress.

        with_direct: Whether Triton is called without a façade too.

        with_start: Whether the starting point takes part.

    Returns:
        Who is there.

    Raises:
        BenchFailed: If one answers wrongly.
    """
    installed, notes = find_installed()
    for note in notes:
        say(f"  {note}")
    ours = stage.through(stage.start_facade(), OURS)
    peers = []
    for peer in installed:
        say(f"  starting {peer.title}")
        try:
            peers.append(stage.start_peer(peer))
        except BenchFailed as error:
            # One that can't be started spoils nobody else's run; one that answers wrongly does.
            say(f"  {error}")
            notes.append(f"{peer.title} was left out: it didn't start.")
    start = [stage.start_peer(STARTING_POINT)] if with_start else []
    direct = [stage.directly(DIRECT), stage.directly_http(DIRECT_HTTP)] if with_direct else []
    if with_direct and perf_analyzer.is_available():
        direct.append(replace(stage.directly(DIRECT_TOOL), protocol=perf_analyzer.NAME))
    elif with_direct:
        notes.append("perf_analyzer was left out: it isn't installed, or libb64-0d isn't.")
    batching = {peer.title for peer in installed if peer.batches}
    # Refusals are counted as the peers' are: only right answers make texts/s.
    ours = replace(ours, other_paths=["/v1/models", "/health/live", "/health/ready"], may_refuse=True)
    field = Field(ours, peers, batching, direct, start, notes)
    cosine = check_truth(field.everyone(), stage.tokenizer_file)
    notes.append(f"All answer alike: the smallest cosine to the façade's vectors is {cosine:.6f}.")
    return field


def with_traffic(contenders: Sequence[Contender], traffic: str) -> list[Contender]:
    """
    Let contenders take part with another kind of texts.

    Args:
        contenders: Who.

        traffic: Which.

    Returns:
        The same, under names that tell.
    """
    return [
        replace(contender, name=named(contender.name, traffic), traffic=traffic) for contender in contenders
    ]


def named(name: str, traffic: str) -> str:
    """Write a contender's name with its traffic."""
    return f"{name}, {traffic}"


def ratio_to_best(
    rounds: Sequence[Round],
    ours: str,
    others: Sequence[str],
    figure: str = "texts_per_s",
    *,
    is_least: bool = False,
) -> Spread:
    """
    Compare with the best of several, round by round: who is best may change from round to round.

    Args:
        rounds: What was measured.

        ours: The contender that is divided.

        others: Among whom the best is looked for in each round.

        figure: What is compared.

        is_least: Whether the best has the smallest figure.

    Returns:
        Median and bounds of the rounds' ratios.
    """
    best = min if is_least else max
    return spread_of([one[ours][figure] / best(one[name][figure] for name in others) for one in rounds])
