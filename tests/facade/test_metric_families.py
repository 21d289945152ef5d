"""The tables of metrics keep to Prometheus's own rules for names."""

from __future__ import annotations

from facade.metric_families import COUNTERS, GAUGES, HISTOGRAMS


def test_names_say_kind_and_unit() -> None:
    """Counters end in _total, times in _seconds; nothing is called by two names."""
    assert all(name.endswith("_total") for name in COUNTERS)
    assert not any(name.endswith("_total") for name in (*GAUGES, *HISTOGRAMS))
    assert all(name.endswith("_seconds") for name in HISTOGRAMS if HISTOGRAMS[name].buckets[0] < 1)
    assert len({*COUNTERS, *GAUGES, *HISTOGRAMS}) == len(COUNTERS) + len(GAUGES) + len(HISTOGRAMS)


def test_buckets_ascend() -> None:
    """Prometheus refuses others."""
    for family in HISTOGRAMS.values():
        assert list(family.buckets) == sorted(set(family.buckets))


def test_times_say_their_unit() -> None:
    """A reader of the help text need not guess."""
    assert all("seconds" in HISTOGRAMS[name].description for name in HISTOGRAMS if name.endswith("_seconds"))
