"""
The settings of a served model that `tune` may choose: read from its files, written into copies of them.

The grouping and the largest batch stand in the door's `door.json`, the rest in the two configs. What a model or its
engine leaves no choice in is no setting: an image door has no lengths, and a TensorRT plan was built for its shapes.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from export import config_pbtxt
from export.config_pbtxt import from_text
from export.errors import RepositoryError
from export.profiles import CPU_GROUPING, cpu_profile
from export.transition import CORE_CONFIG, DOOR_CONFIG, Folders
from export.tune_search import Candidate, Space

DOOR_SETTINGS_FILE = "door.json"
"""What a door reads beside its code."""

_THREADS_KEY = "intra_op_thread_count"
_SHAPED_BY_BATCH = ("tensorrt", "tensorrt_plan")
_GPU_CORES, _GPU_DOORS = (1, 2, 3, 4), (1, 2, 4, 6, 8)
_BATCHES = (4, 8, 16, 32, 64, 128)
_DELAYS_US = (0, 500, 1000, 2000, 5000)
_LIMIT_TOKENS = (128, 256, 512, 1024, 2048, 4096)
_CALL_TOKENS = (6, 12, 24, 48, 96)
_EDGE_COUNTS = (1, 2, 3, 4, 5, 6)
_GROUP_ROWS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Served:
    """What decides how a version is served, apart from its graph."""

    door_config: Any
    """The door's ModelConfig message."""

    core_config: Any
    """The core's."""

    door_settings: dict[str, Any]
    """The content of `door.json`."""

    @property
    def is_on_gpu(self) -> bool:
        """Whether the core runs on a GPU."""
        return any(config_kind(group) == "KIND_GPU" for group in self.core_config.instance_group)

    @property
    def has_fixed_shapes(self) -> bool:
        """Whether the engine was built for certain lengths and batches."""
        accelerators = self.core_config.optimization.execution_accelerators.gpu_execution_accelerator
        names = (self.core_config.backend, self.core_config.platform, *(one.name for one in accelerators))
        return any(name in _SHAPED_BY_BATCH for name in names)


def config_kind(group: Any) -> str:
    """
    Name an instance group's kind.

    Args:
        group: Of a ModelConfig message.

    Returns:
        Triton's word, such as KIND_CPU.
    """
    return str(group.Kind.Name(group.kind))


