"""The charts' geometry: everything inside the drawing, equal ratios at equal distances, limits where they belong."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.report.charts import WIDTH, Bar, Dot, Point, bars, dot_rows, scatter
from export.report.html import Html

FIGURES = st.floats(1e-6, 1e8)


def draw(figure: Html) -> ET.Element:
    """Parse a chart's drawing, which is well-formed XML."""
    svg = ET.fromstring(figure).find("svg")  # noqa: S314 - our own
    assert svg is not None
    return svg


def circles(svg: ET.Element) -> list[tuple[float, float]]:
    """List the centres of the first series' markers."""
    return [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in svg.iter("circle")]


def assert_inside(svg: ET.Element) -> None:
    """Check that every coordinate lies in the drawing."""
    height = float(svg.attrib["viewBox"].split()[3])
    limits = {"x": WIDTH, "x1": WIDTH, "x2": WIDTH, "cx": WIDTH, "y": height, "y1": height, "y2": height}
    for drawn in svg.iter():
        for name, most in limits.items():
            if name in drawn.attrib:
                assert 0 <= float(drawn.attrib[name]) <= most, (drawn.tag, drawn.attrib)


@given(st.lists(FIGURES, min_size=1, max_size=12))
def test_whatever_the_figures_they_are_drawn_inside(values: list[float]) -> None:
    """Bars, dots and points stay in their drawing, axes included."""
    assert_inside(draw(bars("t", "u", [Bar(str(place), value) for place, value in enumerate(values)])))
    assert_inside(draw(dot_rows("t", "u", [Dot("row", str(p), value) for p, value in enumerate(values)])))
    points = [Point("series", value, values[0]) for value in values]
    assert_inside(draw(scatter("t", ("a", "b"), points, (50.0, "target"))))


def test_bars_are_as_long_as_their_values() -> None:
    """Twice the value is twice the length; a whisker goes from the least to the most."""
    svg = draw(bars("t", "MiB", [Bar("one", 10), Bar("two", 20, least=15, most=25, is_marked=False)]))
    one, two = svg.iter("rect")
    assert float(two.attrib["width"]) == pytest.approx(2 * float(one.attrib["width"]), abs=0.2)
    assert "faint" in two.attrib["class"]
    whisker = next(line for line in svg.iter("line") if line.attrib["class"] == "whisker")
    left, right = float(whisker.attrib["x1"]), float(whisker.attrib["x2"])
    start = float(one.attrib["x"])
    assert (right - start) / (left - start) == pytest.approx(25 / 15, rel=0.01)


def test_equal_ratios_are_equal_distances() -> None:
    """From 1 to 10 is as far as from 10 to 100."""
    places = [x for x, _ in circles(draw(dot_rows("t", "u", [Dot("row", "s", v) for v in (1, 10, 100)])))]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)


def test_a_logarithmic_axis_has_round_ends_even_for_a_single_figure() -> None:
    """At least two ticks stand around the figures."""
    svg = draw(dot_rows("t", "u", [Dot("row", "s", 0.73)]))
    texts = [drawn.text for drawn in svg.iter("text")]
    assert {"0.5", "1"} <= set(texts)


def test_what_lies_below_the_floor_is_drawn_at_its_end() -> None:
    """A perfect figure of zero has a place on a logarithmic axis, too."""
    dots = [Dot("row", "s", value) for value in (0.0, 1e-6, 0.1)]
    places = [x for x, _ in circles(draw(dot_rows("t", "u", dots, (1.0, "limit"), 1e-6)))]
    assert places[0] == places[1] < places[2]


def test_every_series_has_a_marker_of_its_own_and_a_name() -> None:
    """Colour isn't needed to tell them apart; a fifth looks like the fourth."""
    svg = draw(dot_rows("t", "u", [Dot("row", f"series {n}", 1.0 + n) for n in range(5)]))
    shapes = {len(mark.attrib["points"].split()) for mark in svg.iter("polygon")}
    assert shapes == {3, 4}
    classes = {mark.attrib["class"] for mark in (*svg.iter("polygon"), *svg.iter("circle"))}
    assert classes == {"s0", "s1", "s2", "s3"}
    assert all(f"series {n}" in "".join(svg.itertext()) for n in range(5))


def test_a_target_stands_between_what_meets_it_and_what_does_not() -> None:
    """The line is on the same axis as the points."""
    svg = draw(scatter("t", ("p99", "rate"), [Point("s", 40, 10), Point("s", 60, 12)], (50.0, "target")))
    line = next(drawn for drawn in svg.iter("line") if drawn.attrib["class"] == "limit")
    (fast, low), (slow, high) = circles(svg)[:2]
    assert fast < float(line.attrib["x1"]) < slow
    assert low > high, "more is further up"


def test_a_chart_says_what_it_is_without_being_seen() -> None:
    """It has a role, a title and a description, and a long name is cut with a mark."""
    name = "a name that is far too long to fit beside a bar"
    figure = bars("Size", "MiB", [Bar(name, 3)])
    svg = draw(figure)
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == "Size"
    assert svg.findtext("desc") == f"{name} 3"
    assert re.search(r">a name that is far too l\S*…<", figure)
    assert math.isclose(float(svg.attrib["viewBox"].split()[2]), WIDTH)
