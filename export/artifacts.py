"""The frozen values that travel between the steps; a step gets them and returns them, and keeps no state."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Activation = Literal["Softmax", "Sigmoid", "Identity"]
"""The ONNX operator that turns logits into scores."""


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
    """Tokens after which the original truncates, special tokens included; 0 for images."""

    pad_id: int
    """Token id of padding."""

    trust_remote_code: bool = False
    """True if its own Python code may run."""

    truncation_side: str = "right"
    """The end at which an over-long input is cut: left or right."""

    labels: tuple[str, ...] = ()
    """Names of a classifier's labels, in the order of its scores."""

    matryoshka_dimensions: tuple[int, ...] = ()
    """Shorter dimensions that an embedder was trained for, if its files say so."""

    notes: tuple[str, ...] = ()
    """What its files left open, and how that was decided: sentences for the person at the terminal."""

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
class BatchSpeed:
    """How long one graph took for one batch."""

    rows: int
    """Rows of the batch."""

    tokens: int
    """Tokens of each row; 0 for images."""

    median_ms: float
    """Milliseconds in the median round."""

    least_ms: float
    """In the fastest round."""

    most_ms: float
    """In the slowest round."""


@dataclass(frozen=True)
class Speed:
    """How fast one graph ran."""

    rows_per_s: float
    """Rows a second in the median round."""

    least_rows_per_s: float
    """In the slowest round."""

    most_rows_per_s: float
    """In the fastest round."""

    rounds: int
    """How many rounds there were."""

    batches: tuple[BatchSpeed, ...] = ()
    """Each batch of a round by itself."""


@dataclass(frozen=True)
class Trial:
    """What became of one candidate."""

    precision: str
    """Its number format."""

    size_bytes: int
    """Size of its graph with the weights."""

    parity: Mapping[str, float] | None = None
    """The figures of its comparison; None if it failed."""

    failure: str | None = None
    """Why it failed."""

    speed: Speed | None = None
    """How fast it ran here; None if it wasn't measured."""

    chosen: bool = False
    """Whether it is the one that is published."""

    def to_json(self) -> dict[str, Any]:
        """Return the trial as the manifest records it."""
        content = asdict(self)
        return {name: value for name, value in content.items() if value is not None}


@dataclass(frozen=True)
class Publication:
    """What an export left behind."""

    name: str
    """The model's name."""

    version: int
    """The version."""

    repository: Path
    """The model repository."""

    manifest: dict[str, Any]
    """The version's provenance."""

    is_stable: bool = True
    """False if it is a candidate: on disk, and not answering yet."""

    is_new: bool = True
    """False if an equal version was there already and nothing was published."""
