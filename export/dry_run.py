"""
What an export would write, told without converting anything and without the GPU: the output of `--dry-run`.

It is Markdown, so that it can be kept beside a deployment; `docs/examples/` holds such outputs. The configs come from
the same functions as a real export's. Only the graph is foretold, from the model's own files.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.artifacts import Graph, SourceModel, TensorSpec
from export.config_core import core_config
from export.config_pbtxt import to_text
from export.disk import versions_on_disk
from export.engines import ENGINE_CACHE_FOLDER, CoreEngine, plan_file
from export.errors import BadInput
from export.from_files import read_json
from export.manifest import MANIFEST_FILE
from export.options import ExportOptions
from export.precisions import wanted
from export.profiles import profile_for
from export.runtime import RUNTIME_BY_TASK, runtime_files
from export.targets import Target, find_target
from export.tasks import load_task
from export.transition import CORE_CONFIG, DOOR_CONFIG

DOOR_PACKAGES = {
    # With NumPy 2, the Python backend of Triton 2.51 hands out empty tensors.
    "text_encoder": ("numpy<2", "tokenizers"),
    "image_encoder": ("numpy<2", "pillow"),
}
"""What a door's code imports and Triton's images lack."""

TOKEN_TYPES = frozenset({"albert", "bert", "electra", "ernie", "layoutlm", "mpnet-bert", "nezha", "roformer"})
"""Architectures whose classifiers take `token_type_ids`; an embedder's graph takes none."""


@dataclass(frozen=True)
class Preview:
    """What an export would write."""

    options: ExportOptions
    """What was asked for."""

    target: Target
    """The hardware."""

    version: int
    """The version it would become."""

    files: tuple[str, ...]
    """Every file, from the repository's folder on."""

    door_config: Any
    """The door's ModelConfig message."""

    core_config: Any
    """The core's ModelConfig message."""

    door_settings: dict[str, Any]
    """The content of `door.json`."""

    precision: str
    """The number format that is expected to be published."""

    task: str
    """What the model does."""


def preview(options: ExportOptions, source: SourceModel) -> Preview:
    """
    Work out what an export would write.

    Args:
        options: What was asked for, already checked.

        source: The model, found.

    Returns:
        The preview.

    Raises:
        BadInput: If the model's task has no preview.
    """
    target = find_target(options.target)
    profile = profile_for(options.target).fit(source.max_input_tokens)
    graph = expected_graph(source)
    graph = replace(graph, precision=wanted(target, options.precision, graph, source.task)[0])
    engine = _engine(options, target)
    task = load_task(source.task, options)
    version = max([0, *versions_on_disk(options.repository / options.name)]) + 1
    # The time of the export is the one thing that isn't known yet.
    card = task.card(source, graph) | {"created": 0, "release": {"stable": version}}
    files = task.door_files(source, graph, profile)
    settings = files.settings | {"core_model": options.core_name}
    return Preview(
        options=options,
        target=target,
        version=version,
        files=_list_files(options, source, version, [path.name for path in files.copied], engine),
        door_config=task.door_config(options.name, card, profile, [version]),
        core_config=core_config(options.core_name, graph, profile, [version], engine),
        door_settings=settings,
        precision=graph.precision,
        task=source.task,
    )


def expected_graph(source: SourceModel) -> Graph:
    """
    Foretell an encoder's graph from the model's files.

    Args:
        source: The model.

    Returns:
        The graph in fp32; its file isn't there.

    Raises:
        BadInput: If the model's task has no preview.
    """
    config = read_json(source.folder / "config.json")
    names = ["input_ids", "attention_mask"]
    if source.task == "image-classification":
        return _expected_image_graph(source)
    if source.task == "embedding":
        output, width = _embedding_output(source.folder, config)
    elif source.task == "text-classification":
        output, width = "scores", len(source.labels)
    elif source.task == "reranking":
        output, width = "score", 1
    else:
        raise BadInput(f"There is no --dry-run for {source.task}; it is there for encoders.")
    if source.task != "embedding" and config.get("model_type") in TOKEN_TYPES:
        names.append("token_type_ids")
    inputs = tuple(TensorSpec(name, "INT64", (-1,)) for name in names)
    return Graph(source.folder / "model.onnx", inputs, output, width, opset=18)


