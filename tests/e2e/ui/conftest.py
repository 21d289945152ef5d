"""
A stack with a model for each task, and Chromium to look at its page with.

Playwright's synchronous interface keeps a loop running in this thread for as long as a browser is open: no test here is
a coroutine, and the browser is closed before others' are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.stack import start_facade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from deploy.local.triton import TritonServer
    from tests.stack import Facade

    OpenPage = Callable[..., Page]

KEYS: dict[str, dict[str, Any]] = {
    "of-everything-there-is": {"scopes": ["infer", "metrics"]},
    "of-vectors-and-no-metrics": {"scopes": ["infer"], "models": ["minilm"]},
    "of-metrics-and-no-model": {"scopes": ["metrics"]},
    "of-one-request-a-minute": {"scopes": ["infer"], "tier": "tight"},
}
"""What each key may do."""

ALL, VECTORS, METRICS, TIGHT = KEYS

OPTIONS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --disable-quic"
)


@pytest.fixture(name="stack", scope="package")
def _stack(all_tasks_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facade]:
    """A façade as developers run it, with several keys."""
    entries = [
        {"name": key, "sha256": hashlib.sha256(key.encode()).hexdigest(), "tier": "any", **further}
        for key, further in KEYS.items()
    ]
    keys = {"tiers": {"any": {}, "tight": {"requests_per_minute": 1}}, "keys": entries}
    keys_file = tmp_path_factory.mktemp("page") / "keys.json"
    keys_file.write_text(json.dumps(keys))
    with start_facade(
        all_tasks_triton.grpc_url,
        FACADE_KEYS_FILE=str(keys_file),
        FACADE_ENVIRONMENT="development",
        FACADE_FAILURES_PER_MINUTE="1000",
    ) as facade:
        yield facade


@pytest.fixture(name="browser", scope="package")
def _browser() -> Iterator[Browser]:
    """Chromium without a window, with a profile of its own."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium isn't installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS.split())
        yield browser
        browser.close()


@pytest.fixture(name="open_page")
def _open_page(browser: Browser, stack: Facade) -> Iterator[OpenPage]:
    """
    Open the page, with a key in use if one is given.

    Whatever a test does: no script fails, the page's policy holds, and no other place is asked for anything.
    """
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(key: str = "", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if line.type in {"error", "warning"} else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{stack.url}/ui")
        if key:
            use_key(page, key)
            expect(page.locator("#shown")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Chromium's own words for an answer that is no 2xx.
    assert [line for line in said if not line.startswith("Failed to load resource")] == []
    assert {urlsplit(url)._replace(path="", query="").geturl() for url in asked if url[:5] != "blob:"} == {
        stack.url
    }
    assert not [url for url in asked if any(key in url for key in KEYS)]


def use_key(page: Page, key: str) -> None:
    """Type a key in, and use it."""
    page.locator("#key-input").fill(key)
    page.get_by_role("button", name="Use key").click()
