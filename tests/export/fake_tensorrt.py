"""
A stand-in for the module `tensorrt`, at the border where the export calls it; no GPU and no TensorRT are at hand.

It has the names and arguments of TensorRT's Python API that are used, notes what it is asked for, and serialises
a "plan" that is a text about it.
"""

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


def make_module(  # noqa: C901 - a module's classes, all of them short
    version: str = "11.1.0", *, rejects: str = "", finds_no_kernel: bool = False
) -> ModuleType:
    """
    Make the module.

    Args:
        version: What it calls itself.

        rejects: Why its parser takes no graph; empty takes all.

        finds_no_kernel: True gives no plan, and tells the logger why.

    Returns:
        The module; `asked` on it is what the builder was told.
    """
    module: Any = ModuleType("tensorrt")
    asked = SimpleNamespace(profiles=[], workspace=None, timing=None, flags=None, graph=None)

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    class Cache:
        def serialize(self) -> bytes:
            return b"timings"

    class Profile:
        def set_shape(self, *shapes: Any) -> None:
            asked.profiles[-1].append(shapes)

    class Config:
        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            asked.workspace = (pool, size)

        def add_optimization_profile(self, profile: Profile) -> int:
            assert isinstance(profile, Profile)
            return len(asked.profiles) - 1

        def create_timing_cache(self, known: bytes) -> Cache:
            asked.timing = known
            return Cache()

        def set_timing_cache(self, cache: Cache, *, ignore_mismatch: bool) -> bool:
            return isinstance(cache, Cache) and not ignore_mismatch

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def create_network(self, flags: int) -> object:
            asked.flags = flags
            return object()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            asked.profiles.append([])
            return Profile()

        def build_serialized_network(self, _network: object, _config: Config) -> bytes | None:
            if finds_no_kernel:
                self._logger.log(ILogger.Severity.WARNING, "just a warning")
                self._logger.log(ILogger.Severity.ERROR, "  no kernel for node dense \n")
                return None
            return f"plan of {version}".encode()

    class OnnxParser:
        num_errors = 1

        def __init__(self, _network: object, _logger: Any) -> None:
            pass

        def parse_from_file(self, path: str) -> bool:
            asked.graph = Path(path)
            return not rejects

        def get_error(self, _place: int) -> Any:
            return SimpleNamespace(desc=lambda: rejects)

    module.__version__ = version
    module.__spec__ = SimpleNamespace(name="tensorrt")
    module.asked = asked
    module.ILogger, module.Builder, module.OnnxParser = ILogger, Builder, OnnxParser
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    return module
