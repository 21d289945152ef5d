"""
What each target is: the facts of its hardware, the software that still runs on it, and what can't be done there.

`profiles` says how a model runs on a target; this table says what the target can do at all. Asking for what it
can't do is refused here, with the reason and with what to use instead.

Nothing of this was run on a GPU by this project's own tests: the figures are the vendors', each with its source.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from export.errors import BadInput, TargetUnfit

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""Every number format that an encoder's graph can be exported in; `auto` chooses among a target's."""

GENERATOR_PRECISIONS = ("int4",)
"""Formats that only a text generator's graph is built in."""

AUTO = "auto"
"""The precision that stands for: the fastest one that passes parity."""

ENGINES = ("onnxruntime", "tensorrt", "vllm")
"""
What can run a model: Triton's onnxruntime backend; its TensorRT backend, with a plan built beforehand; and for text
generation its vLLM backend.
"""

ACCELERATORS = ("none", "tensorrt")
"""What may help the onnxruntime engine on a GPU: its CUDA provider alone, or TensorRT below it."""


@dataclass(frozen=True)
class Software:
    """The newest software that still runs on a kind of hardware."""

    triton_image: str
    """Image of Triton Inference Server."""

    triton_tensorrt_image: str
    """The same where TensorRT is used, be it as engine or as accelerator."""

    onnxruntime: str
    """Version of ONNX Runtime in *triton_image*."""

    tensorrt: str
    """Version of TensorRT in *triton_tensorrt_image*: a plan is read by the version that built it only."""

    tensorrt_install: str
    """How TensorRT's Python API of that version comes onto a machine with the GPU."""

    source: str
    """Where the versions come from."""


CURRENT = Software(
    triton_image="nvcr.io/nvidia/tritonserver:26.07-py3",
    triton_tensorrt_image="nvcr.io/nvidia/tritonserver:26.07-py3",
    onnxruntime="1.27.0",
    tensorrt="11",
    tensorrt_install="in the image nvcr.io/nvidia/tensorrt:26.07-py3, which has it",
    source=(
        "Triton's release notes 26.07 (compute capability 7.5 and later) and docs/introduction/compatibility.md; "
        "onnxruntime_backend bb4926b (TensorRT 11 from 26.06 on)"
    ),
)

VOLTA = Software(
    triton_image="nvcr.io/nvidia/tritonserver:24.10-py3",
    triton_tensorrt_image="nvcr.io/nvidia/tritonserver:24.09-py3",
    onnxruntime="1.19.2",
    tensorrt="10.4",
    tensorrt_install="with Python 3.11 or later: pip install tensorrt-cu12==10.4.0",
    source=(
        "server 377b31c (7.5 and later from 24.11 on), compatibility.md; TensorRT 10.5.0 release notes (no Volta); "
        "onnxruntime.ai, TensorRT provider: 1.20 is the last one on TensorRT 10.4"
    ),
)


@dataclass(frozen=True)
class Target:
    """One kind of hardware."""

    name: str
    """Its name on the command line."""

    title: str
    """Its maker's name for it."""

    compute_capability: str | None
    """CUDA compute capability; None for a CPU."""

    memory_gb: int | None
    """GPU memory as its maker counts it, in units of 10^9 bytes; None for a CPU."""

    multiprocessors: int | None
    """Streaming multiprocessors; None for a CPU."""

    precisions: tuple[str, ...]
    """Number formats that can be exported for it, the one expected to be fastest first."""

    refused: Mapping[str, str]
    """Why each of the other formats can't, and what to use instead."""

    software: Software
    """What still runs on it."""

    source: str
    """Where the facts come from."""

    features: tuple[str, ...] = field(default=())
    """On a CPU, what its instructions add; on a GPU, kinds of tensor cores."""

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.compute_capability is not None

    @property
    def runs_vllm(self) -> bool:
        """
        Whether vLLM's builds run on it: compute capability 7.5 and later.

        Source:
            vllm-project/vllm, issue 19185.
        """
        return self.compute_capability is not None and _as_number(self.compute_capability) >= _VLLM_LEAST

    def to_json(self) -> dict[str, Any]:
        """Return the row as `triton-export targets --json` prints it."""
        engines = [engine for engine in ENGINES if self.runs_vllm or engine != "vllm"]
        return asdict(self) | {"engines": engines if self.is_gpu else ENGINES[:1]}


