"""The precisions that are tried, how each is made, and which one is chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import parity, pipeline, timing
from export.artifacts import Speed, Trial
from export.errors import ParityFailed
from export.options import ExportOptions
from export.precisions import choose, make, size_of, table, wanted
from export.progress import Progress
from export.targets import find_target
from export.tolerances import TOLERANCES, Tolerance
from tests.export.small_graphs import make_image_graph, make_text_graph
from tests.export.test_quantize import run


def speed(rows_per_s: float) -> Speed:
    """A speed without spread."""
    return Speed(rows_per_s, rows_per_s, rows_per_s, 5)


def test_auto_tries_what_the_target_has(tmp_path: Path) -> None:
    """A CPU has int8 and fp32, an A100 half formats; a named precision is the only one tried."""
    raw = make_text_graph(tmp_path / "raw")
    assert wanted(find_target("cpu"), "auto", raw, "embedding") == ("int8", "fp32")
    assert wanted(find_target("a100"), "auto", raw, "embedding") == ("fp16", "bf16", "fp32")
    assert wanted(find_target("cpu"), "fp32", raw, "embedding") == ("fp32",)


def test_a_generators_graph_is_taken_as_it_was_built(tmp_path: Path) -> None:
    """Its own conversion made the precision; it isn't transformed again."""
    raw = replace(make_text_graph(tmp_path / "raw"), precision="int4")
    assert wanted(find_target("cpu"), "auto", raw, "text-generation") == ("int4",)
    assert wanted(find_target("cpu"), "int4", raw, "text-generation") == ("int4",)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_every_precision_is_made_alone_in_its_folder(tmp_path: Path, precision: str) -> None:
    """What may be published lies alone, the raw graph stays, and a CPU can run what stands for it."""
    raw = make_image_graph(tmp_path / "raw")
    before = raw.path.read_bytes()
    candidate = make(raw, precision, tmp_path / precision)
    assert candidate.graph.precision == precision
    assert [path.name for path in candidate.graph.path.parent.iterdir()] == ["model.onnx"]
    assert raw.path.read_bytes() == before
    assert size_of(candidate.graph) == candidate.graph.path.stat().st_size
    cosines = (run(candidate.stand_in.path) * run(raw.path)).sum(axis=1)
    assert cosines.min() > 0.99
    assert (candidate.stand_in is candidate.graph) == (precision != "bf16")


def test_the_raw_weights_are_not_copied(tmp_path: Path) -> None:
    """fp32 is the raw file under a second name: gigabytes aren't written twice."""
    raw = make_text_graph(tmp_path / "raw")
    candidate = make(raw, "fp32", tmp_path / "fp32")
    assert candidate.graph.path.samefile(raw.path)


@pytest.mark.parametrize(
    ("speeds", "chosen", "words"),
    [
        ({"int8": 200.0, "fp32": 100.0}, "int8", "int8 is the fastest that answers like the original"),
        (
            {"int8": 105.0, "fp32": 100.0},
            "fp32",
            "int8 is only 1.05 times as fast as fp32, which is more exact",
        ),
        ({"int8": 90.0, "fp32": 100.0}, "fp32", "fp32 is the fastest"),
    ],
)
def test_the_fastest_wins_unless_it_gains_too_little(
    speeds: dict[str, float], chosen: str, words: str
) -> None:
    """A gain that is within a measurement's noise isn't worth being less exact."""
    found, why = choose(list(speeds), {name: speed(value) for name, value in speeds.items()})
    assert found == chosen
    assert words in why


def test_what_can_not_be_measured_is_chosen_by_the_table() -> None:
    """For a GPU that isn't here, the format expected to be fastest is taken, and that is said."""
    assert choose(["fp16", "fp32"], {})[0] == "fp16"
    assert "can't measure" in choose(["fp16", "fp32"], {})[1]
    assert choose(["fp32"], {}) == ("fp32", "fp32 is the only one to choose from.")


