"""
`tune`: find the settings with which a published model answers the most within a target of its latency.

The stable version's files are linked into a scratch repository beside the real one, which a Triton of its own serves.
Candidates are measured there, one after the other (`tune_search` says which), and at last the winner against the
present settings. Only if it is clearly better it becomes a new version, with the same graph, and the figures in its
manifest.
"""

import math
import os
import platform
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import releases, tensorrt_plan
from export.config_pbtxt import read_card, read_config
from export.errors import BadInput, GpuNeeded, ModelNotFound
from export.following import connected
from export.progress import Progress
from export.release_moves import check_version, find_model
from export.transition import CORE_CONFIG, Folders, find_hand_edits
from export.tune_driver import CandidateFailed, Driver
from export.tune_files import Scratch, publish_tuned
from export.tune_search import Candidate, Fight, Measured, Measurement, best, fight, search
from export.tune_server import find_server, running_server
from export.tune_settings import (
    Served,
    make_space,
    read_served,
    read_settings,
    suggest_settings,
    write_settings,
)
from export.tune_traffic import Traffic, make_traffic, read_traffic

SEARCH_SHARE = 0.7
"""Part of the budget for the search; the rest is for the last comparison, which has to be sure."""

WINDOW_S = 0.4
"""Seconds for each number of callers in the first rung."""

LONGEST_FACTOR = 9
"""A rung measures three times as long as the one before, up to so many times the first one's."""

FIGHT_WINDOW_S = (0.4, 4.0)
"""Seconds for each number of callers in the last comparison: at least, at most."""

_FEWEST_CANDIDATES, _MOST_CANDIDATES = 5, 27
_WINDOWS = 3  # a measurement tries two to four numbers of callers
_SLOT, _PRESENT_SLOT = "candidate", "present"


@dataclass(frozen=True)
class TuneOptions:
    """What was asked for."""

    name: str
    """The model."""

    p99_ms: float
    """The target: 99 of 100 answers within so many milliseconds."""

    repository: Path
    """The model repository."""

    traffic: Path | None = None
    """Recorded requests; None makes some."""

    budget_s: float = 300.0
    """Seconds for everything but the server's start."""

    tritonserver: str | None = None
    """Command of a tritonserver; None finds one."""

    seed: int = 0
    """Of the sample and of made traffic."""

    candidate: bool = False
    """True only puts the new version on disk, for a later `canary`."""

    tritons: tuple[str, ...] = ()
    """Running Tritons that follow."""


@dataclass(frozen=True)
class Tuned:
    """What came out."""

    version: int | None
    """The new version; None if nothing clearly better was found."""

    before: Measurement
    """The present settings, at last."""

    after: Measurement
    """The winner; the present settings' own figures if none was measured against them."""

    ratio: float
    """Median of the winner's items a second over the present's; 1 without a winner."""

    settings: dict[str, int]
    """What was chosen, or is kept."""

    changed: dict[str, tuple[int, int]]
    """The settings in which the winner differs: before, after; whether or not it was adopted."""


@dataclass(frozen=True)
class _Subject:
    """The model under test."""

    folders: Folders
    version: int
    served: Served
    inputs: tuple[str, ...]


def run_tune(options: TuneOptions, progress: Progress) -> Tuned:
    """
    Tune a model.

    Args:
        options: What was asked for.

        progress: Where each measurement is told.

    Returns:
        What was found, and published if it was clearly better.

    Raises:
        BadInput: If the model can't be tuned, the traffic is broken or refused, no Triton can be started, or no
            settings meet the target.

        GpuNeeded: If the model is for a GPU and there is none here.

        ModelNotFound: If there is no such model.

        FollowFailed: If a Triton that is to follow couldn't load the new version; the release is as it was.

        RepositoryError: If the repository can't be read or written, or another version became stable meanwhile.
    """
    if not (math.isfinite(options.p99_ms) and options.p99_ms > 0):
        raise BadInput(f"--p99-ms must be milliseconds above 0; got {options.p99_ms}.")
    subject = _find_subject(options, progress)
    traffic = _find_traffic(options, subject)
    server = find_server(options.tritonserver, Path.cwd())
    with ExitStack() as stack:
        follower = stack.enter_context(connected(options.tritons))
        staging = stack.enter_context(releases.staging_folder(options.repository))
        scratch = Scratch(staging / "scratch", subject.folders, subject.version)
        scratch.place(_SLOT, subject.served)
        progress.tell(f"Traffic {traffic.source}; target p99 {options.p99_ms:g} ms; starting Triton ...")
        with (
            running_server(server, scratch.folder) as address,
            Driver(address, scratch, traffic, options.p99_ms) as driver,
        ):
            session = _Session(options, subject, driver, progress)
            with progress.step("Searching", expected_s=options.budget_s):
                found, outcome = session.run()
        winner = best(found, options.p99_ms).candidate
        version = None
        if outcome is not None and outcome.is_won:
            figures = _figures(options, subject, traffic, found, outcome)
            served = write_settings(subject.served, winner)
            version = publish_tuned(
                subject.folders,
                subject.version,
                served,
                figures,
                staging,
                is_candidate=options.candidate,
                follower=follower,
            )
    return _sum_up(subject, found, outcome, winner, version)


