"""The lines to copy: run as they stand, they ask what is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e.ui.conftest import ALL
from tests.e2e.ui.test_boxes import open_box
from tests.export.runtime.image_encoder.pictures import make_picture, to_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator

    from tests.e2e.ui.conftest import OpenPage

pytestmark = pytest.mark.e2e

NASTY = 'it\'s "$HOME" `id` $(id) \\n \\ %s !! 世界 \u2028 {x}\nand a second line'
"""What shells, printf, JSON and Python each have a meaning for."""


def lines_of(box: Locator, language: str) -> str:
    """Read the lines in a language."""
    text = box.locator(f"pre[aria-label={language}]").text_content()
    assert text is not None
    assert ALL not in text
    return text


def run_lines(box: Locator, folder: Path) -> tuple[str, str]:
    """Run both languages' lines with the key in the environment; what they print."""
    printed = []
    for command, language in ((["sh", "-eu"], "curl"), ([sys.executable, "-"], "Python")):
        done = subprocess.run(
            command,
            input=lines_of(box, language),
            env={**os.environ, "API_KEY": ALL},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed.append(done.stdout)
    return printed[0], printed[1]


def test_a_chats_lines_stream(open_page: OpenPage, tmp_path: Path) -> None:
    """Before it is sent and after; whatever is typed arrives as it is."""
    page = open_page(ALL)
    box = open_box(page, "Chat")
    box.get_by_label("Temperature").fill("0")
    streamed, said = run_lines(box, tmp_path)
    assert streamed.endswith("data: [DONE]\n\n")
    assert said == "The capital of France is Paris.\n"

    box.get_by_label("Message").fill(NASTY)
    with page.expect_request("**/v1/chat/completions") as asked:
        box.get_by_role("button", name="Send").click()
    expect(box.get_by_role("button", name="Send")).to_be_enabled()
    assert asked.value.post_data_json["messages"][0]["content"] == NASTY
    # What was sent is still what the lines say, though the field is empty by now.
    body = json.loads(
        subprocess.run(
            ["sh", "-c", 'curl() { for last; do :; done; printf %s "$last"; }\n' + lines_of(box, "curl")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert body == asked.value.post_data_json


def test_two_texts_lines_print_their_similarity(open_page: OpenPage, tmp_path: Path) -> None:
    """The very figure of the page."""
    page = open_page(ALL)
    box = open_box(page, "Similarity")
    box.get_by_label("One text").fill(NASTY)
    box.get_by_role("button", name="Compare").click()
    expect(box.locator(".figure")).to_be_visible()
    answer, printed = run_lines(box, tmp_path)

    assert len(json.loads(answer)["data"]) == 2
    assert float(printed) == pytest.approx(float(box.locator(".figure").inner_text()), abs=2e-4)


def test_a_lists_lines_print_the_order(open_page: OpenPage, tmp_path: Path) -> None:
    """The best first; also for a list that is longer than a program's argument may be."""
    page = open_page(ALL)
    box = open_box(page, "Ranking")
    box.get_by_label("Question").fill(NASTY)
    _, printed = run_lines(box, tmp_path)
    box.get_by_role("button", name="Rank").click()
    expect(box.locator(".scores li").first).to_contain_text(printed.splitlines()[0].partition(" ")[2])

    box.get_by_label("Texts, one a line").fill("the cat sat on the mat\n" + "a long text of 's " * 10_000)
    answer, _ = run_lines(box, tmp_path)
    assert len(json.loads(answer)["results"]) == 2


def test_a_texts_lines_print_its_labels(open_page: OpenPage, tmp_path: Path) -> None:
    """The best first."""
    page = open_page(ALL)
    box = open_box(page, "Classify text")
    box.get_by_label("Text", exact=True).fill("it's the cat's\nmat")
    answer, printed = run_lines(box, tmp_path)

    (best,) = json.loads(answer)["data"]
    assert printed.splitlines()[0].endswith(best["label"])


def test_an_images_lines_read_its_file(open_page: OpenPage, tmp_path: Path) -> None:
    """By its name, whatever that is; its bytes stay where they are."""
    name = 'my cat\'s $(id) "photo".png'
    (tmp_path / name).write_bytes(to_file(make_picture(64, 48), "PNG"))
    page = open_page(ALL)
    box = open_box(page, "Classify image")
    box.get_by_label("Picture").set_input_files(tmp_path / name)
    answer, printed = run_lines(box, tmp_path)

    (best,) = json.loads(answer)["data"]
    assert printed.splitlines()[0].endswith(best["label"])


def test_lines_are_copied(open_page: OpenPage) -> None:
    """By the browser's clipboard; on a page without TLS, which has none, as by hand."""
    page = open_page(ALL, permissions=["clipboard-read", "clipboard-write"])
    box = open_box(page, "Similarity")
    for language in ("curl", "Python"):
        box.get_by_role("button", name=language).click()
        box.get_by_role("button", name="Copy").click()

        expect(box.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == lines_of(box, language)
        expect(box.get_by_role("button", name="Copy")).to_be_focused()
        page.evaluate("navigator.clipboard.writeText = undefined")
