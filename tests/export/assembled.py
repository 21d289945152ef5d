"""A model taken through conversion and assembly, as far as the comparison with the original."""

from dataclasses import dataclass
from pathlib import Path

from export import from_hub, profiles, tasks, to_triton
from export.artifacts import Draft, ParityReport, SourceModel
from export.options import ExportOptions
from export.tasks.base import Task


@dataclass(frozen=True)
class Assembled:
    """A version that could be compared and published."""

    source: SourceModel
    """The original's files."""

    task: Task
    """Its task's steps."""

    draft: Draft
    """The version's folders."""

    def compare(self) -> ParityReport:
        """Compare it with the original, in fp32."""
        return self.task.compare(self.source, self.draft, "fp32")


def assemble(model: Path, work: Path, *, task: str | None = None) -> Assembled:
    """
    Convert and assemble a model.

    Args:
        model: Its folder.

        work: An existing folder to work in.

        task: What to export it for; None is what its files say.

    Returns:
        The version.
    """
    options = ExportOptions(model=str(model), name="tiny", repository=work, task=task)
    source = from_hub.find_model(options)
    steps = tasks.load_task(source.task, options)
    graph = steps.convert(source, work / "graph")
    (work / "staging").mkdir()
    draft = to_triton.assemble(options, source, graph, profiles.cpu_profile(2), work / "staging")
    return Assembled(source, steps, draft)