class _Session:
    """One search with its clock."""

    def __init__(self, options: TuneOptions, subject: _Subject, driver: Driver, progress: Progress) -> None:
        self._options = options
        self._served = subject.served
        self._driver = driver
        self._progress = progress
        self._started = time.monotonic()
        self._count = 0
        self._load_s = 0.0
        self._loaded: dict[str, int] | None = None

    def run(self) -> tuple[list[Measured], Fight | None]:
        """Search, then compare the winner with the present settings, if it isn't them."""
        present = read_settings(self._served)
        self._driver.check(self._load(present))
        self._started = time.monotonic()
        keeps_batch = bool(self._options.candidate or self._options.tritons)
        cores = len(os.sched_getaffinity(0))
        space = make_space(self._served, cores, keeps_batch=keeps_batch)
        found = search(
            space,
            present,
            self._measure,
            p99_ms=self._options.p99_ms,
            first_candidates=self._count_candidates(),
            seed=self._options.seed,
            suggested=suggest_settings(self._served, space, cores),
            # The present settings are always measured: without them there is nothing to compare with.
            may_go_on=lambda: self._count == 0 or self._left_s(SEARCH_SHARE) > self._load_s + WINDOW_S,
        )
        winner = best(found, self._options.p99_ms)
        if winner.measurement.p99_ms > self._options.p99_ms:
            self._refuse_target(found)
        if winner.candidate == present:
            return found, None
        return found, self._fight(winner.candidate, present)

    def _load(self, candidate: Candidate) -> str:
        if candidate != self._loaded:
            began = time.monotonic()
            self._loaded = None
            self._driver.load(_SLOT, write_settings(self._served, candidate))
            self._loaded = dict(candidate)
            self._load_s = time.monotonic() - began
        return _SLOT

    def _left_s(self, share: float = 1.0) -> float:
        return self._started + self._options.budget_s * share - time.monotonic()

    def _count_candidates(self) -> int:
        """Begin with as many as the budget lets come to their end: later rungs cost as much again, twice over."""
        cost_s = 2.5 * self._load_s + 10 * _WINDOWS * WINDOW_S
        return min(max(int(self._left_s(SEARCH_SHARE) / cost_s), _FEWEST_CANDIDATES), _MOST_CANDIDATES)

    def _measure(self, candidate: Candidate, rung: int) -> Measurement:
        self._count += 1
        window_s = WINDOW_S * min(3**rung, LONGEST_FACTOR)
        try:
            measured = self._driver.measure(self._load(candidate), window_s)
        except CandidateFailed as failure:
            self._progress.tell(f"Candidate {self._count} is out: {failure}")
            measured = Measurement(0.0, math.inf)
        self._progress.tell(
            f"Rung {rung}, measurement {self._count}: {_say(measured)}; {_list(candidate)}; "
            f"{max(self._left_s(), 0):.0f} s left"
        )
        return measured

    def _fight(self, winner: Candidate, present: Candidate) -> Fight:
        """Serve both side by side, and measure them in turn."""
        self._load(winner)
        self._driver.load(_PRESENT_SLOT, write_settings(self._served, present))
        shortest, longest = FIGHT_WINDOW_S
        window_s = min(max(self._left_s() / (10 * _WINDOWS * 1.1), shortest), longest)

        def measure(candidate: Candidate) -> Measurement:
            is_winner = candidate is winner
            measured = self._driver.measure(_SLOT if is_winner else _PRESENT_SLOT, window_s)
            self._progress.tell(f"Last comparison, {'winner' if is_winner else 'present'}: {_say(measured)}")
            return measured

        return fight(winner, present, measure, p99_ms=self._options.p99_ms)

    def _refuse_target(self, found: list[Measured]) -> None:
        nearest = min(found, key=lambda one: one.measurement.p99_ms)
        raise BadInput(
            f"None of {len(found)} measurements kept p99 within {self._options.p99_ms:g} ms; the nearest was "
            f"{nearest.measurement.p99_ms:.1f} ms with {_list(nearest.candidate)}. Nothing was published. Raise "
            "--p99-ms, or export the model in a faster --precision."
        )


