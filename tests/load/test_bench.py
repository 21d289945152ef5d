"""The benchmark's pure parts: texts, statistics, choice of rounds, variants' settings, reports. No servers."""

from __future__ import annotations

import json
import random
import subprocess
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from export.config_pbtxt import from_text
from export.profiles import cpu_profile
from tests.load import bench, generator, machine, report, rounds, stage, suites, texts, tuning
from tests.load.dialects import DIALECTS
from tests.load.measure import BenchFailed
from tests.load.rounds import Spread
from tests.stack import MODEL_NAME

WORDS = [f"word{first}{second}" for first in "abcdefghij" for second in "abcdefghij"]


def _figures(texts_per_s: float, others_share: float = 0.0, **more: float) -> dict[str, Any]:
    return {
        "texts_per_s": texts_per_s,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "answered": 100,
        "others_share": others_share,
        "cpu_us_a_text": {"generator": 50.0},
        "discarded": [],
        **more,
    }


def _results(median_ratio: float = 0.95) -> dict[str, Any]:
    """What a run with one suite of two contenders would have found."""
    found = [{"ours": _figures(95, core_batch=4.5), "<theirs>": _figures(100, others_share=0.1)}]
    suite = suites.SuiteResult(
        name="direct",
        title="One & other",
        about="How.",
        goals=[suites.at_least("ours ÷ theirs", 0.9, Spread(median_ratio, 0.5, 1.5))],
        rounds=found,
        notes=["A note."],
    )
    as_json = json.dumps([asdict(suite)])
    return {"environment": machine.describe(), "options": {}, "suites": json.loads(as_json)}


# Texts


@pytest.mark.parametrize("traffic", texts.TRAFFIC)
def test_texts_are_unique_and_within_their_bounds(traffic: str) -> None:
    """No text comes twice, and each has as many words as its kind of traffic allows."""
    made = list(islice(texts.make_texts(WORDS, traffic, "1", "ours"), 2000))

    bounds = texts.TRAFFIC[traffic]
    assert len(set(made)) == len(made)
    assert all(bounds.least <= len(text.split()) <= bounds.most for text in made)


def test_same_seed_same_lengths_other_words() -> None:
    """Contenders of a round get equal lengths in the same order and share no text; a repetition gets the same."""
    ours = list(islice(texts.make_texts(WORDS, "log-normal", "1", "ours"), 500))
    again = list(islice(texts.make_texts(WORDS, "log-normal", "1", "ours"), 500))
    theirs = list(islice(texts.make_texts(WORDS, "log-normal", "1", "theirs"), 500))
    other = list(islice(texts.make_texts(WORDS, "log-normal", "2", "ours"), 500))

    assert ours == again
    assert [len(text.split()) for text in ours] == [len(text.split()) for text in theirs]
    assert [len(text.split()) for text in ours] != [len(text.split()) for text in other]
    assert set(ours).isdisjoint(theirs)


def test_log_normal_lengths_have_the_documented_mean() -> None:
    """Log-normal texts have 26 to 28 words on average, and so 29 tokens or so."""
    source = random.Random(3)
    lengths = [texts.TRAFFIC["log-normal"].draw(source) for _ in range(50_000)]

    assert 26 < sum(lengths) / len(lengths) < 28


def test_words_are_whole_words_of_the_vocabulary(tmp_path: Path) -> None:
    """Pieces, short tokens and signs are left out."""
    file = tmp_path / "tokenizer.json"
    vocabulary = {"[CLS]": 0, "a": 1, "river": 2, "##ing": 3, "bank": 4, "3rd": 5}
    file.write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")

    assert texts.read_words(file) == ["bank", "river"]


# Statistics and rounds


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """It is a value that was measured: the smallest that the share of all values doesn't exceed."""
    assert rounds.percentile(range(1, 101), share) == expected


def test_ratios_are_taken_within_rounds() -> None:
    """A machine that gets slower from round to round doesn't change a ratio."""
    measured = [{"a": _figures(90 / drift), "b": _figures(100 / drift)} for drift in (1, 2, 5)]

    ratio = rounds.ratio_of(measured, "a", "b")

    assert ratio.least == pytest.approx(0.9)
    assert ratio.median == pytest.approx(0.9)
    assert ratio.most == pytest.approx(0.9)


def test_disturbed_measurements_are_repeated_a_few_times() -> None:
    """Each at once, until it was calm or no repetition is left; every other round goes backwards."""
    order: list[tuple[str, int, int]] = []

    def run_one(name: str, number: int, attempt: int) -> dict[str, Any]:
        order.append((name, number, attempt))
        return _figures(attempt, others_share=0.9 if (name, attempt) == ("b", 1) else 0.0)

    found = rounds.interleave(["a", "b"], run_one, rounds=3, repetitions=2, say=lambda _line: None)

    assert order == [
        *[("a", 1, 1), ("b", 1, 1), ("b", 1, 2)],
        *[("b", 2, 1), ("b", 2, 2), ("a", 2, 1)],
        *[("a", 3, 1), ("b", 3, 1)],
    ]
    assert [one["b"]["others_share"] for one in found] == [0.0, 0.0, 0.9]
    assert [len(one["b"]["discarded"]) for one in found] == [1, 1, 0]


