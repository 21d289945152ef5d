"""Markdown, as GitHub reads it."""

from __future__ import annotations

from docs.reference.markdown import COMMAND, anchor, page, table


def test_a_page_says_where_it_is_from() -> None:
    """Both in its first line, for who edits it, and in its text."""
    first, *rest = page("Things", "All of them.", "One.").splitlines()

    assert first.startswith("<!--")
    assert COMMAND in first
    assert COMMAND in "".join(rest)


def test_cells_keep_to_their_cell() -> None:
    """A bar or a new line would end it."""
    assert table(("a", "b"), [("x|y", "1\n2")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | 1<br>2 |",
    ]


def test_anchors_are_in_small_letters() -> None:
    """As GitHub makes them of headings."""
    assert anchor("FACADE_HOST") == '<a id="facade_host"></a>'
