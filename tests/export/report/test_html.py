"""Pieces of HTML: what comes from outside is escaped, and figures are written so that a reader gets them."""

import pytest

from export.report.html import MOST_ROWS, Html, element, flatten, number, table, terms, text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (12345678.0, "12,345,678"),
        (1234.567, "1,235"),
        (0.9912345, "0.9912345"),
        (1.5e-7, "1.5e-07"),
        (301.26, "301.3"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_figures_are_written_as_exact_as_they_are_useful(value: float, written: str) -> None:
    """Four digits, more near 1, commas between thousands, and no error for what is no number."""
    assert number(value) == written


def test_only_html_is_taken_as_html() -> None:
    """Texts, names and attributes from outside can't become tags."""
    assert text("<b>") == "&lt;b&gt;"
    assert element("p", "<b>", Html("<i></i>"), aria_label='"<') == (
        '<p aria-label="&quot;&lt;">&lt;b&gt;<i></i></p>'
    )
    page = table("<c>", ("<h>",), [("<v>",)]) + terms("<t>", {"<k>": "<w>"})
    assert not any(f"<{letter}>" in page for letter in "chvtkw")


def test_a_long_table_and_a_long_value_are_cut_and_say_so() -> None:
    """However large a manifest is, the page stays small."""
    page = table("rows", ("n", "text"), ((place, "x" * 5000) for place in range(5000)))
    assert page.count("<tr>") == 1 + MOST_ROWS
    assert f"The first {MOST_ROWS} of 5000" in page
    assert "(5000 characters)" in page
    assert table("none", ("n",), []) == ""


def test_columns_of_numbers_are_set_right() -> None:
    """A dash for a missing number doesn't make them words."""
    page = table("t", ("name", "n"), [("a", 1.5), ("b", "-")])
    assert '<td class="number">1.5</td>' in page
    assert '<th scope="row" class="word">a</th>' in page


def test_nested_values_have_dotted_names() -> None:
    """Lists are words with commas, nothing is a dash, and an epoch has no commas."""
    assert flatten({"a": {"b": 1}, "c": 2}) == [("a.b", 1), ("c", 2)]
    page = terms("t", {"list": ["x", "y"], "none": None, "empty": {}, "created": 1795481007})
    for cell in ("x, y", ">-<", "1795481007"):
        assert cell in page