def write_markdown(shown: Preview) -> str:
    """
    Write a preview as a page.

    Args:
        shown: The preview.

    Returns:
        The page, with a line feed at its end.
    """
    command = shlex.join(_command(shown.options))
    title = f"{shown.options.name} on {shown.target.title}: {_engine_words(shown.options)}, {shown.precision}"
    parts = [
        f"# {title}",
        f"What this command writes, as `--dry-run` prints it. **{_state(shown.target)}**",
        _block("sh", command),
        "## Files",
        _block("text", "\n".join(shown.files)),
        f"## {shown.options.name}/config.pbtxt",
        _block("pbtxt", to_text(shown.door_config)),
        f"## {shown.options.core_name}/config.pbtxt",
        _block("pbtxt", to_text(shown.core_config)),
        f"## {shown.options.name}/{shown.version}/door.json",
        _block("json", json.dumps(shown.door_settings, indent=2)),
    ]
    if shown.options.engine == "tensorrt":
        parts += ["## Build the plan", *_build_words(shown)]
    parts += ["## Serve it", *_serve_words(shown)]
    return "\n\n".join(parts) + "\n"


def to_json(shown: Preview) -> dict[str, Any]:
    """
    Return a preview as JSON values, for programs.

    Args:
        shown: The preview.

    Returns:
        The version, the files, both configs as text, the door's settings, the images.
    """
    return {
        "version": shown.version,
        "precision": shown.precision,
        "files": list(shown.files),
        "door_config": to_text(shown.door_config),
        "core_config": to_text(shown.core_config),
        "door.json": shown.door_settings,
        "triton_image": _image(shown),
        "software": shown.target.to_json()["software"],
    }


def _engine(options: ExportOptions, target: Target) -> CoreEngine:
    """Name what would run the core."""
    if options.engine != "tensorrt":
        return CoreEngine(accelerator=options.accelerator)
    capability = str(target.compute_capability)
    return CoreEngine("tensorrt", plans={capability: plan_file(capability)})


def _expected_image_graph(source: SourceModel) -> Graph:
    """Foretell an image classifier's graph; its image processor says how large an image is."""
    # Imported here because it brings torch, and text models need none of it.
    from export.original_image import load_image_original, read_preprocessing  # noqa: PLC0415
    from export.to_onnx_image import PIXELS_INPUT, SCORES_OUTPUT  # noqa: PLC0415

    _, processor = load_image_original(source)
    inputs = (TensorSpec(PIXELS_INPUT, "FP32", read_preprocessing(source, processor).shape),)
    return Graph(source.folder / "model.onnx", inputs, SCORES_OUTPUT, len(source.labels), opset=18)


def _embedding_output(folder: Path, config: dict[str, Any]) -> tuple[str, int]:
    """Foretell an embedder's output: its name and its width, shortened or by its last layer or its pooling."""
    settings = folder / "config_sentence_transformers.json"
    shortened = read_json(settings).get("truncate_dim") if settings.exists() else None
    if shortened:
        return "shortened_embedding", int(shortened)
    dense = sorted(folder.glob("*_Dense/config.json"))
    if dense:
        return "sentence_embedding", int(read_json(dense[-1])["out_features"])
    hidden = int(next(config[key] for key in ("hidden_size", "dim", "d_model", "n_embd") if key in config))
    pooling = next(iter(sorted(folder.glob("*_Pooling/config.json"))), None)
    modes = (
        [on for key, on in read_json(pooling).items() if key.startswith("pooling_mode_")] if pooling else []
    )
    return "sentence_embedding", hidden * max(1, sum(bool(on) for on in modes))


