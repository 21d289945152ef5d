"""The values between the steps."""

import dataclasses
import json
from pathlib import Path

import pytest

from export.artifacts import ParityPoint, ParityReport, SourceModel


def test_a_parity_report_is_plain_json() -> None:
    """The figures go into the manifest as they are."""
    point = ParityPoint("pair", 2, 40, {"min_cosine": 0.99999})
    report = ParityReport("cosine", (point,), {"min_cosine": 0.99999}, {"min_cosine": 0.9999})
    assert json.loads(json.dumps(report.to_json())) == {
        "measure": "cosine",
        "min_cosine": 0.99999,
        "required_min_cosine": 0.9999,
        "points": [{"label": "pair", "batch_size": 2, "max_tokens": 40, "min_cosine": 0.99999}],
    }


def test_artifacts_cannot_be_changed_on_the_way() -> None:
    """A step can't alter what the next one gets."""
    source = SourceModel(Path("m"), "m", None, "0", "embedding", 8, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.pad_id = 1  # type: ignore[misc]
