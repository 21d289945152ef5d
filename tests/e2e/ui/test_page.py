"""The page as a whole: keys of every kind, the models, the live figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import CANARY_PERCENT
from tests.e2e.ui.conftest import ALL, METRICS, TIGHT, VECTORS, use_key

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from tests.e2e.ui.conftest import OpenPage
    from tests.stack import Facade

pytestmark = pytest.mark.e2e

NOTHING = "\N{EN DASH}"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


LOOK_AWAY = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden === "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def stored(page: Page) -> Any:
    """Everything that the page keeps in the browser."""
    return page.evaluate("[{...sessionStorage}, {...localStorage}, document.cookie]")


def figure(page: Page, name: str) -> Any:
    """Find a live figure by its name."""
    tile = page.locator(".tile", has=page.get_by_role("term").filter(has_text=re.compile(f"^{name}$")))
    return tile.locator(".figure")


def test_without_a_key_it_says_whether_the_facade_is_ready(open_page: OpenPage) -> None:
    """And asks for one; nothing else is shown."""
    page = open_page()

    expect(page.get_by_role("status").first).to_have_text("ready")
    expect(page.locator("#shown")).to_be_hidden()
    expect(page.locator("#key-input")).to_have_attribute("type", "password")


def test_a_wrong_key_is_refused_in_the_servers_words(open_page: OpenPage) -> None:
    """The next one may be right, and can be forgotten again."""
    page = open_page()
    use_key(page, "wrong")

    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    expect(page.locator("#shown")).to_be_hidden()

    use_key(page, ALL)
    expect(page.get_by_role("heading", name="Try a model")).to_be_visible()
    expect(page.get_by_text("The API key is not known.")).to_be_hidden()

    page.get_by_label("Message").fill("a secret")
    page.get_by_role("button", name="Forget key").click()
    expect(page.locator("#key-input")).to_have_value("")
    expect(page.get_by_role("textbox", name="Message", include_hidden=True)).to_have_count(0)


def test_a_key_is_kept_for_the_tab_only_if_asked(open_page: OpenPage) -> None:
    """In no address, and else nowhere in the browser."""
    page = open_page(ALL)
    assert stored(page) == [{}, {}, ""]
    assert page.url.endswith("/ui")
    page.reload()
    expect(page.locator("#key-input")).to_be_visible()

    page.get_by_label("Remember it").check()
    use_key(page, ALL)
    expect(page.locator("#shown")).to_be_visible()
    page.reload()
    expect(page.locator("#shown")).to_be_visible()
    assert stored(page) == [{"triton-facade-key": ALL}, {}, ""]

    page.get_by_role("button", name="Forget key").click()
    expect(page.locator("#shown")).to_be_hidden()
    assert stored(page) == [{}, {}, ""]


def test_a_key_without_metrics_sees_its_models(open_page: OpenPage) -> None:
    """The page says what the key lacks, and the rest works."""
    page = open_page(VECTORS)

    expect(page.locator("#live-note")).to_have_text("This API key lacks the scope 'metrics'.")
    expect(page.locator("#tiles")).to_be_hidden()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("tab")).to_have_text(["Similarity"])
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".output .figure")).to_have_text(re.compile(r"^0\.\d{4}$"))


def test_a_key_without_models_sees_live_figures(open_page: OpenPage) -> None:
    """The page says what the key lacks."""
    page = open_page(METRICS)

    expect(page.locator("#models-note")).to_have_text("This API key lacks the scope 'infer'.")
    expect(page.get_by_text("There is no model to try")).to_be_visible()
    expect(page.locator("#live-note")).to_be_hidden()
    expect(page.locator(".tile .figure")).to_have_text([NOTHING] * 8)


def test_a_used_up_quota_says_when_to_try_again(open_page: OpenPage) -> None:
    """In the server's words, and with the time; what is typed stays."""
    page = open_page(TIGHT)
    page.get_by_role("tab", name="Similarity").click()
    box = page.get_by_role("tabpanel")
    for _ in range(2):
        box.get_by_role("button", name="Compare").click()
        expect(box.get_by_role("button", name="Compare")).to_be_enabled()
    message = box.get_by_role("alert")

    expect(message).to_contain_text(re.compile(r"requests.* Try again in \d+ s, at \d+:\d\d"))
    expect(box.get_by_label("One text")).to_have_value("How do I reset my password?")


def test_models_are_listed_with_their_releases(open_page: OpenPage) -> None:
    """Task, versions, who gets the canary, limits, health: as the façade knows them."""
    page = open_page(ALL)
    rows = page.locator("tbody tr")

    assert rows.count() == 5
    minilm = rows.filter(has_text="minilm")
    for said in ("embedding", "version 1 answers all", "384 dimensions", "ready"):
        expect(minilm).to_contain_text(said)
    mood = rows.filter(has_text="mood")
    expect(mood).to_contain_text("1, 2")
    expect(mood).to_contain_text(f"version 1: {100 - CANARY_PERCENT} %, canary 2: {CANARY_PERCENT} %")
    expect(mood).to_contain_text("canary on trial")