_VLLM_LEAST = (7, 5)

_NO_GPU_INT8 = (
    "this version makes int8 graphs for CPUs only: their scales are computed while they run, and neither "
    "onnxruntime's CUDA provider nor TensorRT runs such graphs on tensor cores"
)

_CPU_HALF = (
    "onnxruntime computes {} in fp32 on a CPU, with conversions around: slower than fp32, and no nearer to it"
)

_SUPPORT_MATRIX = "TensorRT 10.1 support matrix, Hardware and Precision"
_MIG = "NVIDIA Multi-Instance GPU user guide, A100 MIG profiles: eighths of the memory, slices of 14 multiprocessors"


def _gpu(  # noqa: PLR0917 - a table's row, in its columns' order
    name: str,
    title: str,
    compute_capability: str,
    memory_gb: int,
    multiprocessors: int,
    features: tuple[str, ...],
    source: str,
) -> Target:
    """Make the row of a GPU; what it refuses follows from its tensor cores."""
    refused: dict[str, str] = {}
    if "bf16" not in features:
        refused["bf16"] = f"{title} (compute capability {compute_capability}) has no bfloat16; use fp16"
    if "int8" in features:
        refused["int8"] = f"{title} has int8 tensor cores, but {_NO_GPU_INT8}; use fp16"
    else:
        refused["int8"] = (
            f"{title} (compute capability {compute_capability}) has no int8 tensor cores; use fp16"
        )
    precisions = tuple(kind for kind in ("fp16", "bf16", "fp32") if kind not in refused)
    software = VOLTA if _as_number(compute_capability) < _VLLM_LEAST else CURRENT
    return Target(
        name=name,
        title=title,
        compute_capability=compute_capability,
        memory_gb=memory_gb,
        multiprocessors=multiprocessors,
        precisions=precisions,
        refused=refused,
        software=software,
        source=source,
        features=features,
    )


def _as_number(compute_capability: str) -> tuple[int, int]:
    """Make 8.9 comparable with 8.10."""
    major, minor = compute_capability.split(".")
    return int(major), int(minor)


def _mig_slices() -> list[Target]:
    """Make the rows of A100's slices: of the 40 GB card and of the 80 GB card, whose names differ by memory only."""
    slices = (
        ("1g.5gb", 5, 1),
        ("1g.10gb", 10, 1),
        ("1g.20gb", 20, 1),
        ("2g.10gb", 10, 2),
        ("2g.20gb", 20, 2),
        ("3g.20gb", 20, 3),
        ("3g.40gb", 40, 3),
        ("4g.20gb", 20, 4),
        ("4g.40gb", 40, 4),
    )
    return [
        _gpu(f"a100-{name}", f"A100 MIG {name}", "8.0", memory_gb, 14 * count, _AMPERE, _MIG)
        for name, memory_gb, count in slices
    ]


_AMPERE = ("tf32", "fp16", "bf16", "int8")
_ADA = (*_AMPERE, "fp8")


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """
    Read which instructions for small integers this machine's processor has.

    They decide what int8 gains: with VNNI one instruction multiplies and adds four pairs of bytes; with AVX2 alone it
    takes three.

    Args:
        cpuinfo: Linux's description of the processors.

    Returns:
        Those of `avx2`, `avx_vnni`, `avx512_vnni`, `amx_int8` that are there; empty where Linux doesn't say.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return ()
    flags = next(
        (line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), []
    )
    return tuple(name for name in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if name in flags)


def _cpu() -> Target:
    """Make the row of this machine's CPU."""
    return Target(
        name="cpu",
        title="x86-64 CPU",
        compute_capability=None,
        memory_gb=None,
        multiprocessors=None,
        precisions=("int8", "fp32"),
        refused={kind: f"{_CPU_HALF.format(kind)}; use int8 or fp32" for kind in ("fp16", "bf16")},
        software=CURRENT,
        source="onnxruntime's CPU kernels; instructions as this machine's processor has them",
        features=cpu_features(),
    )


