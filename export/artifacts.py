"""The frozen values that travel between the steps; a step gets them and returns them, and keeps no state."""

from dataclasses import dataclass
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
class TensorSpec:
    """One tensor of a model, as a config declares it."""

    name: str
    """Its name."""

    datatype: str
    """Its datatype, as KServe spells it: BYTES, INT64, FP32, UINT32."""

    dims: tuple[int, ...]
    """Its shape without the batch; -1 is any length."""


@dataclass(frozen=True)
class Graph:
    """An ONNX file with one output that the door needs."""

    path: Path
    """The `.onnx` file; a large one has its weights in files beside it."""

    inputs: tuple[TensorSpec, ...]
    """Its inputs, without the batch."""

    output_name: str
    """Name of its float32 output of shape (batch, width)."""

    width: int
    """Length of one row of the output: a vector's dimension, or the number of labels."""

    opset: int
    """ONNX operator set version."""

    precision: str = "fp32"
    """Number format of its weights."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(spec.name for spec in self.inputs)


@dataclass(frozen=True)
class Draft:
    """All of one version, complete but for the manifest, in a folder that nobody reads yet."""

    door_folder: Path
    """What becomes `<name>/<version>/`."""

    core_folder: Path | None
    """What becomes `<name>_core/<version>/`; None for a model that has no core."""

    graph: Graph
    """The graph inside *core_folder*, or inside *door_folder* of a model without core."""


@dataclass(frozen=True)
class ParityPoint:
    """One comparison: a batch of inputs through the whole door, against the original."""

    label: str
    """What kind of inputs."""

    batch_size: int
    """Inputs in the batch."""

    max_tokens: int
    """Tokens of its longest input, before truncation; 0 for images."""

    figures: dict[str, float]
    """The worst of each figure in this batch, by the figure's name."""


@dataclass(frozen=True)
class ParityReport:
    """The figures of a passed comparison."""

    measure: str
    """What the task is measured by: cosine, top1, rank, greedy or perplexity."""

    points: tuple[ParityPoint, ...]
    """Every batch that was compared."""

    figures: dict[str, float]
    """The worst of each figure; the start of its name (`min_`, `max_`) says which end is the worst."""

    required: dict[str, float]
    """What the table asks of each figure."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as the manifest records it, equal to what is read back from the file."""
        return {
            "measure": self.measure,
            **self.figures,
            **{f"required_{name}": bound for name, bound in self.required.items()},
            "points": [
                {
                    "label": point.label,
                    "batch_size": point.batch_size,
                    "max_tokens": point.max_tokens,
                    **point.figures,
                }
                for point in self.points
            ],
        }


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
