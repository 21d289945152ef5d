"""Facts of a version that has everything a report can tell: candidates, timings, parity, tuned settings."""

from typing import Any

from export.artifacts import BatchSpeed, Speed
from export.inspection import VersionFacts
from export.release_state import Release
from export.report.facts import ReportFacts

SETTINGS = {"door_instances": 1, "core_instances": 2, "max_batch_size": 64}


def make_manifest(**changes: Any) -> dict[str, Any]:
    """Make a manifest as `auto` and a search of the settings leave it."""
    batches = [
        {"rows": rows, "tokens": 16, "median_ms": 2.0 * rows, "least_ms": 1.0, "most_ms": 90.0}
        for rows in (1, 8)
    ]
    speed = {"rows_per_s": 500.0, "least_rows_per_s": 480.0, "most_rows_per_s": 505.0, "rounds": 5}
    manifest: dict[str, Any] = {
        "schema": 1,
        "name": "finder",
        "created_at": "2026-01-02T03:04:05+00:00",
        "recipe": {
            "model_id": "someone/finder",
            "revision": None,
            "task": "embedding",
            "target": "cpu",
            "engine": "onnxruntime",
            "accelerator": "none",
            "precision": "auto",
            "profile": {"core_threads": 1, "grouping": {"limit_tokens": 512}},
        },
        "tools": {"onnx": "1.0"},
        "graph": {"inputs": ["input_ids"], "precision": "int8", "opset": 18},
        "card": {"task": "embedding", "max_input_tokens": 256},
        "parity": {
            "measure": "cosine",
            "min_cosine": 0.97,
            "required_min_cosine": 0.95,
            "max_norm_difference": 0.0,
            "required_max_norm_difference": 0.02,
            "points": [
                {
                    "label": label,
                    "batch_size": 3,
                    "max_tokens": 20,
                    "min_cosine": 0.98,
                    "max_norm_difference": 0.0,
                }
                for label in ("one word", "special texts of every kind that there is")
            ],
        },
        "files": {"door/model.py": "0" * 64, "core/model.onnx": "1" * 64},
        "precisions": [
            {
                "precision": "int8",
                "size_bytes": 20_000_000,
                "parity": {"min_cosine": 0.97},
                "speed": {**speed, "batches": batches},
                "chosen": True,
            },
            {"precision": "fp32", "size_bytes": 80_000_000, "failure": "Too far off.", "chosen": False},
        ],
        "why": "int8 is the fastest that answers like the original.",
        "verified_on": "cpu",
        "tune": {
            "traffic": {"kind": "log-normal"},
            "target_p99_ms": 50,
            "candidates": [
                {"settings": SETTINGS, "rung": rung, "items_per_s": 100.0 + rung, "p99_ms": 40.0 + 20 * rung}
                for rung in range(3)
            ],
            "before": {"settings": SETTINGS, "items_per_s": 90.0, "p99_ms": 49.0},
            "after": {"settings": SETTINGS, "items_per_s": 140.0, "p99_ms": 45.0},
            "ratios": [1.5, 1.6],
            "machine": {"cores": 2},
        },
    }
    return manifest | changes


def make_facts(manifest: dict[str, Any] | None = None, *, changed: str | None = None) -> ReportFacts:
    """Make the facts of a version with this manifest; a canary beside an older stable one."""
    told = make_manifest() if manifest is None else manifest
    batches = tuple(BatchSpeed(rows, 64, 3.0 * rows, 2.0, 5.0 * rows) for rows in (1, 4, 16))
    return ReportFacts(
        name="finder",
        version=2,
        release=Release(1, 2, 10.0),
        versions=(
            VersionFacts(2, "canary", 21_000_000, told),
            VersionFacts(1, "stable", 81_000_000, None),
        ),
        manifest=told,
        sizes_bytes={"door/model.py": 1000, "core/model.onnx": 20_000_000},
        changed=changed,
        configs={"door.config.pbtxt": 'name: "finder"\nbackend: "python"\n'},
        measured={
            "version 2": Speed(400.0, 390.0, 410.0, 3, batches),
            "version 1, stable": Speed(300.0, 290.0, 310.0, 3, batches),
        },
        measured_on="x86_64 with avx2",
    )
