"""
Search the settings of a served model: successive halving over sampled candidates, then a fair fight; pure.

Strategy: many candidates are measured briefly, the better third of them longer, and so on; between the rungs the
neighbours of the best join, so that the search isn't tied to its first sample. The winner is then measured against
the present settings in turn, round by round, and replaces them only if it won every round and by enough: a measurement
on a shared machine is noisy, and a good setting must never be made worse by luck.

Source:
    Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS
    (successive halving).
"""

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Candidate = Mapping[str, int]
"""One value for each setting."""

KEPT_SHARE = 1 / 3
"""Part of a rung's candidates that goes on to the next, where each is measured three times as long."""

FIGHT_ROUNDS = 5
"""Rounds of the last comparison. Two equal settings let the same one win all five with a chance of 1/32."""

LEAST_GAIN = 1.05
"""A winner's median ratio has to be at least this; below, what changes isn't worth a new version."""


@dataclass(frozen=True)
class Measurement:
    """How one candidate did."""

    items_per_s: float
    """The most items a second whose p99 kept to the target; if none did, those of the lowest p99."""

    p99_ms: float
    """99th percentile of the latency at that throughput, in milliseconds."""


@dataclass(frozen=True)
class Measured:
    """One candidate at one rung."""

    candidate: dict[str, int]
    """Its settings."""

    rung: int
    """How far it had come, from 0 on."""

    measurement: Measurement
    """How it did."""


@dataclass(frozen=True)
class Fight:
    """The winner against the present settings, in turn."""

    ratios: tuple[float, ...]
    """The winner's items a second over the present's, one a round."""

    challenger: tuple[Measurement, ...]
    """The winner's rounds."""

    champion: tuple[Measurement, ...]
    """The present settings' rounds."""

    @property
    def is_won(self) -> bool:
        """Whether the winner is clearly better: in every round, and by enough in the middle one."""
        return min(self.ratios) > 1 and statistics.median(self.ratios) >= LEAST_GAIN


@dataclass(frozen=True)
class Space:
    """What may be chosen."""

    choices: Mapping[str, tuple[int, ...]]
    """The values of each setting, ascending."""

    is_possible: Callable[[Candidate], bool] = lambda _: True
    """Whether a combination makes sense on this machine."""

    def sample(self, chooser: random.Random) -> dict[str, int] | None:
        """
        Draw a combination at random.

        Args:
            chooser: Draws.

        Returns:
            One that is possible; None if a hundred draws found none.
        """
        for _ in range(100):
            drawn = {name: chooser.choice(values) for name, values in self.choices.items()}
            if self.is_possible(drawn):
                return drawn
        return None

    def neighbours(self, candidate: Candidate) -> Iterator[dict[str, int]]:
        """
        Give the combinations that differ in one setting by one step.

        Args:
            candidate: Where to start; a value that is no choice moves to the nearest ones.

        Yields:
            Possible combinations.
        """
        for name, values in self.choices.items():
            below = [value for value in values if value < candidate[name]]
            above = [value for value in values if value > candidate[name]]
            for value in (*below[-1:], *above[:1]):
                moved = {**candidate, name: value}
                if self.is_possible(moved):
                    yield moved


