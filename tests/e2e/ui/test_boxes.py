"""The boxes to try models with: what they show is what the API answers, by mouse, keyboard and drop."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import MOODS
from tests.e2e.ui.conftest import ALL, use_key
from tests.export.runtime.image_encoder.pictures import make_picture, to_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page, Route

    from tests.e2e.ui.conftest import OpenPage
    from tests.stack import Facade

pytestmark = pytest.mark.e2e

LONG_TOKENS = 900
"""Of an answer that goes on and on: some 200 KB of events."""

SLOW_BYTES_PER_S = 20_000
"""At which it takes ten seconds to arrive, and comes in pieces all the same."""


def ask(stack: Facade, path: str, **body: Any) -> Any:
    """Ask the API itself."""
    answer = httpx.post(f"{stack.url}{path}", json=body, headers={"X-API-Key": ALL}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def open_box(page: Page, name: str) -> Locator:
    """Choose a tab."""
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel")


def status(box: Locator) -> Locator:
    """Where a box tells how an answer came about."""
    return box.locator("form ~ [role=status]")


def scores(box: Locator) -> list[tuple[str, float]]:
    """Read a list of labels or texts with their scores."""
    items = box.locator(".scores li")
    expect(items).not_to_have_count(0)
    texts, values = items.locator(".grow").all_inner_texts(), items.locator(".score").all_inner_texts()
    return [(text, float(value)) for text, value in zip(texts, values, strict=True)]


def make_long_and_slow(page: Page) -> None:
    """Have answers go on beyond their end, and arrive as over a bad line, with nothing else on it."""
    page.route("**/metrics", lambda route: route.abort())

    def lengthen(route: Route) -> None:
        body = route.request.post_data_json
        route.continue_(post_data=json.dumps(body | {"ignore_eos": True, "max_tokens": LONG_TOKENS}))

    page.route("**/v1/chat/completions", lengthen)
    line = {"offline": False, "latency": 0, "uploadThroughput": -1, "downloadThroughput": SLOW_BYTES_PER_S}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)


def test_a_chat_comes_token_by_token(open_page: OpenPage) -> None:
    """The conversation goes on with what was said before; how fast it was stands below."""
    page = open_page(ALL)
    box = open_box(page, "Chat")
    box.get_by_label("Temperature").fill("0")
    box.get_by_role("button", name="Send").click()

    expect(box.get_by_role("log").get_by_role("listitem").last).to_contain_text(
        "The capital of France is Paris."
    )
    expect(status(box)).to_have_text(
        re.compile(r"^\d+ tokens · the first after .* · \d+ tokens/s · .*version 1")
    )

    with page.expect_request("**/v1/chat/completions") as asked:
        box.get_by_label("Message").fill("What is the capital of Italy?")
        box.get_by_label("Message").press("Enter")
    said = [message["role"] for message in asked.value.post_data_json["messages"]]
    assert said == ["user", "assistant", "user"]
    expect(box.get_by_role("listitem")).to_have_count(4)

    box.get_by_role("button", name="New chat").click()
    expect(box.get_by_role("log")).to_be_hidden()
    expect(box.get_by_label("Message")).to_be_focused()


def test_a_chat_can_be_stopped(open_page: OpenPage) -> None:
    """What came stays; by button and by Escape; the next one works."""
    page = open_page(ALL)
    box = open_box(page, "Chat")
    make_long_and_slow(page)
    for start, stop in (("Enter", "button"), ("Enter", "Escape"), ("button", "Escape")):
        box.get_by_label("Message").fill("What is the capital of France?")
        if start == "button":
            box.get_by_role("button", name="Send").press("Enter")
        else:
            box.get_by_label("Message").press("Enter")
        answer = box.get_by_role("listitem").last.locator("p")
        expect(answer).not_to_be_empty()
        if stop == "button":
            box.get_by_role("button", name="Stop").click()
        else:
            page.keyboard.press("Escape")

        expect(status(box)).to_have_text("Stopped.")
        assert answer.inner_text().startswith("The")
        expect(box.get_by_role("button", name="Send")).to_be_enabled()


def test_a_question_that_gets_no_answer_is_given_back(open_page: OpenPage) -> None:
    """With the server's words; it can be mended and sent again."""
    page = open_page(ALL)
    box = open_box(page, "Chat")
    box.get_by_label("Temperature").evaluate("field => field.removeAttribute('max')")
    box.get_by_label("Temperature").fill("7")
    box.get_by_role("button", name="Send").click()

    expect(box.get_by_role("alert")).to_contain_text("temperature")
    expect(box.get_by_label("Message")).to_have_value("What is the capital of France?")
    expect(box.get_by_role("listitem")).to_have_count(0)


def test_a_model_without_a_template_goes_on_writing(open_page: OpenPage) -> None:
    """There the box sends the text as it is, and so do its lines."""
    page = open_page()

    def answer(route: Route) -> None:
        state = route.fetch().json()
        for model in state["models"]:
            model["can_chat"] = False
        route.fulfill(json=state)

    page.route("**/ui/state", answer)
    use_key(page, ALL)
    box = open_box(page, "Chat")
    expect(box.locator("pre").first).to_contain_text("/v1/completions")
    box.get_by_label("Temperature").fill("0")
    box.get_by_label("Message").fill("The capital of France")
    with page.expect_request("**/v1/completions") as asked:
        box.get_by_role("button", name="Send").click()

    assert asked.value.post_data_json["prompt"] == "The capital of France"
    expect(box.get_by_role("listitem").last.locator("p")).to_have_text("is Paris.")