def read_served(folders: Folders, version: int) -> Served:
    """
    Read a version's own configs and settings.

    Args:
        folders: The model; it has a core.

        version: The version.

    Returns:
        What decides how it is served.

    Raises:
        RepositoryError: If a file is missing or can't be read.
    """
    folder = folders.door / str(version)
    try:
        door = from_text((folder / DOOR_CONFIG).read_text(encoding="utf-8"))
        core = from_text((folder / CORE_CONFIG).read_text(encoding="utf-8"))
        settings = json.loads((folder / DOOR_SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RepositoryError(
            f"{folder} lacks a file that says how it is served ({error}). Export it again."
        ) from error
    return Served(door, core, settings)


def read_settings(served: Served) -> dict[str, int]:
    """
    Read the settings that may be chosen.

    Args:
        served: How the version is served.

    Returns:
        The value of each.
    """
    door, core = served.door_config, served.core_config
    found = {
        "door_instances": sum(group.count for group in door.instance_group),
        "core_instances": sum(group.count for group in core.instance_group),
        "max_batch_size": door.max_batch_size,
        "queue_delay_us": door.dynamic_batching.max_queue_delay_microseconds,
    }
    threads = core.parameters[_THREADS_KEY].string_value if _THREADS_KEY in core.parameters else "0"
    if int(threads) > 0:  # 0 leaves it to the GPU's runtime
        found["core_threads"] = int(threads)
    grouping = served.door_settings.get("grouping", {})
    if grouping.get("kind") == "padded_tokens":
        found |= {
            "limit_tokens": int(grouping["limit_tokens"]),
            "call_tokens": round(grouping["call_tokens"]),
        }
    elif grouping.get("kind") == "edges":
        found["edges"] = len(grouping["edges"])
    elif "group_rows" in served.door_settings:
        found["group_rows"] = served.door_settings["group_rows"]
    return found


def make_space(served: Served, cores: int, *, keeps_batch: bool) -> Space:
    """
    Say what may be chosen on this machine.

    Args:
        served: How the version is served.

        cores: Processor cores that Triton may use.

        keeps_batch: True leaves the largest batch as it is.

    Returns:
        The space.
    """
    present = read_settings(served)
    # One more than cores: while one door awaits its core, another one tokenizes.
    counts = tuple(range(1, min(cores, 8) + 1))
    choices = {
        "door_instances": _GPU_DOORS if served.is_on_gpu else (*counts, counts[-1] + 1),
        "core_instances": _GPU_CORES if served.is_on_gpu else counts,
        "core_threads": tuple(number for number in (1, 2, 4, 8, 16, 32, 64) if number <= cores),
        "max_batch_size": _BATCHES,
        "queue_delay_us": _DELAYS_US,
        "limit_tokens": _LIMIT_TOKENS,
        "call_tokens": _CALL_TOKENS,
        "edges": _EDGE_COUNTS,
        "group_rows": _GROUP_ROWS,
    }
    if keeps_batch or served.has_fixed_shapes:
        choices["max_batch_size"] = (present["max_batch_size"],)
    if served.has_fixed_shapes:
        choices["edges"] = (present.get("edges", 0),)

    def is_possible(candidate: Candidate) -> bool:
        # More threads than cores only wait for each other.
        return candidate["core_instances"] * candidate.get("core_threads", 0) <= max(cores, 2)

    return Space({name: values for name, values in choices.items() if name in present}, is_possible)


def suggest_settings(served: Served, space: Space, cores: int) -> list[dict[str, int]]:
    """
    Give what an export for this machine would choose today.

    Args:
        served: How the version is served.

        space: What may be chosen.

        cores: Processor cores that Triton may use.

    Returns:
        One combination; none for a GPU, whose exports don't depend on the machine.
    """
    if served.is_on_gpu:
        return []
    profile = cpu_profile(cores)
    chosen = {
        "door_instances": profile.door_instances,
        "core_instances": profile.core_instances,
        "core_threads": profile.core_threads,
        "max_batch_size": profile.max_batch_size,
        "queue_delay_us": 0,
        "limit_tokens": CPU_GROUPING.limit_tokens,
        "call_tokens": round(CPU_GROUPING.call_tokens),
    }
    present = read_settings(served)
    fixed = {name for name, values in space.choices.items() if len(values) == 1}
    return [present | {name: value for name, value in chosen.items() if name in present.keys() - fixed}]


def write_settings(served: Served, candidate: Candidate) -> Served:
    """
    Give a version other settings.

    Args:
        served: How it is served now; stays as it is.

        candidate: The settings.

    Returns:
        Copies with the settings; where one is as it was, nothing is touched.
    """
    changed = copy.deepcopy(served)
    present = read_settings(served)
    for name, value in candidate.items():
        if value != present[name]:
            _write(changed, name, value)
    if "group_rows" in changed.door_settings:
        rows = min(changed.door_settings["group_rows"], changed.door_settings["max_batch_size"])
        changed.door_settings["group_rows"] = rows
    return changed


def _write(served: Served, name: str, value: int) -> None:
    """Write one setting to wherever it stands."""
    door, core, settings = served.door_config, served.core_config, served.door_settings
    if name in {"door_instances", "core_instances"}:
        groups = (door if name == "door_instances" else core).instance_group
        del groups[1:]
        groups[0].count = value
    elif name == "queue_delay_us":
        door.dynamic_batching.max_queue_delay_microseconds = value
    elif name == "core_threads":
        core.parameters[_THREADS_KEY].string_value = str(value)
    elif name == "max_batch_size":
        _write_batch(served, value)
    elif name == "edges":
        settings["grouping"]["edges"] = sorted(_halve(settings["max_input_tokens"], value))
    elif name == "group_rows":
        settings[name] = value
    else:
        settings["grouping"][name] = value


def _write_batch(served: Served, rows: int) -> None:
    """Let door, core and warm-ups agree on the largest batch."""
    for warmup in served.core_config.model_warmup:
        if warmup.name != config_pbtxt.WARMUP_NAME and warmup.batch_size > 1:
            warmup.batch_size = rows
    served.door_config.max_batch_size = rows
    served.core_config.max_batch_size = rows
    served.door_settings["max_batch_size"] = rows


def _halve(longest: int, count: int) -> Iterator[int]:
    """Give the longest length and its halves, so many, down to 8 tokens."""
    for number in range(count):
        if number == 0 or longest >> number >= 8:  # noqa: PLR2004 - shorter rows gain nothing
            yield longest >> number