def _list_files(
    options: ExportOptions, source: SourceModel, version: int, copied: Sequence[str], engine: CoreEngine
) -> tuple[str, ...]:
    """List every file, as the repository's readers see it."""
    own = [path.name for path in runtime_files(source.task)]
    door = sorted({*own, *copied, "door.json", MANIFEST_FILE, DOOR_CONFIG, CORE_CONFIG})
    core = sorted({"model.onnx", *engine.plans.values()})
    return (
        f"{options.name}/config.pbtxt",
        *(f"{options.name}/{version}/{name}" for name in door),
        f"{options.core_name}/config.pbtxt",
        *(f"{options.core_name}/{version}/{name}" for name in core),
    )


def _command(options: ExportOptions) -> list[str]:
    """Write the export as a command; a folder is shown as the id it is recorded by."""
    words = ["triton-export", "export", options.model_id or options.model, "--name", options.name]
    words += ["--target", options.target, "--engine", options.engine]
    if options.accelerator != "none":
        words += ["--accelerator", options.accelerator]
    return [*words, "--precision", options.precision]


def _engine_words(options: ExportOptions) -> str:
    """Name the engine as a reader would."""
    if options.engine == "tensorrt":
        return "a TensorRT plan"
    return "onnxruntime with TensorRT" if options.accelerator == "tensorrt" else "onnxruntime"


def _state(target: Target) -> str:
    """Say whether this was run on such hardware."""
    if not target.is_gpu:
        return "Run here, on a CPU."
    return f"Not run here: there was no {target.title}. The configs are checked, and parity is compared on a CPU."


def _image(shown: Preview) -> str:
    """Choose the image: TensorRT may need an older one."""
    uses_tensorrt = "tensorrt" in {shown.options.engine, shown.options.accelerator}
    software = shown.target.software
    return software.triton_tensorrt_image if uses_tensorrt else software.triton_image


def _build_words(shown: Preview) -> list[str]:
    """Say where and how the plan is built, and how one for another GPU joins it."""
    software, name = shown.target.software, shown.options.name
    other = "v100" if shown.target.compute_capability != "7.0" else "a100"
    return [
        (
            f"The export itself builds the plan, on a machine with {shown.target.title} and TensorRT "
            f"{software.tensorrt} ({software.tensorrt_install}). A version that was exported for onnxruntime gets it "
            "there by the command below. *Not run here: it needs that GPU.*"
        ),
        _block("sh", f"triton-export build-plan {name} --target {shown.options.target}"),
        (
            "One repository can serve several kinds of GPU: each adds its own plan to the same version, and Triton "
            "picks it by compute capability (`cc_model_filenames`). *Not run here: it needs that other GPU.*"
        ),
        _block("sh", f"triton-export build-plan {name} --target {other}    # on that machine"),
    ]


def _serve_words(shown: Preview) -> list[str]:
    """Say how Triton serves it: the image, what the door needs beside it, what has to stay on a disk."""
    packages = DOOR_PACKAGES[RUNTIME_BY_TASK[shown.task]]
    mounts = ['-v "$PWD/model_repository:/models"']
    if shown.options.accelerator == "tensorrt":
        mounts.append(f'-v "$PWD/tensorrt-cache:{ENGINE_CACHE_FOLDER}"')
    device = "--gpus all " if shown.target.is_gpu else ""
    if "MIG" in shown.target.title:
        device = "--gpus device=MIG-... "
    inner = f"pip install {shlex.join(packages)} && tritonserver --model-repository=/models"
    lines = [
        f"docker run --rm {device}--shm-size=1g -p 8000:8000 -p 8001:8001 -p 8002:8002 \\",
        f"  {' '.join(mounts)} \\",
        f"  {_image(shown)} \\",
        f'  sh -c "{inner} --model-control-mode=explicit --load-model=*"',
    ]
    needed = "Docker and that GPU" if shown.target.is_gpu else "Docker"
    words = [f"*Not run here: it needs {needed}.*"]
    words += [_block("sh", "\n".join(lines)), f"Versions: {shown.target.software.source}."]
    if shown.options.accelerator == "tensorrt":
        words.append(
            "The first start builds an engine for minutes, before the model is ready; keep the cache's folder, and "
            "later starts take seconds."
        )
    return words


def _block(kind: str, text: str) -> str:
    """Fence a text."""
    return f"```{kind}\n{text.rstrip()}\n```"
