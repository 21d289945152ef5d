"""What can be measured of how the page looks: on a phone, in light and dark, without eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.ui.conftest import ALL
from tests.export.runtime.image_encoder.pictures import make_picture, to_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.e2e.ui.conftest import OpenPage

pytestmark = pytest.mark.e2e

LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3, level AA, for text of any size."""

LEAST_EDGE_CONTRAST = 3
"""WCAG 2.2, 1.4.11: what shows that something is a field or a button."""

OUTSIDE = """() => [...document.querySelectorAll("body *")]
  .filter((it) => it.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter((it) => it.checkVisibility() && !it.closest("thead, .unseen"))
  .map((it) => it.outerHTML.slice(0, 80))"""

WEAK = """([text, edge]) => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => {
    const linear = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  };
  const ground = (it) => {
    const own = channels(getComputedStyle(it).backgroundColor);
    return own[3] === 0 ? (it.parentElement ? ground(it.parentElement) : [255, 255, 255]) : own;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const weak = [];
  for (const it of document.querySelectorAll("body *")) {
    if (!it.checkVisibility() || it.closest("svg, .unseen, [aria-disabled=true]")) continue;
    const style = getComputedStyle(it);
    const hasText = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || it.value;
    if (hasText && contrast(channels(style.color), ground(it)) < text) weak.push(it.outerHTML.slice(0, 90));
    const isField = it.matches("input:not([type=checkbox], [type=file]), select, textarea");
    if (isField && contrast(channels(style.borderTopColor), ground(it.parentElement)) < edge)
      weak.push(`edge: ${it.outerHTML.slice(0, 90)}`);
  }
  return weak;
}"""

NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, pre, section, table, [role=img]")]
  .filter((it) => it.checkVisibility())
  .filter((it) => !(it.labels?.[0]?.textContent.trim() || it.getAttribute("aria-label") || it.ariaLabelledByElements
    ?.length || (it.matches("button") && it.textContent.trim())))
  .map((it) => it.outerHTML.slice(0, 80))"""


@pytest.fixture(name="filled")
def _filled(open_page: OpenPage, tmp_path: Path) -> Page:
    """The page with an answer in each box, and long unbroken words."""
    image = tmp_path / f"{'a-picture-with-a-long-name' * 4}.png"
    image.write_bytes(to_file(make_picture(64, 48), "PNG"))
    page = open_page(ALL)
    page.get_by_label("Message").fill("unbroken" * 40)
    for tab in page.get_by_role("tab").all():
        tab.click()
        box = page.get_by_role("tabpanel")
        if box.locator("input[type=file]").count():
            box.locator("input[type=file]").set_input_files(image)
        box.locator("button.main").click()
        expect(box.locator("[aria-busy=false]")).not_to_be_empty()
        expect(box.locator("button.main")).to_be_enabled()
    return page


def in_every_box(page: Page, measure: str, *arguments: Any) -> list[str]:
    """Measure the page with each box open in turn."""
    found = []
    for tab in page.get_by_role("tab").all():
        tab.click()
        found += page.evaluate(measure, *arguments)
    return found


def test_nothing_sticks_out_on_a_narrow_screen(filled: Page, open_page: OpenPage) -> None:
    """On a small phone, a phone, and a tablet; before there is a key too."""
    for width in (320, 360, 768):
        filled.set_viewport_size({"width": width, "height": 700})
        assert in_every_box(filled, OUTSIDE) == []
        assert filled.evaluate("document.documentElement.scrollWidth") == width
    assert open_page(viewport={"width": 320, "height": 700}).evaluate(OUTSIDE) == []


def test_everything_can_be_read_in_light_and_dark(filled: Page) -> None:
    """Texts and the edges of fields stand out enough; what was refused too."""
    filled.get_by_role("tab", name="Ranking").click()
    filled.get_by_label("Texts, one a line").fill("")
    filled.get_by_role("button", name="Rank").click()
    expect(filled.get_by_role("alert")).to_be_visible()
    for scheme in ("light", "dark"):
        filled.emulate_media(color_scheme=scheme)
        ground = filled.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 60) is (scheme == "dark")
        assert in_every_box(filled, WEAK, [LEAST_CONTRAST, LEAST_EDGE_CONTRAST]) == []
    # A measure that finds nothing has to find something.
    filled.evaluate("document.documentElement.style.setProperty('--soft', '#555')")
    assert in_every_box(filled, WEAK, [LEAST_CONTRAST, LEAST_EDGE_CONTRAST]) != []


def test_everything_has_a_name_and_the_focus_is_seen(open_page: OpenPage) -> None:
    """For those who hear the page, and those who have no mouse."""
    page = open_page()
    assert page.evaluate(NAMELESS) == []
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type(ALL)
    page.keyboard.press("Enter")
    expect(page.locator("#shown")).to_be_visible()

    assert in_every_box(page, NAMELESS) == []
    headings = page.get_by_role("main").get_by_role("heading")
    expect(headings).to_have_text(["Try a model", "Live", "Models"])
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_nothing_moves_for_those_who_want_no_motion(open_page: OpenPage) -> None:
    """Bars jump to their length."""
    page = open_page(ALL, reduced_motion="no-preference")
    page.get_by_role("tab", name="Similarity").click()
    page.get_by_role("button", name="Compare").click()
    moving = "it => getComputedStyle(it).transitionDuration"
    assert page.locator(".output .bar span").evaluate(moving) != "0s"

    page.emulate_media(reduced_motion="reduce")
    assert page.locator(".output .bar span").evaluate(moving) == "0s"
