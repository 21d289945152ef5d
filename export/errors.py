"""
What can go wrong in an export, each kind with its own exit code.

    ExportError
    |- BadInput            2   the command asks for something that can't be
    |  `- TargetUnfit      2   ... on that hardware
    |- ModelNotFound       3   nothing there, or not allowed to read it
    |- ModelUnreadable     3   there, but broken or not a model of this kind
    |- ParityFailed        4   the exported model doesn't answer like the original
    |- RepositoryError     5   the model repository can't be read or written
    |- ConversionFailed    6   the model loads, but can't be turned into a graph
    |- ExtraMissing        7   the packages that convert models aren't installed
    |- GpuNeeded           8   this step needs the GPU that will serve the model, or its software
    |- FollowFailed        9   a running Triton didn't follow; what was served before still is
    `- FilesChanged       10   a version's files aren't those that were exported

A message is one sentence that says what happened, and one that says what to do.
"""

from typing import ClassVar


class ExportError(Exception):
    """An export that ended without publishing anything; the message is for the person at the terminal."""

    exit_code: ClassVar[int] = 1


class BadInput(ExportError):
    """The command asks for something that can't be: a bad name, a model that needs a flag not given."""

    exit_code = 2


class TargetUnfit(BadInput):
    """The command asks for something that the target's hardware, or what still runs on it, can't do."""


class ModelNotFound(ExportError):
    """There is no such model, or it is gated or private and these credentials don't open it."""

    exit_code = 3


class ModelUnreadable(ExportError):
    """The model's files are incomplete, damaged or of a kind that the export doesn't know."""

    exit_code = 3


class ParityFailed(ExportError):
    """The exported model's answers differ from the original's by more than the table allows."""

    exit_code = 4


class RepositoryError(ExportError):
    """The model repository can't be read, written or locked, or someone else's model has the name."""

    exit_code = 5


class ConversionFailed(ExportError):
    """The model loads, but the exporter can't make a graph of it."""

    exit_code = 6


class ExtraMissing(ExportError):
    """The packages of the `export` extra aren't installed."""

    exit_code = 7


INSTALL_EXTRA = "Install what converts models with: pip install 'triton-facade[export]'"
"""The remedy of `ExtraMissing`. Where the project is installed, pip adds what the extra has."""


class GpuNeeded(ExportError):
    """A plan can be built on the GPU that will serve it only, and this machine lacks the GPU or TensorRT."""

    exit_code = 8


class FollowFailed(ExportError):
    """A running Triton can't follow a release, or couldn't load it; the release is as it was."""

    exit_code = 9


class FilesChanged(ExportError):
    """A published version's files aren't those that its manifest names."""

    exit_code = 10


EXIT_CODES: dict[int, str] = {
    0: "done",
    2: "usage or bad input",
    3: "model not found or unreadable",
    4: "parity with the original failed",
    5: "model repository can't be read, written or locked",
    6: "model can't be converted",
    7: "the export extra isn't installed",
    8: "this step needs the GPU that will serve the model",
    9: "a running Triton didn't follow, so the release is as it was",
    10: "a version's files aren't those that were exported",
    130: "stopped by Ctrl-C",
}
"""Every exit code of `triton-export`, as the commands' help prints them; 70 is a bug."""
