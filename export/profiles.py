"""
How a model runs on each target: every such number, in named tables, each with its unit and its source.

A profile says how many instances, how many threads, how large a batch, and how the door groups texts by length.
What the hardware is and can do stands in `targets`. Nothing else in `export/` holds such a number.
"""

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

from export.targets import Target, find_target


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
class EdgesRule:
    """
    Pad every text to the next of a few lengths; texts of one length run together.

    Right on a GPU: kernels are chosen, and TensorRT's profiles built, for few shapes.
    """

    edges: tuple[int, ...]
    """Padded lengths in tokens, ascending."""

    kind: str = "edges"
    """The name under which the door finds the rule."""


@dataclass(frozen=True)
class TargetProfile:
    """How a model runs on one target."""

    name: str
    """The target's name on the command line."""

    instance_kind: str
    """Triton's instance kind of the core: KIND_CPU or KIND_GPU. A door is always on the CPU."""

    max_batch_size: int
    """Rows the batchers of both models may merge; a larger one sorts better and waits longer."""

    door_instances: int
    """Door processes; two keep one tokenizing while the other awaits the core."""

    core_instances: int
    """Copies of the graph, each with its own weights in memory."""

    core_threads: int
    """Threads in one operator of one copy (`intra_op_thread_count`); 0 leaves it to the GPU's runtime."""

    grouping: PaddedTokensRule | EdgesRule
    """How the door groups texts by length."""

    source: str
    """Where the numbers come from."""

    workspace_bytes: int = 0
    """GPU memory that TensorRT may use to try kernels while it builds; 0 on a CPU."""

    def to_json(self) -> dict[str, Any]:
        """Return the profile as the manifest records it, equal to what is read back from the file."""
        content = asdict(self)
        if isinstance(self.grouping, EdgesRule):
            content["grouping"]["edges"] = list(self.grouping.edges)
        return content

    def fit(self, max_input_tokens: int) -> "TargetProfile":
        """
        Fit the edges to a model: none beyond what it takes, the last one exactly that.

        Args:
            max_input_tokens: Tokens after which the model truncates; 0 for one that takes no text.

        Returns:
            The profile, as it is if it has no edges.
        """
        if not isinstance(self.grouping, EdgesRule) or max_input_tokens == 0:
            return self
        within = tuple(edge for edge in self.grouping.edges if edge < max_input_tokens)
        return replace(self, grouping=EdgesRule((*within, max_input_tokens)))


CPU_GROUPING = PaddedTokensRule(limit_tokens=256, call_tokens=24)
"""
Measured with MiniLM-L6 in fp32, one thread: a call takes 3.0 ms and 0.17 ms a token, so it costs as much as 18 tokens,
and the hop from door to core about 6 more. Groups of about 512 padded tokens ran 10 to 17 % faster than of 2,048; from
192 to 768 the model itself is equally fast, and smaller groups keep two cores busy with one batch: short texts, 64
callers, ran 1.03 (0.99 to 1.12) times as fast with 256 as with 512, with a p99 of 286 against 375 ms.
"""

MEASURED_CORES = 2
"""Cores of the machine on which the CPU profile was measured: two copies of the graph, one thread each."""

MAX_CPU_INSTANCES = 4
"""
More copies than this only cost memory (each holds all weights); further cores become threads of each copy.

Not measured beyond `MEASURED_CORES`: a starting point for `tune`.
"""

GPU_EDGES = (16, 32, 64, 128, 256, 512)
"""
Powers of two from the shortest common text on: at most half of a row is padding, and every length is a multiple of 8,
which fp16 matrix multiplication on tensor cores is fastest with.

Source:
    docs.nvidia.com, "Matrix Multiplication Background User's Guide", requirements of tensor cores. Not measured here.
"""

GPU_DOOR_INSTANCES = 4
"""A text costs about 20 microseconds of tokenizing: four processes keep ahead of a GPU. Not measured here."""

WHOLE_GPU_MULTIPROCESSORS = 80
"""From this size on a GPU gets a second copy of the graph and full batches: V100 (80), A100 (108), H100 (132)."""

_GPU_SOURCE = "starting point for `tune`, not run here: "


def gpu_profile(target: Target) -> TargetProfile:
    """
    Make the profile of a GPU from its size.

    Two copies of the graph let one compute while the other's inputs and outputs are copied; a small GPU or a slice of
    one has no room for a second one to help.

    Args:
        target: A GPU.

    Returns:
        The profile, for texts of any length; `fit` cuts it to a model.

    Source:
        triton-inference-server/server, docs/user_guide/optimization.md (instances); core, src/model_config_utils.cc
        (no preferred batch sizes: the batcher fills up to the largest).
    """
    is_whole = (target.multiprocessors or 0) >= WHOLE_GPU_MULTIPROCESSORS
    memory_bytes = (target.memory_gb or 0) * 10**9
    return TargetProfile(
        name=target.name,
        instance_kind="KIND_GPU",
        max_batch_size=128 if is_whole else 64,
        door_instances=GPU_DOOR_INSTANCES,
        core_instances=2 if is_whole else 1,
        core_threads=0,
        grouping=EdgesRule(GPU_EDGES),
        source=f"{_GPU_SOURCE}{target.title}, {target.multiprocessors} multiprocessors, {target.memory_gb} GB",
        # An eighth, at most 4 GiB: TensorRT is content with less, and the serving process keeps the rest.
        workspace_bytes=min(memory_bytes // 8, 4 * 2**30),
    )


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


def profile_for(name: str) -> TargetProfile:
    """
    Find the profile of a target; for `cpu`, of the cores that this process may use.

    Args:
        name: The target's name.

    Returns:
        The target's profile.

    Raises:
        BadInput: If there is no such target.
    """
    target = find_target(name)
    return gpu_profile(target) if target.is_gpu else cpu_profile(len(os.sched_getaffinity(0)))
