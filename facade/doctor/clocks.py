"""
This machine's clock, beside the clocks of what it talks to.

A clock that is off lets keys expire too early or too late, breaks TLS, and makes logs of two machines impossible to
read side by side. Triton doesn't tell the time over gRPC; Redis does, and a façade's HTTP answers do, to the second.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from datetime import UTC, datetime
from typing import NamedTuple

from facade.doctor.finding import Finding, ok, problem, skipped, warning

NOTICEABLE_S = 2.0
"""Difference above which it is worth a word; HTTP's dates are cut to seconds."""

HARMFUL_S = 60.0
"""Difference above which quotas' minutes, keys' ends and certificates go wrong."""

PLAUSIBLE_YEARS = range(2025, 2100)
"""Outside of these no clock is right: 1970 is a board without a battery."""

SET_CLOCK = "Set it, and keep it so: `timedatectl set-ntp true`, or run chrony; in a container, on the host."
"""What to do about a clock."""

_TIME_ERROR = 5  # <linux/timex.h>
_STA_UNSYNC = 0x0040


class ClockSeen(NamedTuple):
    """Another clock, and ours at the same moment."""

    whose: str
    """Such as ``redis 127.0.0.1:6379``."""

    theirs: float
    """Seconds since 1970."""

    ours: float
    """Seconds since 1970, in the middle of the exchange."""


class _Timex(ctypes.Structure):
    """The head of `struct timex`, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def examine_clocks(seen: list[ClockSeen], *, now: float) -> list[Finding]:
    """
    Compare the clocks.

    Args:
        seen: The others.

        now: Ours, in seconds since 1970.

    Returns:
        The findings.
    """
    findings = [_examine_year(now), examine_synchronisation(), *map(_compare, seen)]
    if not seen:
        findings.append(
            skipped("other clocks", "no Redis answers, and no --facade-url is given to compare with")
        )
    return findings


def examine_synchronisation(status: int | None = None) -> Finding:
    """
    Ask the kernel whether something keeps its clock right.

    Args:
        status: What `adjtimex` returned; None to call it.

    Returns:
        The finding.
    """
    check = "synchronised"
    status = _ask_kernel() if status is None else status
    if status is None:
        return skipped(check, "the kernel doesn't say")
    if status == _TIME_ERROR:
        return warning(check, "the kernel says that nothing keeps this clock right", SET_CLOCK)
    return ok(check, "the kernel's clock is kept right by a time service")


def _ask_kernel() -> int | None:
    """Give adjtimex's answer, with an unsynchronised clock always as TIME_ERROR; None if it can't be asked."""
    if os.name != "posix":
        return None
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = _Timex()
    code = int(answer(ctypes.byref(state)))
    if code < 0:
        return None
    return _TIME_ERROR if state.status & _STA_UNSYNC else code


def _examine_year(now: float) -> Finding:
    said = datetime.fromtimestamp(now, UTC)
    if said.year not in PLAUSIBLE_YEARS:
        return problem("time", f"this machine says {said:%Y-%m-%d %H:%M} UTC, which can't be", SET_CLOCK)
    return ok("time", f"{said:%Y-%m-%d %H:%M:%S} UTC")


def _compare(clock: ClockSeen) -> Finding:
    difference_s = clock.ours - clock.theirs
    direction = "ahead of" if difference_s > 0 else "behind"
    found = f"this machine is {_say(abs(difference_s))} {direction} {clock.whose}"
    remedy = f"Find out which of the two is wrong. {SET_CLOCK}"
    if abs(difference_s) >= HARMFUL_S:
        return problem(clock.whose, found, remedy)
    if abs(difference_s) >= NOTICEABLE_S:
        return warning(clock.whose, found, remedy)
    return ok(clock.whose, "agrees with this machine within two seconds")


def _say(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