def test_the_calmest_attempt_counts_whatever_it_found() -> None:
    """A faster attempt that was disturbed more is not taken."""

    def run_one(name: str, number: int, attempt: int) -> dict[str, Any]:
        return _figures(100 * attempt, others_share=0.2 * attempt)

    (one,) = rounds.interleave(["a"], run_one, rounds=1, repetitions=2, say=lambda _line: None)

    assert one["a"]["texts_per_s"] == 100
    assert [attempt["texts_per_s"] for attempt in one["a"]["discarded"]] == [200, 300]


def test_goals_know_their_direction() -> None:
    """At least 0.9 is reached at 0.9; below 120 is not reached at 120."""
    assert suites.at_least("x", 0.9, Spread(0.9, 0, 1)).is_reached
    assert not suites.at_least("x", 0.9, Spread(0.89, 0, 1)).is_reached
    assert suites.below("x", 120, Spread(119, 0, 1)).is_reached
    assert not suites.below("x", 120, Spread(120, 0, 1)).is_reached


# The generator's checks


def test_wrong_vectors_are_noticed() -> None:
    """A vector has to have the right size and length 1."""
    good = memoryview(bytearray(16)).cast("f")
    good[0] = 1.0

    assert generator.check_vector(good.tobytes(), 4) is None
    assert "16 bytes" in (generator.check_vector(good.tobytes(), 8) or "")
    assert "length 0" in (generator.check_vector(bytes(16), 4) or "")
    openai = DIALECTS["openai"]
    assert "can't be read" in (generator.check_vectors(openai, b"", b'{"data": 1}', 1, 4) or "")
    assert "0 vectors for 1" in (generator.check_vectors(openai, b"", b'{"data": []}', 1, 4) or "")


def test_failures_are_never_counted_as_answers() -> None:
    """A wrong answer adds a failure and no latency; a good one counts only while it is measured."""
    recorder = generator.Recorder()
    recorder.note(0.1, None)
    recorder.is_measuring = True
    recorder.note(0.2, None)
    recorder.note(0.3, generator.Fault("500"))
    recorder.note(0.4, None, texts=0)

    assert recorder.latencies_ms == [200.0]
    assert recorder.other_latencies_ms == [400.0]
    assert (recorder.failures, list(recorder.reasons)) == (1, ["500"])


# The machine


def test_a_process_is_in_its_own_tree_and_has_used_memory_and_time() -> None:
    """What /proc says of this very process is plausible."""
    import os  # noqa: PLC0415

    own = os.getpid()
    memory = machine.memory_of(own)

    assert own in machine.tree_of(own)
    assert 0 < machine.cpu_s({own}) <= machine.busy_cpu_s()
    assert 1 < memory.pss_mib <= memory.rss_mib


# Variants


def test_a_variant_differs_only_where_it_says(tmp_path: Path) -> None:
    """The padding door shares the core and never cuts; a variant with a core of its own calls that one."""
    for name in (MODEL_NAME, stage.CORE_NAME):
        (tmp_path / name / "1").mkdir(parents=True)
        config = f'name: "{name}" max_batch_size: 64 instance_group {{ count: 2 kind: KIND_CPU }}'
        (tmp_path / name / "config.pbtxt").write_text(config, encoding="utf-8")
    door = {
        "core_model": stage.CORE_NAME,
        "max_batch_size": 64,
        "grouping": {"limit_tokens": 512, "call_tokens": 24, "kind": "padded_tokens"},
    }
    (tmp_path / MODEL_NAME / "1" / "door.json").write_text(json.dumps(door), encoding="utf-8")

    stage.add_variant(tmp_path, stage.PADDING)
    stage.add_variant(tmp_path, stage.Variant("own", max_batch_size=8, core={"instances": 3, "threads": 2}))

    padding = json.loads((tmp_path / "minilm_padding" / "1" / "door.json").read_text(encoding="utf-8"))
    assert padding["core_model"] == stage.CORE_NAME
    assert padding["grouping"] == {"limit_tokens": 10**9, "call_tokens": 10**9, "kind": "padded_tokens"}
    assert padding["max_batch_size"] == 64
    own = json.loads((tmp_path / "own" / "1" / "door.json").read_text(encoding="utf-8"))
    assert (own["core_model"], own["max_batch_size"]) == ("own_core", 8)
    core = from_text((tmp_path / "own_core" / "config.pbtxt").read_text(encoding="utf-8"))
    assert (core.name, core.max_batch_size, core.instance_group[0].count) == ("own_core", 8, 3)
    assert core.parameters["intra_op_thread_count"].string_value == "2"