def _find_subject(options: TuneOptions, progress: Progress) -> _Subject:
    """Find the stable version and see that it can be tuned here."""
    folders = find_model(options.repository, options.name)
    version = releases.stable_version(options.repository, options.name)
    if version is None:
        raise ModelNotFound(f"{folders.door} is empty. Export the model first.")
    check_version(folders, version)
    card = read_card(read_config(folders.door)) or {}
    if card.get("task") == "text-generation":
        raise BadInput(
            f"'{options.name}' generates text, which tune can't do anything for: its answers have no common length to "
            "group by, and its slots follow from the memory. Export it with another --max-model-len or --precision."
        )
    if not (folders.door / str(version) / CORE_CONFIG).exists():
        raise BadInput(
            f"Version {version} of '{options.name}' has no settings that tune knows. Export it again."
        )
    served = read_served(folders, version)
    if served.is_on_gpu and tensorrt_plan.find_gpu() is None:
        raise GpuNeeded(
            f"'{options.name}' was exported for a GPU, and there is none here. Run tune on the machine that serves it."
        )
    edits = find_hand_edits(folders)
    if edits:
        progress.tell(f"Not measured are the edits by hand of {', '.join(edits)}: an export's settings are.")
    return _Subject(folders, version, served, tuple(spec.name for spec in served.door_config.input))


def _find_traffic(options: TuneOptions, subject: _Subject) -> Traffic:
    if options.traffic is not None:
        return read_traffic(options.traffic, subject.inputs)
    tokenizer_file = subject.folders.door / str(subject.version) / "tokenizer.json"
    return make_traffic(subject.inputs, tokenizer_file, options.seed)


def _sum_up(
    subject: _Subject, found: list[Measured], outcome: Fight | None, winner: Candidate, version: int | None
) -> Tuned:
    present = read_settings(subject.served)
    changed = {name: (present[name], value) for name, value in winner.items() if value != present[name]}
    if outcome is None:
        same = [one for one in found if one.candidate == present][-1].measurement
        return Tuned(None, same, same, 1.0, present, changed)
    settings = dict(winner) if version is not None else present
    before, after = _middle(outcome.champion), _middle(outcome.challenger)
    return Tuned(version, before, after, statistics.median(outcome.ratios), settings, changed)


def _figures(
    options: TuneOptions, subject: _Subject, traffic: Traffic, found: list[Measured], outcome: Fight
) -> dict[str, Any]:
    """Collect what the new version's manifest tells of the search."""
    winner = best(found, options.p99_ms).candidate
    return {
        "from_version": subject.version,
        "traffic": traffic.source,
        "target_p99_ms": options.p99_ms,
        "budget_s": options.budget_s,
        "seed": options.seed,
        "machine": _describe_machine(),
        "candidates": [
            {"rung": one.rung, "settings": one.candidate, **_to_json(one.measurement)}
            for one in found
            if math.isfinite(one.measurement.p99_ms)  # what answered nothing has no figures
        ],
        "before": {"settings": read_settings(subject.served), **_to_json(_middle(outcome.champion))},
        "after": {"settings": dict(winner), **_to_json(_middle(outcome.challenger))},
        "ratios": [round(ratio, 4) for ratio in outcome.ratios],
    }


def _describe_machine() -> dict[str, Any]:
    words = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in line]
        words = names[0].partition(":")[2].strip() if names else ""
    gpu = tensorrt_plan.find_gpu()
    return {
        "cpu": words or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": None if gpu is None else gpu.name,
    }


def _middle(rounds: tuple[Measurement, ...]) -> Measurement:
    """Give the medians of several rounds."""
    return Measurement(
        statistics.median(one.items_per_s for one in rounds), statistics.median(one.p99_ms for one in rounds)
    )


def _to_json(measurement: Measurement) -> dict[str, float]:
    return {"items_per_s": round(measurement.items_per_s, 1), "p99_ms": round(measurement.p99_ms, 2)}


def _say(measurement: Measurement) -> str:
    if not math.isfinite(measurement.p99_ms):
        return "no answers"
    return f"{measurement.items_per_s:.0f} items/s, p99 {measurement.p99_ms:.1f} ms"


def _list(candidate: Candidate) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(candidate.items()))
