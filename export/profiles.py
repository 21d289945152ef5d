"""
Every number that depends on the hardware, in named tables, each with its unit and its source.

A profile says how one target runs a text encoder: how many instances, how many threads, how large a batch,
and how the door groups texts by length. Nothing else in `export/` holds such a number.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

from export.errors import NotBuilt


@dataclass(frozen=True)
class PaddedTokensRule:
    """
    Sort the merged batch by length; cut it where that costs least in padding and calls.

    Right where every shape costs the same to run, as on a CPU: no fixed edges are needed.
    """

    limit_tokens: int
    """Padded tokens (rows x longest) at which a group is cut; larger groups miss the processor's cache."""

    call_tokens: float
    """What one more call of the core costs, in the time of so many tokens."""

    kind: str = "padded_tokens"
    """The name under which the door finds the rule."""


@dataclass(frozen=True)
class TargetProfile:
    """How one target runs a text encoder."""

    name: str
    """The target's name on the command line."""

    instance_kind: str
    """Triton's instance kind: KIND_CPU or KIND_GPU."""

    max_batch_size: int
    """Rows the batchers of both models may merge; a larger one sorts better and waits longer."""

    door_instances: int
    """Door processes; two keep one tokenizing while the other awaits the core."""

    core_instances: int
    """Copies of the graph, each with its own weights in memory."""

    core_threads: int
    """Threads in one operator of one copy (`intra_op_thread_count`)."""

    grouping: PaddedTokensRule
    """How the door groups texts by length."""

    source: str
    """Where the numbers come from."""

    def to_json(self) -> dict[str, Any]:
        """Return the profile as the manifest records it."""
        return asdict(self)


CPU_GROUPING = PaddedTokensRule(limit_tokens=512, call_tokens=24)
"""
Measured with MiniLM-L6 in fp32, one thread: a call takes 3.0 ms and 0.17 ms a token, so it costs as much as 18 tokens,
and the hop from door to core about 6 more. Groups of about 512 padded tokens ran 10 to 17 % faster than of 2,048.
"""

MEASURED_CORES = 2
"""Cores of the machine on which the CPU profile was measured: two copies of the graph, one thread each."""

MAX_CPU_INSTANCES = 4
"""
More copies than this only cost memory (each holds all weights); further cores become threads of each copy.

Not measured beyond `MEASURED_CORES`: a starting point for `tune`.
"""


def cpu_profile(cores: int) -> TargetProfile:
    """
    Make the CPU profile for a number of cores.

    One single-threaded copy of the graph a core is the fastest up to a few cores, since copies don't wait for
    each other; then threads are added to the copies instead of more copies.

    Args:
        cores: Processor cores that Triton may use, at least 1.

    Returns:
        The profile; the one that was measured when *cores* is two or less.
    """
    core_instances = min(max(cores, MEASURED_CORES), MAX_CPU_INSTANCES)
    return TargetProfile(
        name="cpu",
        instance_kind="KIND_CPU",
        max_batch_size=64,
        door_instances=2,
        core_instances=core_instances,
        core_threads=max(1, cores // core_instances),
        grouping=CPU_GROUPING,
        source=f"measured on {MEASURED_CORES} cores, extrapolated to {cores}"
        if cores > MEASURED_CORES
        else f"measured on {MEASURED_CORES} cores",
    )


def profile_for(target: str) -> TargetProfile:
    """
    Find the profile of a target; for `cpu`, of the cores that this process may use.

    Args:
        target: The target's name.

    Returns:
        The target's profile.

    Raises:
        NotBuilt: If there is no profile for *target*.
    """
    if target == "cpu":
        return cpu_profile(len(os.sched_getaffinity(0)))
    raise NotBuilt(f"There is no profile for target '{target}'. Use 'cpu'.")