def test_the_similarity_is_that_of_the_vectors(open_page: OpenPage, stack: Facade) -> None:
    """Of the two texts that are typed."""
    texts = ["a cat on a mat", "cats like mats"]
    page = open_page(ALL)
    box = open_box(page, "Similarity")
    box.get_by_label("One text").fill(texts[0])
    box.get_by_label("Another text").fill(texts[1])
    box.get_by_role("button", name="Compare").click()

    answer = ask(stack, "/v1/embeddings", model="minilm", input=texts)
    one, other = (np.array(item["embedding"]) for item in answer["data"])
    expect(box.locator(".figure")).to_have_text(f"{one @ other:.4f}")


def test_a_list_is_ranked(open_page: OpenPage, stack: Facade) -> None:
    """In the API's order, with its scores; lines without a text are left out."""
    texts = ["the cat sat", "on the mat", "trees & <b>cats</b>"]
    page = open_page(ALL)
    box = open_box(page, "Ranking")
    box.get_by_label("Question").fill("where is the cat")
    box.get_by_label("Texts, one a line").fill("\n\n".join(texts))
    box.get_by_label("Texts, one a line").press("Control+Enter")

    found = scores(box)
    answer = ask(stack, "/v1/rerank", model="judge", query="where is the cat", documents=texts)
    expected = [
        (texts[one["index"]], pytest.approx(one["relevance_score"], abs=6e-4)) for one in answer["results"]
    ]
    assert found == expected


def test_a_text_is_classified_and_labels_are_texts(open_page: OpenPage, stack: Facade) -> None:
    """One of this model's labels is markup, and stays what it is."""
    page = open_page(ALL)
    page.on("dialog", lambda dialog: pytest.fail(f"a label ran: {dialog.message}"))
    box = open_box(page, "Classify text")
    box.get_by_label("Text", exact=True).fill("the cat sat")
    box.get_by_role("button", name="Classify").click()

    found = scores(box)
    assert {label for label, _ in found} == set(MOODS.values())
    (best,) = ask(stack, "/v1/classify", model="mood", input="the cat sat", top_k=1)["data"]
    assert found[0] == (best["label"], pytest.approx(best["score"], abs=6e-4))


DROP = """async ([name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragover", "drop"])
    document.querySelector(".drop").dispatchEvent(
      new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""


def test_an_image_is_classified(open_page: OpenPage, stack: Facade, tmp_path: Path) -> None:
    """Picked from the disk or dropped; what is too large isn't sent, what is no image is refused in words."""
    image = to_file(make_picture(64, 48), "PNG")
    (tmp_path / "cat.png").write_bytes(image)
    page = open_page(ALL)
    box = open_box(page, "Classify image")
    send = box.get_by_role("button", name="Classify")

    send.click()
    expect(box.get_by_role("alert")).to_have_text("Choose a picture first.")
    box.get_by_label("Picture").set_input_files(tmp_path / "cat.png")
    expect(box.locator(".drop img")).to_be_visible()
    send.click()
    (expected,) = ask(stack, "/v1/classify", model="pets", input=b64encode(image).decode())["data"]
    assert scores(box) == [
        (one["label"], pytest.approx(one["score"], abs=6e-4)) for one in expected["scores"]
    ]

    page.evaluate(DROP, ["no-cat.png", b64encode(b"no picture").decode()])
    send.click()
    expect(box.get_by_role("alert")).to_contain_text("is none of JPEG, PNG, WEBP")
    (tmp_path / "huge.png").write_bytes(bytes(4 * 1024 * 1024 + 1))
    box.get_by_label("Picture").set_input_files(tmp_path / "huge.png")
    send.click()
    expect(box.get_by_role("alert")).to_contain_text("4,096 KiB are the most")


def test_everything_can_be_done_by_keyboard(open_page: OpenPage) -> None:
    """From the key to an answer and its lines: Tab goes in the order of the page, arrows go from tab to tab."""
    page = open_page()
    press = page.keyboard.press
    press("Tab")
    expect(page.locator("#key-input")).to_be_focused()
    page.keyboard.type(ALL)
    press("Enter")
    expect(page.locator("#try")).to_be_focused()

    press("Tab")
    expect(page.get_by_role("tab", name="Chat")).to_be_focused()
    press("ArrowRight")
    expect(page.get_by_role("tab", name="Similarity")).to_be_focused()
    box = page.get_by_role("tabpanel")
    press("Tab")
    expect(box.get_by_label("Model")).to_be_focused()
    press("Tab")
    page.keyboard.type("a text by keyboard")
    press("Control+Enter")
    expect(box.locator(".figure")).to_be_visible()

    for name in ("Compare", "curl", "Python"):
        while not box.get_by_role("button", name=name).evaluate("it => it === document.activeElement"):
            press("Tab")
            assert page.evaluate("document.activeElement !== document.body"), name
    press("Space")
    expect(box.locator("pre:visible")).to_contain_text("import openai")