def test_live_figures_follow_the_calls(open_page: OpenPage, stack: Facade) -> None:
    """A dash while there is nothing to tell; then what was asked, and from where it was answered."""
    page = open_page(ALL)
    expect(figure(page, "Requests")).not_to_have_text(NOTHING)
    asked = {"model": "minilm", "input": [f"live figures {number}" for number in range(8)]}
    for _ in range(2):
        answer = httpx.post(f"{stack.url}/v1/embeddings", json=asked, headers={"X-API-Key": ALL})
        assert answer.status_code == 200

    expect(figure(page, "Cache hits")).to_have_text("50 %")
    expect(figure(page, "Requests")).to_have_text(re.compile(r"^[0-9.]+ /s$"))
    expect(figure(page, "Latency, median")).to_have_text(re.compile(r"ms$"))
    expect(figure(page, "Batch size")).not_to_have_text(NOTHING)
    expect(page.locator(".tile svg").first).to_have_attribute(
        "aria-label", re.compile(r"^Requests, last minute: 0 /s to [0-9.]+ /s$")
    )


def test_nothing_is_asked_while_nobody_looks(open_page: OpenPage) -> None:
    """A tab in the background is quiet, and goes on when it is looked at again."""
    page = open_page()
    page.clock.install()
    page.reload()
    use_key(page, ALL)
    expect(page.locator("tbody tr")).to_have_count(5)
    page.clock.run_for(2000)
    asked: list[str] = []

    page.evaluate(LOOK_AWAY, "hidden")
    page.wait_for_load_state("networkidle")
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request("**/metrics"), page.expect_request("**/ui/state"):
        page.evaluate(LOOK_AWAY, "")


def test_the_page_may_stand_behind_a_prefix(open_page: OpenPage, stack: Facade) -> None:
    """As behind an ingress: all it asks for, and all its lines, have the prefix too."""
    page = open_page()
    asked: list[str] = []

    def serve(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=route.request.url.replace("/some/prefix", ""))

    page.route("**/some/prefix/**", serve)
    page.goto(f"{stack.url}/some/prefix/ui")
    use_key(page, ALL)
    expect(page.locator("tbody tr")).to_have_count(5)

    expect(page.locator("pre:visible")).to_contain_text(f"'{stack.url}/some/prefix/v1/chat/completions'")
    assert {url.rpartition("/")[2] for url in asked} >= {"main.js", "style.css", "ready", "state", "metrics"}


def test_names_from_the_server_never_run(open_page: OpenPage) -> None:
    """Markup in a model's name, task or reason stays text."""
    page = open_page()

    def answer(route: Route) -> None:
        state = route.fetch().json()
        for model in state["models"]:
            model["name"] = model["model_id"] = model["reason"] = HOSTILE + model["name"]
        route.fulfill(json=state)

    page.route("**/ui/state", answer)
    use_key(page, ALL)

    expect(page.locator("tbody tr").first).to_contain_text("<script>")
    assert page.locator("main img[onerror], main script").count() == 0
    assert page.title() == "triton-facade"


READING = """async (texts) => {
  const { toFigures, toReading, hasRestarted } = await import("/ui/metrics.js");
  const [before, after] = texts.map((text, place) => toReading(text, 10 * place));
  return [toFigures(before, after), hasRestarted(before, after)];
}"""

BUCKETS = ("0.1", "0.5", "1.0", "+Inf")


def exposition(*counts: int, **further: float) -> str:
    """Write metrics: cumulative counts of one route's latencies, and further ones by name."""
    lines = [
        f'api_request_latency_seconds_bucket{{endpoint="/predict",le="{edge}",method="POST"}} {count}'
        for edge, count in zip(BUCKETS, counts, strict=True)
    ]
    lines.append(f'api_requests_total{{endpoint="/predict",method="POST",status="200"}} {counts[-1]}')
    lines.append('api_requests_total{endpoint="/ui/state",method="GET",status="200"} 1e6')
    lines += [f"{name} {value}" for name, value in further.items()]
    return "# HELP api_requests_total Requests\n" + "\n".join(lines) + "\n"


def test_figures_are_prometheus_own(open_page: OpenPage) -> None:
    """Percentiles as histogram_quantile has them, no figure of nothing, nothing of this page's own, restarts seen."""
    page = open_page()
    grown, restarted = page.evaluate(READING, [exposition(5, 5, 5, 5), exposition(9, 13, 14, 15)])
    above, _ = page.evaluate(READING, [exposition(0, 0, 0, 0), exposition(0, 0, 0, 4)])
    nothing, _ = page.evaluate(READING, [exposition(5, 5, 5, 5)] * 2)
    _, anew = page.evaluate(READING, [exposition(5, 5, 5, 5), exposition(1, 1, 1, 1)])

    assert (grown["requests"], grown["requestsPerS"], restarted, anew) == (10, 1, False, True)
    # 10 came: 4 below 0.1 s, 8 below 0.5 s. The fifth is a quarter of the way from one edge to the other.
    assert grown["p50"] == pytest.approx(0.1 + 0.4 * 1 / 4)
    assert (above["p50"], above["largest"]) == (float("inf"), 1)
    assert [nothing[name] for name in ("p50", "p99", "batchSize", "hitShare", "waitS")] == [None] * 5