def _rows() -> list[Target]:
    """List every target, CPU first, then GPUs by age."""
    return [
        _cpu(),
        _gpu("v100", "V100 16 GB", "7.0", 16, 80, ("fp16",), f"V100 data sheet; {_SUPPORT_MATRIX}"),
        _gpu("v100-32gb", "V100 32 GB", "7.0", 32, 80, ("fp16",), f"V100 data sheet; {_SUPPORT_MATRIX}"),
        _gpu("t4", "T4", "7.5", 16, 40, ("fp16", "int8"), f"T4 data sheet; {_SUPPORT_MATRIX}"),
        _gpu("a100", "A100 40 GB", "8.0", 40, 108, _AMPERE, f"A100 data sheet; {_SUPPORT_MATRIX}"),
        _gpu("a100-80gb", "A100 80 GB", "8.0", 80, 108, _AMPERE, f"A100 data sheet; {_SUPPORT_MATRIX}"),
        *_mig_slices(),
        _gpu("l4", "L4", "8.9", 24, 58, _ADA, f"L4 data sheet; {_SUPPORT_MATRIX}"),
        _gpu("h100", "H100 80 GB", "9.0", 80, 132, _ADA, f"H100 SXM data sheet; {_SUPPORT_MATRIX}"),
    ]


TARGETS: dict[str, Target] = {target.name: target for target in _rows()}
"""Every target by its name."""


def find_target(name: str) -> Target:
    """
    Find a target in the table.

    Args:
        name: Its name, as on the command line.

    Returns:
        The target.

    Raises:
        BadInput: If there is none of that name.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name, TARGETS, n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    raise BadInput(f"There is no target '{name}'.{meant} `triton-export targets` lists them all.")


def check_target(target: Target, engine: str, accelerator: str, precision: str) -> None:
    """
    Refuse what the hardware, or what still runs on it, can't do.

    Args:
        target: The hardware.

        engine: What runs the core.

        accelerator: What helps the onnxruntime engine.

        precision: The number format asked for, or `auto`.

    Raises:
        BadInput: If engine, accelerator or precision isn't one of the known ones.

        TargetUnfit: If the target can't do it, with the reason and what to use instead.
    """
    for what, asked, known in (
        ("engine", engine, ENGINES),
        ("accelerator", accelerator, ACCELERATORS),
        ("precision", precision, (AUTO, *PRECISIONS, *GENERATOR_PRECISIONS)),
    ):
        if asked not in known:
            raise BadInput(f"There is no {what} '{asked}'. Use one of: {', '.join(known)}.")
    if not target.is_gpu and engine != "onnxruntime":
        raise TargetUnfit(f"--engine {engine} needs a GPU target; use --engine onnxruntime for a CPU.")
    if engine == "vllm" and not target.runs_vllm:
        raise TargetUnfit(
            f"vLLM's builds start at compute capability 7.5, and {target.title} has {target.compute_capability}; "
            "use --engine onnxruntime."
        )
    if not target.is_gpu and accelerator != "none":
        raise TargetUnfit("--accelerator tensorrt needs a GPU target; leave it out for a CPU.")
    if engine != "onnxruntime" and accelerator != "none":
        raise TargetUnfit("--accelerator helps --engine onnxruntime only. Leave it out.")
    if precision in target.refused:
        raise TargetUnfit(f"--precision {precision} can't be used here: {target.refused[precision]}.")


def check_task_fits(task: str, engine: str, precision: str) -> None:
    """
    Refuse an engine or a precision that isn't for a model of this kind; known once the model's files were read.

    Args:
        task: What the model does.

        engine: What runs it.

        precision: The number format asked for.

    Raises:
        BadInput: If they don't go together.
    """
    generates = task == "text-generation"
    if generates and engine == "tensorrt":
        raise BadInput("--engine tensorrt isn't for text generation; use --engine vllm on a GPU.")
    if not generates and engine == "vllm":
        raise BadInput(f"--engine vllm is for text generation, and this model does {task}; leave it out.")
    if not generates and precision in GENERATOR_PRECISIONS:
        raise BadInput(
            f"--precision {precision} is for text generation, and this model does {task}; use int8."
        )
