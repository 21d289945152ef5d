"""The section on parity: how much of each tolerance is used, and what was never compared says so."""

import pytest

from export.report.parity import parity, share_used
from tests.export.report.example import make_facts, make_manifest


@pytest.mark.parametrize(
    ("figure", "value", "bound", "share"),
    [
        ("min_cosine", 0.975, 0.95, 0.5),
        ("min_cosine", 1.0000001, 0.95, 0.0),
        ("max_norm_difference", 0.001, 0.01, 0.1),
        ("max_perplexity_ratio", 1.01, 1.02, 0.5),
        ("max_perplexity_ratio", 0.98, 1.02, 0.0),
        ("mean_top1", 1.0, 1.0, 0.0),
        ("mean_top1", 0.9, 1.0, 2.0),
    ],
)
def test_a_share_is_nothing_for_a_perfect_answer_and_one_at_the_bound(
    figure: str, value: float, bound: float, share: float
) -> None:
    """Whichever end is the perfect one."""
    assert share_used(figure, value, bound) == pytest.approx(share)


def test_figures_stand_beside_what_was_required_and_why() -> None:
    """With a verdict for each, the reason of the tolerances, and every batch."""
    page = parity(make_facts())
    for said in ("0.97", "≥ 0.95", "passed", "255 steps", "one word", "cosine of an input"):
        assert said in page
    assert "failed" not in page


def test_a_figure_outside_its_tolerance_is_called_failed() -> None:
    """Nobody publishes such a version, but somebody may have edited a manifest."""
    manifest = make_manifest()
    manifest["parity"]["min_cosine"] = 0.2
    assert "failed" in parity(make_facts(manifest))


def test_what_was_not_compared_says_so() -> None:
    """A generator for vLLM has no figures."""
    assert "wasn&#x27;t compared" in parity(
        make_facts(make_manifest(parity={"measure": "none", "points": []}))
    )