def test_the_table_shows_figures_and_failures() -> None:
    """One line each: size, speed with its spread, parity or why there is none; the chosen one is marked."""
    lines = table(
        [
            Trial("int8", 23_000_000, failure="Cosine too low."),
            Trial("fp32", 90_000_000, parity={"min_cosine": 1.0}, speed=Speed(24, 23, 25, 5), chosen=True),
        ]
    )
    assert lines[1].split() == ["int8", "23.0", "-", "-", "Cosine", "too", "low."]
    assert lines[2].split() == ["*", "fp32", "90.0", "24", "23", "to", "25", "min_cosine", "1"]


def test_graphs_are_measured_in_turns(tmp_path: Path) -> None:
    """Each graph has as many rounds as asked for, and its median lies between its least and most."""
    raw = make_image_graph(tmp_path / "raw")
    feeds = timing.make_feeds(raw.inputs, 0)
    speeds = timing.measure_speeds({"one": raw.path, "other": raw.path}, feeds, threads=1, rounds=3)
    assert set(speeds) == {"one", "other"}
    for found in speeds.values():
        assert found.rounds == 3
        assert 0 < found.least_rows_per_s <= found.rows_per_s <= found.most_rows_per_s
        assert [batch.rows for batch in found.batches] == [1, 8, 4]
        assert all(0 < batch.least_ms <= batch.median_ms <= batch.most_ms for batch in found.batches)


def test_feeds_are_valid_for_any_model(tmp_path: Path) -> None:
    """Ids and types are zero, masks one, and no text is longer than the model takes."""
    text = make_text_graph(tmp_path / "raw")
    inputs = tuple(replace(text.inputs[0], name=name) for name in ("input_ids", "attention_mask"))
    feeds = timing.make_feeds(inputs, 24)
    assert [feed["input_ids"].shape for feed in feeds] == [(1, 16), (8, 24), (4, 24)]
    assert all(feed["attention_mask"].all() and not feed["input_ids"].any() for feed in feeds)
    assert feeds[0]["input_ids"].dtype == np.int64


def test_auto_measures_chooses_and_records(options: ExportOptions) -> None:
    """Both formats are compared and timed, one is published, and the manifest has the whole table."""
    published = pipeline.run_export(replace(options, precision="auto"), Progress(None))
    trials = {trial["precision"]: trial for trial in published.manifest["precisions"]}
    assert set(trials) == {"int8", "fp32"}
    assert all(trial["speed"]["rows_per_s"] > 0 for trial in trials.values())
    chosen = next(name for name, trial in trials.items() if trial["chosen"])
    assert published.manifest["graph"]["precision"] == chosen
    assert published.manifest["why"]
    assert published.manifest["verified_on"] == "cpu"
    folder = options.repository / "tiny_core" / "1"
    quantised = {node.op_type for node in onnx.load(str(folder / "model.onnx")).graph.node} & {
        "MatMulInteger"
    }
    assert bool(quantised) == (chosen == "int8")


def test_auto_publishes_without_what_fails_parity(
    options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format that isn't near enough is told in the table, and the other one is published."""
    impossible = Tolerance({"min_cosine": 1.01}, "can't be met")
    monkeypatch.setattr(parity, "TOLERANCES", {**TOLERANCES, ("embedding", "int8"): impossible})
    published = pipeline.run_export(replace(options, precision="auto"), Progress(None))
    assert published.manifest["graph"]["precision"] == "fp32"
    failed = next(trial for trial in published.manifest["precisions"] if trial["precision"] == "int8")
    assert "must be at least 1.01" in failed["failure"]
    assert "parity" not in failed


def test_a_named_precision_that_fails_ends_the_export(
    options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for int8 gets int8 or an error, never something else."""
    impossible = Tolerance({"min_cosine": 1.01}, "can't be met")
    monkeypatch.setattr(parity, "TOLERANCES", {**TOLERANCES, ("embedding", "int8"): impossible})
    with pytest.raises(ParityFailed):
        pipeline.run_export(replace(options, precision="int8"), Progress(None))
    assert not (options.repository / "tiny").exists()