def search(
    space: Space,
    present: Candidate,
    measure: Callable[[Candidate, int], Measurement],
    *,
    p99_ms: float,
    first_candidates: int,
    seed: int = 0,
    suggested: Sequence[Candidate] = (),
    may_go_on: Callable[[], bool] = lambda: True,
) -> list[Measured]:
    """
    Find good settings.

    Args:
        space: What may be chosen.

        present: The settings now; always among the candidates.

        measure: Measures a candidate at a rung: the longer, the higher the rung.

        p99_ms: The target.

        first_candidates: How many begin, the present settings included.

        seed: Of the sample.

        suggested: Settings that experience says are good; measured right after the present ones.

        may_go_on: Asked before each measurement; False ends the search with what is known.

    Returns:
        All measurements, in their order; `best` picks the winner.
    """
    chooser = random.Random(seed)  # noqa: S311 - a reproducible sample, no secret
    running = _begin(space, (present, *suggested), first_candidates, chooser)
    found: list[Measured] = []
    rung = 0
    while True:
        for candidate in running:
            if not may_go_on():
                return found
            found.append(Measured(dict(candidate), rung, measure(candidate, rung)))
        ranked = _ranked([one for one in found if one.rung == rung], p99_ms)
        if len(ranked) <= 1:
            return found
        kept = [one.candidate for one in ranked[: max(1, round(len(ranked) * KEPT_SHARE))]]
        # A fair number of newcomers from next to the best: as many as go on, so that each rung is smaller.
        known = {_identity(one.candidate) for one in found}
        fresh = [moved for moved in space.neighbours(kept[0]) if _identity(moved) not in known]
        chooser.shuffle(fresh)
        newcomers = fresh[: len(kept) if len(kept) > 1 else 0]
        running = [*kept, *newcomers]
        rung += 1
        if len(running) == 1:
            return found


def best(found: Sequence[Measured], p99_ms: float) -> Measured:
    """
    Pick the winner: the best of those that came furthest.

    Args:
        found: What `search` returned; at least one.

        p99_ms: The target.

    Returns:
        The winner.
    """
    furthest = max(one.rung for one in found)
    return _ranked([one for one in found if one.rung == furthest], p99_ms)[0]


def fight(
    challenger: Candidate,
    champion: Candidate,
    measure: Callable[[Candidate], Measurement],
    *,
    p99_ms: float,
    rounds: int = FIGHT_ROUNDS,
) -> Fight:
    """
    Measure two candidates in turn, every other round the other way round.

    Args:
        challenger: The winner of the search.

        champion: The present settings.

        measure: Measures one of them.

        p99_ms: The target: what misses it by more is no better, however fast.

        rounds: How many.

    Returns:
        The rounds.
    """
    new: list[Measurement] = []
    old: list[Measurement] = []
    for number in range(rounds):
        order = (challenger, champion) if number % 2 else (champion, challenger)
        for candidate in order:
            (new if candidate is challenger else old).append(measure(candidate))
    ratios = tuple(
        worth(one, p99_ms) / max(worth(other, p99_ms), 1e-9) for one, other in zip(new, old, strict=True)
    )
    return Fight(ratios, tuple(new), tuple(old))


def worth(measurement: Measurement, p99_ms: float) -> float:
    """
    Say in one number how good a measurement is.

    Args:
        measurement: How a candidate did.

        p99_ms: The target.

    Returns:
        Items a second; of one that misses the target a small number below 1, the smaller the further it is off.
    """
    if measurement.p99_ms <= p99_ms:
        return max(measurement.items_per_s, 1.0)
    return p99_ms / measurement.p99_ms


def _begin(
    space: Space, known: Sequence[Candidate], count: int, chooser: random.Random
) -> list[Mapping[str, int]]:
    """Give the present settings and the suggested ones, some neighbours of the present, and a sample of the rest."""
    neighbours = list(space.neighbours(known[0]))
    chooser.shuffle(neighbours)
    sampled = (space.sample(chooser) for _ in range(10 * count))
    drawn = [one for one in sampled if one is not None]
    return _distinct([*known, *neighbours[: (count - 1) // 3], *drawn])[:count]


def _distinct(candidates: Iterable[Candidate]) -> list[Mapping[str, int]]:
    """Leave out what came before."""
    found: dict[tuple[tuple[str, int], ...], Candidate] = {}
    for candidate in candidates:
        found.setdefault(_identity(candidate), candidate)
    return list(found.values())


def _identity(candidate: Candidate) -> tuple[tuple[str, int], ...]:
    """Give what tells candidates apart."""
    return tuple(sorted(candidate.items()))


def _ranked(measured: Sequence[Measured], p99_ms: float) -> list[Measured]:
    """Sort by worth, the best first."""
    return sorted(measured, key=lambda one: worth(one.measurement, p99_ms), reverse=True)
