"""The page as a whole, and as a real browser shows it: complete, legible in light and dark, and loading nothing."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from export.errors import BadInput, FilesChanged
from export.report.page import render, write_page
from tests.export.report.example import SETTINGS, make_facts, make_manifest

MOST_BYTES = 300_000

PROBE = """<script>
const outside = [];
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.viewBox.baseVal;
  for (const drawn of svg.querySelectorAll("text")) {
    const own = drawn.getBBox();
    if (own.x < 0 || own.y < 0 || own.x + own.width > box.width || own.y + own.height > box.height)
      outside.push(drawn.textContent);
  }
}
document.body.dataset.probe = JSON.stringify({
  outside, wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  charts: document.querySelectorAll("svg").length, tables: document.querySelectorAll("table").length,
  headings: [...document.querySelectorAll("h2")].map(heading => heading.textContent),
});
</script>"""
"""Measures the page from inside; put into a copy of it that may run scripts."""


@pytest.fixture(name="page")
def _page() -> str:
    """The page of a version that has everything."""
    return render(make_facts(), datetime(2026, 1, 2, tzinfo=UTC))


def browse(folder: Path, page: str, *options: str, width: int = 1000) -> subprocess.CompletedProcess[str]:
    """Show a page in a browser without a window, which may use no network."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium isn't installed: apt-get install chromium")
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    quiet = (
        "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync --disable-extensions "
        "--disable-default-apps --enable-logging=stderr"
    )
    command = [
        browser,
        *quiet.split(),
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},2600",
    ]
    return subprocess.run(
        [*command, *options, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_page_is_complete_in_itself(page: str) -> None:
    """No script, nothing that is loaded, and a policy that forbids it."""
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\son\w+=|https?://", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < MOST_BYTES


def test_a_page_stays_small_however_long_the_search_was() -> None:
    """A thousand candidates, a hundred batches, thousands of files."""
    manifest = make_manifest()
    row = {"settings": SETTINGS, "rung": 0, "items_per_s": 100.0, "p99_ms": 40.0}
    manifest["tune"]["candidates"] = [row] * 1000
    manifest["parity"]["points"] *= 50
    manifest["files"] = {f"door/{place}": "0" * 64 for place in range(3000)}
    assert len(render(make_facts(manifest)).encode()) < MOST_BYTES


def test_strange_names_stay_text() -> None:
    """What a model's author wrote can't become part of the page."""
    manifest = make_manifest(why="<script>alert(1)</script>")
    manifest["recipe"]["model_id"] = '"><img src=x onerror=alert(1)>'
    page = render(make_facts(manifest))
    assert "<script" not in page
    assert "<img" not in page


def test_the_head_says_what_a_reviewer_looks_for(page: str) -> None:
    """Role, precision, parity and files; what is wrong stands there as well."""
    head = page[: page.index("</header>")]
    for said in ("finder, version 2", "canary is 2 for 10 %", "asked for: auto", "passed", "as exported"):
        assert said in head
    bad = render(make_facts(make_manifest(parity={"points": []}), changed="door/x has changed"))
    for said in ("not compared", ">changed<"):
        assert said in bad[: bad.index("</header>")]


def test_a_manifest_that_cannot_be_told_is_refused() -> None:
    """With the version and what to do."""
    with pytest.raises(FilesChanged, match="version 2 of 'finder'"):
        render(make_facts(make_manifest(recipe={})))


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """It replaces an older one; a folder that isn't there is said."""
    write_page(tmp_path / "page.html", "old")
    write_page(tmp_path / "page.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "new"
    with pytest.raises(BadInput, match="--output"):
        write_page(tmp_path / "nowhere" / "page.html", "new")


@pytest.mark.parametrize("width", [1000, 500])
def test_a_browser_shows_every_section_and_chart(page: str, tmp_path: Path, width: int) -> None:
    """No text leaves its chart, and the page is never wider than its window, on a narrow one neither."""
    probed = re.sub("<meta http-equiv[^>]*>", "", page).replace("</body>", f"{PROBE}</body>")
    shown = browse(tmp_path, probed, "--dump-dom", width=width).stdout
    found = re.search(r'data-probe="([^"]*)"', shown)
    assert found is not None
    probe = json.loads(unescape(found[1]))
    assert probe["outside"] == []
    assert probe["wide"] == 0
    assert probe["charts"] >= 9
    assert probe["tables"] >= probe["charts"]
    assert probe["headings"] == [
        "What was chosen, and why",
        "Parity with the original",
        "Latency and throughput by batch and length",
        "Tuned settings",
        "Versions on disk",
        "Provenance",
    ]


def test_it_is_light_by_day_and_dark_by_night_and_breaks_no_policy(page: str, tmp_path: Path) -> None:
    """The browser's own wish decides, and it refuses nothing, as nothing is asked for."""
    brightness = {}
    for scheme, options in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        picture = tmp_path / f"{scheme}.png"
        run = browse(tmp_path, page, f"--screenshot={picture}", *options)
        assert "Content Security Policy" not in run.stderr
        with Image.open(picture) as image:
            brightness[scheme] = ImageStat.Stat(image.convert("L")).mean[0]
    assert brightness["light"] > 200
    assert brightness["dark"] < 80
