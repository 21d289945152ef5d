"""The frozen values that travel between the steps; a step gets them and returns them, and keeps no state."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceModel:
    """A model on this machine's disk, and what its own files say about it."""

    folder: Path
    """Where its files are."""

    model_id: str
    """Its id on the hub, or the name recorded for a folder."""

    revision: str | None
    """The commit on the hub; None for a folder."""

    fingerprint: str
    """SHA-256 over the names and contents of its files: equal only if nothing changed."""

    task: str
    """What it does, in the tensor contract's words."""

    max_input_tokens: int
    """Tokens after which the original truncates, special tokens included."""

    pad_id: int
    """Token id of padding."""

    trust_remote_code: bool = False
    """True if its own Python code may run."""

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer's file."""
        return self.folder / "tokenizer.json"


@dataclass(frozen=True)
class Graph:
    """An ONNX file with one output that the door needs."""

    path: Path
    """The `.onnx` file; a large one has its weights in files beside it."""

    input_names: tuple[str, ...]
    """Names of its int64 inputs of shape (batch, sequence)."""

    output_name: str
    """Name of its float32 output of shape (batch, dimension)."""

    dimension: int
    """Length of one vector."""

    opset: int
    """ONNX operator set version."""


@dataclass(frozen=True)
class Draft:
    """Both models of one version, complete but for the manifest, in a folder that nobody reads yet."""

    door_folder: Path
    """What becomes `<name>/<version>/`."""

    core_folder: Path
    """What becomes `<name>_core/<version>/`."""

    graph: Graph
    """The graph inside *core_folder*."""


@dataclass(frozen=True)
class ParityPoint:
    """One comparison: a batch of texts through the whole door, against the original."""

    label: str
    """What kind of texts."""

    batch_size: int
    """Texts in the batch."""

    max_tokens: int
    """Tokens of its longest text, before truncation."""

    min_cosine: float
    """Lowest cosine between a text's two vectors."""


@dataclass(frozen=True)
class ParityReport:
    """The figures of a passed comparison."""

    points: tuple[ParityPoint, ...]
    """Every batch that was compared."""

    min_cosine: float
    """The lowest cosine of all."""

    max_norm_difference: float
    """The largest relative difference between the lengths of a text's two vectors."""

    required_min_cosine: float
    """What the table asks for."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as the manifest records it, equal to what is read back from the file."""
        return asdict(self) | {"points": [asdict(point) for point in self.points]}


@dataclass(frozen=True)
class Publication:
    """What an export left behind."""

    name: str
    """The model's name."""

    version: int
    """The version that is stable now."""

    repository: Path
    """The model repository."""

    manifest: dict[str, Any]
    """The version's provenance."""

    is_new: bool = True
    """False if an equal version was there already and nothing was published."""
