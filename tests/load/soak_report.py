"""What a soak's samples say: how far memory drifted, whether anything else grew, as tables and as a picture. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAT_SHARE = 0.05
"""Drift up to here is flat."""

COUNT_SLACK = 4
"""So many more of something small are no growth: a connection, a thread that starts when it is first needed."""

WIDTH, HEIGHT, MARGIN = 760, 320, 50
"""The picture, in pixels."""

COLOURS = ("#1f5fa8", "#b3261e", "#176f2c", "#8a5a00", "#6a3fa0", "#00796b")


@dataclass(frozen=True)
class Sample:
    """One look at the memory."""

    at_s: float
    """Seconds since the beginning."""

    rss_mib: dict[str, float]
    """Resident memory by program, shared pages included."""

    counts: dict[str, float] = field(default_factory=dict)
    """What else must not grow: file descriptors, threads, tasks, shared memory; by what it is."""


@dataclass(frozen=True)
class Drift:
    """How one process's memory moved after the warm-up."""

    first_mib: float
    """When the warm-up was over."""

    least_mib: float
    """The least afterwards."""

    most_mib: float
    """The most afterwards."""

    last_mib: float
    """At the end."""

    share: float
    """The farthest from the first, as a share of it."""

    is_flat: bool
    """Whether that is within 5 %."""


def drift_of(samples: Sequence[Sample], name: str, warm_s: float) -> Drift:
    """
    Compare a process's memory after the warm-up with what it was then.

    Args:
        samples: In order of time.

        name: The program.

        warm_s: Seconds that don't count; if all samples are earlier, the last of them counts.

    Returns:
        The drift.
    """
    seen = [sample.rss_mib[name] for sample in samples if sample.at_s >= warm_s] or [
        samples[-1].rss_mib[name]
    ]
    share = max(max(seen) - seen[0], seen[0] - min(seen)) / seen[0]
    return Drift(seen[0], min(seen), max(seen), seen[-1], share, is_flat=share <= FLAT_SHARE)


@dataclass(frozen=True)
class Growth:
    """How a count moved: its largest value early on, and at the end."""

    early: float
    """Largest in the first fifth after the warm-up."""

    late: float
    """Largest in the last fifth."""

    is_flat: bool
    """Whether that is at most 5 % and `COUNT_SLACK` more."""


def growth_of(samples: Sequence[Sample], name: str, warm_s: float) -> Growth:
    """
    Compare a count's largest value early on with that at the end: counts go up and down with the load.

    Args:
        samples: In order of time.

        name: Of the count.

        warm_s: Seconds that don't count; if all samples are earlier, the last of them counts.

    Returns:
        The growth.
    """
    seen = [sample.counts[name] for sample in samples if sample.at_s >= warm_s] or [samples[-1].counts[name]]
    fifth = max(1, len(seen) // 5)
    early, late = max(seen[:fifth]), max(seen[-fifth:])
    return Growth(early, late, is_flat=late <= early * (1 + FLAT_SHARE) + COUNT_SLACK)


def summarise(results: dict[str, Any]) -> str:
    """
    Write a soak's outcome as a Markdown table.

    Args:
        results: What soak.json holds.

    Returns:
        A sentence and two tables.
    """
    lines = [
        (
            f"{results['answered']} right answers and {results['failures']} wrong ones in {results['seconds']:.0f} s; "
            f"FACADE_CACHE_MEMORY_BYTES={results['cache_memory_bytes']}."
        ),
        "",
        "| RSS, MiB | after 60 s | least | most | at the end | drift | goal: within 5 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, drift in results["drift"].items():
        mib = " | ".join(f"{drift[key]:.1f}" for key in ("first_mib", "least_mib", "most_mib", "last_mib"))
        verdict = "reached" if drift["is_flat"] else "missed"
        lines.append(f"| {name} | {mib} | {drift['share']:.1%} | {verdict} |")
    lines += [
        "",
        "| largest number of | early on | at the end | goal: not grown |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, growth in results["growth"].items():
        verdict = "reached" if growth["is_flat"] else "missed"
        lines.append(f"| {name} | {growth['early']:.0f} | {growth['late']:.0f} | {verdict} |")
    return "\n".join(lines)


def to_svg(results: dict[str, Any]) -> str:
    """
    Draw each process's memory over time, as a share of its first value after the warm-up.

    Args:
        results: What soak.json holds.

    Returns:
        A picture that needs nothing else.
    """
    samples = results["samples"]
    end_s = max(samples[-1]["at_s"], 1.0)
    curves = {
        name: [(one["at_s"], one["rss_mib"][name] / drift["first_mib"]) for one in samples]
        for name, drift in results["drift"].items()
    }
    top = max(1.1, *(share for curve in curves.values() for _, share in curve))

    def place(at_s: float, share: float) -> str:
        across = MARGIN + at_s / end_s * (WIDTH - 2 * MARGIN)
        return f"{across:.1f},{HEIGHT - MARGIN - share / top * (HEIGHT - 2 * MARGIN):.1f}"

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + 18 * len(curves)}" '
            'font-family="sans-serif" font-size="13">'
        ),
        f'<text x="{MARGIN}" y="20">Resident memory ÷ its value after 60 s, over {end_s / 60:.0f} minutes</text>',
    ]
    parts += [
        f'<polyline points="{place(0, share)} {place(end_s, share)}" stroke="#999" stroke-dasharray="4" />'
        for share in (1 - FLAT_SHARE, 1 + FLAT_SHARE)
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(*point) for point in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5" />')
        parts.append(f'<text x="{MARGIN}" y="{HEIGHT + 18 * number}" fill="{colour}">{escape(name)}</text>')
    return "\n".join(parts) + "\n</svg>\n"
