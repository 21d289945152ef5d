"""What a task's module offers to the pipeline, as a protocol that mypy holds each module to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from export.artifacts import Draft, Graph, ParityReport, SourceModel
from export.profiles import TargetProfile


@dataclass(frozen=True)
class DoorFiles:
    """What a door's folder holds besides its code."""

    copied: tuple[Path, ...]
    """The original's files that go in byte for byte, under their own names."""

    settings: dict[str, Any]
    """The content of `door.json`: all that the door needs to know at run time, but for the core's name."""

    has_core: bool = True
    """False puts the graph's files into the door's folder: the version is one model."""

    has_code: bool = True
    """False leaves the door's code out: the backend brings its own."""

    settings_file: str | None = "door.json"
    """Name of the file with the settings, as the door's code reads it; None for none."""


class Task(Protocol):
    """The steps of one task, in the order in which the pipeline calls them."""

    def convert(self, source: SourceModel, folder: Path) -> Graph:
        """
        Convert the original into an fp32 graph.

        Args:
            source: The original's files.

            folder: Where the graph goes; holds nothing else afterwards.

        Returns:
            The graph.
        """
        ...

    def door_files(self, source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
        """
        Collect what the door needs beside its code.

        Args:
            source: The original's files.

            graph: The graph, in its final precision.

            profile: The target's numbers.

        Returns:
            The files and settings.
        """
        ...

    def card(self, source: SourceModel, graph: Graph) -> dict[str, Any]:
        """
        Collect what the façade needs to know, but for the release, which publishing adds.

        Args:
            source: The original's files.

            graph: The graph.

        Returns:
            The model card.
        """
        ...

    def door_config(
        self, name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]
    ) -> Any:
        """
        Describe the door to Triton.

        Args:
            name: The model's name.

            card: The model card, with its release.

            profile: The target's numbers.

            versions: Versions that Triton serves.

        Returns:
            The ModelConfig message.
        """
        ...

    def compare(self, source: SourceModel, draft: Draft, precision: str) -> ParityReport:
        """
        Compare an assembled version with the original, through the whole door.

        Args:
            source: The original's files.

            draft: The version's folders.

            precision: The number format of the graph; picks the tolerance.

        Returns:
            The figures, all within the tolerance.

        Raises:
            ParityFailed: If one of them isn't, naming the worst input.
        """
        ...
