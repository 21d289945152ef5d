"""What an export would write: equal to what one writes, and to the examples in the documentation."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from export import dry_run, from_hub, pipeline
from export.artifacts import Publication
from export.cli import main
from export.config_pbtxt import from_text, read_card, read_config
from export.errors import BadInput
from export.options import ExportOptions, check_options
from export.progress import Progress
from export.tasks import load_task
from tests.export.tiny_model import make_tiny_classifier, make_tiny_model
from tests.export.tiny_vit import make_tiny_vit
from tests.stack import find_model_folder

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"

SHOWN = {
    "a100-onnxruntime": ("a100", "onnxruntime", "none", "fp16"),
    "a100-onnxruntime-tensorrt": ("a100", "onnxruntime", "tensorrt", "fp16"),
    "a100-tensorrt": ("a100", "tensorrt", "none", "fp16"),
    "a100-mig-bf16": ("a100-1g.5gb", "onnxruntime", "none", "bf16"),
    "v100-onnxruntime": ("v100", "onnxruntime", "none", "fp16"),
    "v100-onnxruntime-tensorrt": ("v100", "onnxruntime", "tensorrt", "fp16"),
    "v100-tensorrt": ("v100", "tensorrt", "none", "fp16"),
}
"""The examples: target, engine, accelerator and precision of each."""


def show(name: str) -> str:
    """Preview an example."""
    target, engine, accelerator, precision = SHOWN[name]
    options = ExportOptions(
        model=str(find_model_folder()),
        name="minilm",
        repository=Path("model_repository_of_examples"),
        model_id=MODEL_ID,
        target=target,
        engine=engine,
        accelerator=accelerator,
        precision=precision,
    )
    check_options(options)
    return dry_run.write_markdown(dry_run.preview(options, from_hub.find_model(options)))


@pytest.mark.parametrize("name", SHOWN)
def test_the_documentations_examples_are_what_is_printed(name: str) -> None:
    """Each example is the output of its own command; run it again and write it there if this fails."""
    assert (EXAMPLES / f"{name}.md").read_text(encoding="utf-8") == show(name)


def test_there_is_no_other_example() -> None:
    """No page is left behind that no command makes."""
    assert {path.stem for path in EXAMPLES.glob("*.md")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_every_examples_config_is_parsed_back(name: str) -> None:
    """What the pages show is what Triton's parser reads; each is marked as not run."""
    page = (EXAMPLES / f"{name}.md").read_text(encoding="utf-8")
    door, core = (
        from_text(text)
        for text in re.findall(r"config\.pbtxt\n\n```pbtxt\n(.*?)\n```", page, flags=re.DOTALL)
    )
    assert (door.name, core.name) == ("minilm", "minilm_core")
    assert "Not run here" in page
    assert "bf16" not in page or SHOWN[name][3] == "bf16"


@pytest.mark.parametrize(
    ("target", "accelerator", "precision"),
    [("cpu", "none", "fp32"), ("cpu", "none", "int8"), ("a100", "tensorrt", "fp16"), ("l4", "none", "bf16")],
)
def test_a_preview_is_what_an_export_writes(
    options: ExportOptions, target: str, accelerator: str, precision: str
) -> None:
    """Files, both configs and the door's settings are those of the real export of the same command."""
    wanted = replace(options, target=target, accelerator=accelerator, precision=precision)
    shown = dry_run.preview(wanted, from_hub.find_model(wanted))
    assert not options.repository.exists()
    published = pipeline.run_export(wanted, Progress(None))
    written = {
        path.relative_to(options.repository).as_posix()
        for path in options.repository.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    assert set(shown.files) == written
    assert shown.version == published.version
    assert read_config(options.repository / "tiny_core") == shown.core_config
    door = read_config(options.repository / "tiny")
    card, foretold = read_card(door), read_card(shown.door_config)
    assert card is not None
    assert foretold is not None
    assert card | {"created": 0} == foretold
    door.parameters["model_card"].string_value = shown.door_config.parameters["model_card"].string_value
    assert door == shown.door_config
    settings = json.loads((options.repository / "tiny" / "1" / "door.json").read_text(encoding="utf-8"))
    assert settings == json.loads(json.dumps(shown.door_settings))


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: make_tiny_classifier(folder, num_labels=3),
        lambda folder: make_tiny_classifier(folder, num_labels=1),
        make_tiny_vit,
        lambda folder: make_tiny_model(folder, is_normalized=False),
    ],
    ids=["text-classification", "reranking", "image-classification", "embedding"],
)
def test_a_graph_is_foretold_as_it_will_be(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """For each kind of encoder, inputs, output and width are those of the converted graph."""
    options = ExportOptions(str(make(tmp_path / "model")), "tiny", tmp_path / "repository")
    source = from_hub.find_model(options)
    graph = load_task(source.task, options).convert(source, tmp_path / "graph")
    foretold = dry_run.expected_graph(source)
    assert foretold.inputs == graph.inputs
    assert (foretold.output_name, foretold.width) == (graph.output_name, graph.width)


def test_a_preview_counts_versions_on(published: Publication, options: ExportOptions) -> None:
    """Beside a published version, the preview has the next number."""
    wanted = replace(options, repository=published.repository)
    assert dry_run.preview(wanted, from_hub.find_model(wanted)).version == published.version + 1


def test_the_command_prints_it_and_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """`--dry-run` gives Markdown, or JSON for programs, and leaves no repository behind."""
    words = ["export", str(tiny_model), "--name", "tiny", "--target", "v100", "--engine", "tensorrt"]
    words += ["--precision", "fp16", "--repository", str(tmp_path / "repository"), "--dry-run"]
    page = CliRunner().invoke(main, words)
    assert page.exit_code == 0
    assert page.output.startswith("# tiny on V100 16 GB: a TensorRT plan, fp16\n")
    assert "tritonserver:24.09-py3" in page.output
    answer = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert "tiny_core/1/sm_70.plan" in answer["files"]
    assert answer["triton_image"] == "nvcr.io/nvidia/tritonserver:24.09-py3"
    assert not (tmp_path / "repository").exists()


def test_what_has_no_preview_is_refused(options: ExportOptions) -> None:
    """A task whose graph can't be foretold is refused by name."""
    source = from_hub.find_model(options)
    with pytest.raises(BadInput, match="no --dry-run for text-generation"):
        dry_run.expected_graph(replace(source, task="text-generation"))
