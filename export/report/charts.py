"""SVG charts of figures: bars from zero, dots in rows on a logarithmic axis, and points by two measures; pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from export.report.html import Html, element, number, text

WIDTH = 720
"""Width of every chart, in the units of its drawing; the page scales it."""

_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW, _LEGEND = 190, 80, 12, 44, 30, 26
"""Room for names, for the last figure, above, for the axis below, for one row, for one line of the legend."""

_SERIES = 4
"""Series that can be told apart by colour and marker."""

_NAME_CHARACTERS = 26
"""What fits into the room for names."""


@dataclass(frozen=True)
class Bar:
    """One bar."""

    name: str
    """What it stands for."""

    value: float
    """Its length, from zero."""

    least: float | None = None
    """Start of its whisker, if it has one."""

    most: float | None = None
    """End of its whisker."""

    is_marked: bool = True
    """False draws it fainter than the others."""


@dataclass(frozen=True)
class Dot:
    """One figure of one series in one row."""

    row: str
    """Name of the row."""

    series: str
    """Name of the series."""

    value: float
    """The figure; above zero."""


@dataclass(frozen=True)
class Point:
    """One figure by two measures."""

    series: str
    """Name of the series."""

    across: float
    """On the horizontal axis."""

    up: float
    """On the vertical axis."""


def bars(title: str, unit: str, rows: Sequence[Bar]) -> Html:
    """
    Draw bars, one below the other, on an axis from zero.

    Args:
        title: What they show.

        unit: What the axis counts.

        rows: The bars; at least one.

    Returns:
        A figure with its caption.
    """
    top = max(max(row.value, row.most or 0) for row in rows) or 1.0
    ticks = _round_ticks(top)
    scale = _Linear(0, max(top, ticks[-1]), _LEFT, WIDTH - _RIGHT)
    drawn = [_vertical_grid(scale, ticks, len(rows))]
    for place, row in enumerate(rows):
        y = float(_TOP + place * _ROW)
        end = scale.at(row.value)
        shade = "s0" if row.is_marked else "s0 faint"
        drawn += [
            _name(row.name, y),
            element(
                "rect",
                x=_LEFT,
                y=y + 6,
                width=_round(max(1, end - _LEFT)),
                height=_ROW - 12,
                rx=2,
                class_=shade,
            ),
        ]
        label = end
        if row.least is not None and row.most is not None:
            label = max(end, scale.at(row.most))
            ends = (scale.at(row.least), scale.at(row.most))
            drawn.append(_line(ends[0], y + _ROW / 2, ends[1], y + _ROW / 2, "whisker"))
            drawn += [_line(x, y + 10, x, y + _ROW - 10, "whisker") for x in ends]
        drawn.append(_text(label + 6, y + _ROW / 2 + 4, number(float(f"{row.value:.4g}"))))
    said = "; ".join(f"{row.name} {number(row.value)}" for row in rows)
    return _figure(title, said, [*drawn, _axis_title(unit, len(rows))], _height(len(rows)))


def dot_rows(
    title: str, unit: str, dots: Sequence[Dot], limit: tuple[float, str] | None = None, floor: float = 0.0
) -> Html:
    """
    Draw a dot for each series in each row, on a logarithmic axis: equal distances are equal ratios.

    Args:
        title: What they show.

        unit: What the axis counts.

        dots: The figures; at least one, and none of them zero unless *floor* isn't.

        limit: A value that is marked by a line, and its name.

        floor: What is less is drawn here.

    Returns:
        A figure with its caption.
    """
    names, series = list(dict.fromkeys(dot.row for dot in dots)), _series(dot.series for dot in dots)
    values = [max(dot.value, floor) for dot in dots] + ([limit[0]] if limit else [])
    scale = _Logarithmic(floor or min(values), max(values), _LEFT, WIDTH - _RIGHT)
    drawn = [_vertical_grid(scale, scale.ticks(), len(names))]
    for place, name in enumerate(names):
        y = _TOP + place * _ROW
        drawn += [
            _name(name, y),
            _line(_LEFT, y + _ROW / 2, WIDTH - _RIGHT, y + _ROW / 2, "grid"),
        ]
    if limit:
        x = scale.at(limit[0])
        drawn += [
            _line(x, _TOP, x, _TOP + len(names) * _ROW, "limit"),
            _text(x + 5, _TOP + 12, limit[1], "quiet"),
        ]
    for dot in dots:
        height = _TOP + (names.index(dot.row) + 0.5) * _ROW
        drawn.append(_marker(series.index(dot.series), scale.at(max(dot.value, floor)), height))
    drawn.append(_axis_title(unit, len(names)))
    return _with_legend(
        title, f"{len(dots)} figures, in the table as well", drawn, _height(len(names)), series
    )


def scatter(
    title: str,
    units: tuple[str, str],
    points: Sequence[Point],
    limit: tuple[float, str] | None = None,
) -> Html:
    """
    Draw points by two measures, both axes from zero.

    Args:
        title: What they show.

        units: What the horizontal and the vertical axis count.

        points: The points; at least one.

        limit: A value of the horizontal axis that is marked by a line, and its name.

    Returns:
        A figure with its caption.
    """
    height, left = 320.0, 70.0
    series = _series(point.series for point in points)
    across = [point.across for point in points] + ([limit[0]] if limit else [])
    x_ticks, y_ticks = _round_ticks(max(across) or 1), _round_ticks(max(point.up for point in points) or 1)
    x_scale = _Linear(0, max(*across, x_ticks[-1]), left, WIDTH - _RIGHT)
    y_scale = _Linear(0, max(*(point.up for point in points), y_ticks[-1]), height, _TOP + 16)
    drawn = []
    for tick in x_ticks:
        x = x_scale.at(tick)
        drawn += [
            _line(x, _TOP, x, height, "grid"),
            _text(x, height + 18, number(tick), "quiet", "middle"),
        ]
    for tick in y_ticks:
        y = y_scale.at(tick)
        drawn += [
            _line(left, y, WIDTH - _RIGHT, y, "grid"),
            _text(left - 8, y + 4, number(tick), "quiet", "end"),
        ]
    if limit:
        x = x_scale.at(limit[0])
        drawn += [_line(x, _TOP, x, height, "limit"), _text(x + 5, _TOP + 10, limit[1], "quiet")]
    drawn += [_marker(series.index(p.series), x_scale.at(p.across), y_scale.at(p.up)) for p in points]
    drawn += [
        _text((left + WIDTH - _RIGHT) / 2, height + 38, units[0], "quiet", "middle"),
        _text(left - 8, _TOP + 4, units[1], "quiet", "end"),
    ]
    return _with_legend(title, f"{len(points)} points, in the table as well", drawn, height + 48, series)


@dataclass(frozen=True)
class _Linear:
    """Places values between two ends."""

    low: float
    """The value at *start*."""

    high: float
    """The value at *end*."""

    start: float
    """Where it begins in the drawing."""

    end: float
    """Where it ends."""

    def at(self, value: float) -> float:
        """Place a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class _Logarithmic:
    """Places values by their logarithm, between the round values around them."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        ticks = [step * 10.0**decade for decade in range(-9, 12) for step in (1, 2, 5)]
        first = max(place for place, tick in enumerate(ticks) if tick <= low * (1 + 1e-9))
        last = min(place for place, tick in enumerate(ticks) if tick >= high * (1 - 1e-9))
        self._ticks = ticks[first : max(last, first + 1) + 1]
        ends = (math.log10(self._ticks[0]), math.log10(self._ticks[-1]))
        self._inner = _Linear(*ends, start, end)

    def at(self, value: float) -> float:
        """Place a value."""
        return self._inner.at(math.log10(value))

    def ticks(self) -> list[float]:
        """List round values from one end to the other: 1, 2, 5 while there is room, else powers of ten."""
        if len(self._ticks) <= 8:  # noqa: PLR2004 - labels that fit beside each other
            return self._ticks
        return [tick for tick in self._ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]


def _round_ticks(top: float) -> list[float]:
    """List about five round values from zero to *top* or just above."""
    rough = top / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    return [step * place for place in range(math.ceil(top / step - 1e-9) + 1)]


def _series(names: Iterable[str]) -> list[str]:
    """List the series in order; those beyond what can be told apart look like the last."""
    return list(dict.fromkeys(names))


def _vertical_grid(scale: "_Linear | _Logarithmic", ticks: Sequence[float], rows: int) -> Html:
    bottom = _TOP + rows * _ROW
    parts = []
    for tick in ticks:
        x = scale.at(tick)
        parts += [_line(x, _TOP, x, bottom, "grid"), _text(x, bottom + 18, number(tick), "quiet", "middle")]
    return element("g", *parts)


def _name(name: str, y: float) -> Html:
    shown = name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
    return _text(_LEFT - 10, y + _ROW / 2 + 4, shown, anchor="end")


def _axis_title(unit: str, rows: int) -> Html:
    return _text((_LEFT + WIDTH - _RIGHT) / 2, _TOP + rows * _ROW + 38, unit, "quiet", "middle")


def _height(rows: int) -> float:
    return _TOP + rows * _ROW + _BOTTOM


def _marker(series: int, x: float, y: float) -> Html:
    """Draw a circle, a square, a triangle or a diamond."""
    kind = min(series, _SERIES - 1)
    if kind == 0:
        return element("circle", cx=_round(x), cy=_round(y), r=5.5, class_="s0")
    shapes = {
        1: ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        2: ((0, -6.5), (6.5, 5), (-6.5, 5)),
        3: ((0, -7), (7, 0), (0, 7), (-7, 0)),
    }
    corners = " ".join(f"{_round(x + across)},{_round(y + up)}" for across, up in shapes[kind])
    return element("polygon", points=corners, class_=f"s{kind}")


def _with_legend(title: str, said: str, drawn: list[Html], height: float, series: Sequence[str]) -> Html:
    """Add the series' names below; a single one needs none."""
    if len(series) > 1:
        x = 20.0
        for place, name in enumerate(series):
            drawn += [_marker(place, x, height + 10), _text(x + 12, height + 14, name)]
            x += 30 + 7.5 * len(name)
        height += _LEGEND
    return _figure(title, said, drawn, height)


def _figure(title: str, said: str, drawn: Sequence[Html], height: float) -> Html:
    drawing = element(
        "svg",
        element("title", title),
        element("desc", said),
        *drawn,
        viewBox=f"0 0 {WIDTH} {_round(height)}",
        role="img",
        aria_label=title,
    )
    return element("figure", element("figcaption", title), drawing)


def _text(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> Html:
    attributes = {"class_": kind} if kind else {}
    return element("text", text(said), x=_round(x), y=_round(y), text_anchor=anchor, **attributes)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=_round(x1), y1=_round(y1), x2=_round(x2), y2=_round(y2), class_=kind)


def _round(value: float) -> float:
    """Tenths of a unit are finer than any screen."""
    return round(value, 1)
