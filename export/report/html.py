"""HTML in small pieces: everything that comes from outside is escaped here, and only here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MOST_ROWS = 100
"""Rows of one table; with at most twelve tables the page stays below 300 kB, and the manifest has the rest."""

MOST_CHARACTERS = 300
"""Length of one value in a table: a chat template would fill pages."""


class Html(str):
    """Text that is HTML already, and isn't escaped again."""

    __slots__ = ()


def text(value: Any) -> Html:
    """
    Escape a value, unless it is HTML already.

    Args:
        value: Anything; what isn't text is written as JSON would be read.

    Returns:
        HTML.
    """
    if isinstance(value, Html):
        return value
    said = number(value) if isinstance(value, float) else str(value)
    if len(said) > MOST_CHARACTERS:
        said = f"{said[:MOST_CHARACTERS]}… ({len(said)} characters)"
    return Html(escape(said))


def number(value: float) -> str:
    """
    Write a figure, as exact as it is useful.

    Args:
        value: The figure.

    Returns:
        Four digits; more for what lies close to 1, where a cosine's digits are; a comma between thousands.
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004 - a double is exact up to there
        return f"{int(value):,}"
    if abs(value) >= 1000:  # noqa: PLR2004 - from here on the fraction is noise
        return f"{value:,.0f}"
    close_to_one = 0.99 < abs(value) < 1.01  # noqa: PLR2004
    return f"{value:.9g}" if close_to_one else f"{value:.4g}"


def element(tag: str, *content: Any, **attributes: Any) -> Html:
    """
    Write one element.

    Args:
        tag: Its name.

        content: What it holds, one after the other.

        attributes: Its attributes; underscores stand for hyphens, and one at the end is dropped (`class_`).

    Returns:
        HTML.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for name, value in attributes.items()
    )
    return Html(f"<{tag}{written}>{''.join(text(part) for part in content)}</{tag}>")


def section(title: str, *parts: Any) -> Html:
    """
    Write a section of the page.

    Args:
        title: Its title.

        parts: What it holds.

    Returns:
        HTML.
    """
    return element("section", element("h2", title), *parts)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Html:
    """
    Write a table; the first column names the row, and columns of numbers are set right.

    Args:
        caption: What it shows.

        heads: Names of the columns.

        rows: The cells, row by row.

    Returns:
        HTML; nothing at all if there are no rows.
    """
    listed = [list(row) for row in rows]
    if not listed:
        return Html("")
    shown = listed[:MOST_ROWS]
    numeric = [
        all(isinstance(row[column], int | float) or row[column] in {"", "-"} for row in shown)
        for column in range(len(heads))
    ]
    classes = ["number" if is_number else "word" for is_number in numeric]
    head = (element("th", name, scope="col", class_=kind) for name, kind in zip(heads, classes, strict=True))
    body = (element("tr", *_cells(row, classes)) for row in shown)
    more = ""
    if len(listed) > MOST_ROWS:
        more = f" The first {MOST_ROWS} of {len(listed)}; the manifest has all."
    inner = element(
        "table",
        element("caption", caption + more),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # A wide table scrolls by itself, also by keyboard, and not the page.
    return element("div", inner, class_="wide", role="region", tabindex="0", aria_label=caption)


def terms(caption: str, values: Mapping[str, Any]) -> Html:
    """
    Write names and values, nested ones with dotted names.

    Args:
        caption: What they are.

        values: The values by name.

    Returns:
        HTML.
    """
    return table(caption, ("name", "value"), [(name, _plain(value)) for name, value in flatten(values)])


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """
    List nested values by dotted names.

    Args:
        values: The values by name.

        prefix: What their names begin with.

    Returns:
        Names and values, in order.
    """
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        inner = [(prefix + name, value)]
        flat += flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else inner
    return flat


def _cells(row: Sequence[Any], classes: Sequence[str]) -> Iterable[Html]:
    """Write a row's cells, the first of them as its head."""
    for place, (value, kind) in enumerate(zip(row, classes, strict=True)):
        shown = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if place:
            yield element("td", shown, class_=kind)
        else:
            yield element("th", shown, scope="row", class_=kind)


def _plain(value: Any) -> Any:
    """Write what JSON holds as words: a list with commas, and a dash for nothing."""
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    # As words and not as figures: an epoch or an opset wants no commas.
    return str(value) if isinstance(value, int) else value
