"""The other sections: what they tell, and what they say where there is nothing to tell."""

from dataclasses import replace

from export.report import sections
from tests.export.report.example import make_facts, make_manifest


def test_the_choice_names_every_candidate_and_why_it_fell_out() -> None:
    """Sizes, speeds and failures stand in one table, the reason above it."""
    page = sections.choice(make_facts())
    for said in ("int8 is the fastest", "int8, chosen", "Too far off.", "19.07", "rows/s"):
        assert said in page


def test_what_was_not_verified_stands_out() -> None:
    """A version for a GPU says that nothing ran there."""
    page = sections.choice(make_facts(make_manifest(not_verified="Nothing ran on V100.")))
    assert "Not verified: " in page
    assert "Nothing ran on V100." in page


def test_speed_has_the_export_s_timings_and_the_report_s_own() -> None:
    """Both by batch and length, and throughput follows from latency."""
    page = sections.speed(make_facts())
    for said in ("8 x 16 tokens", "16 x 64 tokens", "version 1, stable", "x86_64 with avx2", "500"):
        assert said in page


def test_without_timings_it_says_how_to_get_some() -> None:
    """A single candidate isn't timed by the export."""
    facts = replace(make_facts(make_manifest(precisions=[])), measured={})
    assert "triton-export report --measure" in sections.speed(facts)


def test_tuned_settings_show_before_after_and_what_was_tried() -> None:
    """Those that came furthest first; a candidate that never answered is in the table and not in the chart."""
    manifest = make_manifest()
    row = {"settings": {"x": 1}, "rung": 0, "items_per_s": 0.0, "p99_ms": float("inf")}
    manifest["tune"]["candidates"].append(row)
    page = sections.tune(make_facts(manifest))
    for said in ("at most 50 ms", "1.50, 1.60", "door_instances 1", "cores", ">inf<"):
        assert said in page
    assert page.index(">102</td>") < page.index(">100</td>")
    assert sections.tune(make_facts(make_manifest(tune=None))) == ""


def test_versions_and_provenance_are_whole() -> None:
    """Each version with its role, each file with its hash, and the configs as Triton reads them."""
    facts = make_facts()
    page = sections.versions(facts) + sections.provenance(facts)
    for said in (
        "version 1, stable",
        "0" * 64,
        "someone/finder",
        "profile.grouping.limit_tokens",
        "backend:",
    ):
        assert said in page
    assert "All 2 files are what was exported" in page
    assert "door/x has changed" in sections.provenance(make_facts(changed="door/x has changed"))