def test_a_setting_that_the_door_does_not_know_is_refused(tmp_path: Path) -> None:
    """It would be ignored by the door, and the original would be measured under another name."""
    for name in (MODEL_NAME, stage.CORE_NAME):
        (tmp_path / name / "1").mkdir(parents=True)
        config = f'name: "{name}" instance_group {{ count: 2 kind: KIND_CPU }}'
        (tmp_path / name / "config.pbtxt").write_text(config, encoding="utf-8")
    door = {"core_model": stage.CORE_NAME, "max_batch_size": 64, "grouping": {"limit_tokens": 512}}
    (tmp_path / MODEL_NAME / "1" / "door.json").write_text(json.dumps(door), encoding="utf-8")

    with pytest.raises(BenchFailed, match="no_such_setting"):
        stage.add_variant(tmp_path, stage.Variant("x", grouping={"no_such_setting": 1}))


@pytest.mark.parametrize("variant", [stage.PADDING, *tuning.VARIANTS], ids=lambda variant: variant.name)
def test_variants_change_settings_that_the_exporter_writes(variant: stage.Variant) -> None:
    """When the exporter's rule gets other fields, the variants have to follow."""
    assert set(variant.grouping) <= set(asdict(cpu_profile(2).grouping))


def test_variants_have_names_of_their_own() -> None:
    """No two variants of a search would overwrite each other."""
    names = [variant.name for variant in tuning.VARIANTS]

    assert len(set(names)) == len(names)


# Reports


def test_the_html_report_needs_nothing_else() -> None:
    """It holds figures, goals and plots, links to nothing, and escapes what it is given."""
    page = report.to_html(_results())

    assert "<svg" in page
    assert "&lt;theirs&gt;" in page
    assert "reached" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "src=" not in page


def test_latency_is_drawn_against_the_rate_where_there_were_several() -> None:
    """Steps of a contender become one curve in ascending order; a suite without steps has bars."""
    results = _results()
    (suite,) = results["suites"]
    assert report.curves_of(suite) == {}
    suite["rounds"] = [
        {f"<x> at {share}%": _figures(share, offered_per_s=share, p99_ms=10.0 * share) for share in (90, 30)}
    ]

    assert report.curves_of(suite) == {"<x>": [(30, 300.0), (90, 900.0)]}
    page = report.to_html(results)
    assert "<polyline" in page
    assert "&lt;x&gt;</text>" in page


@pytest.mark.parametrize(("median", "verdict"), [(0.95, "reached"), (0.85, "missed")])
def test_tables_say_what_was_reached_and_what_was_missed(median: float, verdict: str) -> None:
    """A goal's row has the bound, the median with its bounds, and the verdict."""
    table = report.to_markdown(_results(median))

    assert f"| ours ÷ theirs | ≥ 0.9 | {median:.2f} (0.50-1.50) | {verdict} |" in table


def test_only_what_is_between_the_markers_is_replaced() -> None:
    """Text around the markers stays, and writing twice is writing once; without markers it is an error."""
    text = "before\n<!-- x:begin -->\nold\n<!-- x:end -->\nafter\n"
    once = report.replace_between(text, "x", "new\n")

    assert once == "before\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nafter\n"
    assert report.replace_between(once, "x", "new\n") == once
    with pytest.raises(ValueError, match="no markers"):
        report.replace_between("nothing", "x", "new")


def test_docs_have_the_markers_that_are_written_between() -> None:
    """`--write-docs` finds its places in docs/benchmarks.md."""
    text = bench.DOCS.read_text(encoding="utf-8")

    for section in bench.SECTIONS:
        assert report.replace_between(text, section, "new") != text


def test_results_can_be_rendered_again(tmp_path: Path) -> None:
    """`--from` runs nothing and writes the report beside the results."""
    file = tmp_path / "results.json"
    file.write_text(json.dumps(_results()), encoding="utf-8")

    assert bench.main(["--from", str(file)]) == 0
    assert "One &amp; other" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_who_is_paused_costs_nothing_and_goes_on() -> None:
    """A process stands still, with its state as the kernel tells it, until the end of the block."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with machine.paused({process.pid}):
                assert _state(process.pid) == "T"
            assert _state(process.pid) != "T"
        finally:
            process.kill()


def _state(pid: int) -> str:
    """The state of a process, once it has taken its signals."""
    end = time.monotonic() + 10
    while True:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        found = next(line.split()[1] for line in status if line.startswith("State:"))
        if found in "ST" or time.monotonic() > end:
            return found
