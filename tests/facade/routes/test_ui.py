"""The page's files: who gets them, with which headers, and that nothing else is served beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from facade.app import build_app
from facade.routes.ui import FOLDER, load_files
from tests.facade.conftest import KEY
from tests.facade.serving import serving

if TYPE_CHECKING:
    from facade.settings import Settings

pytestmark = pytest.mark.anyio

MOST_BYTES = 60_000
"""Of all files together, unpacked: a page that loads at once on a phone."""

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}


@pytest.fixture(name="stranger")
async def _stranger(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Somebody without a key."""
    client.headers.pop("X-API-Key")
    return client


def test_the_page_is_small_and_names_no_other_place() -> None:
    """No build step, no CDN: the files are the page, and each address in them is relative."""
    files = {path.name: path.read_text() for path in FOLDER.iterdir()}

    assert sum(len(text.encode()) for text in files.values()) <= MOST_BYTES
    for name, text in files.items():
        found = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name  # the namespace, which nobody loads
    assert {f"/ui/{name}" for name in files if name != "index.html"} | {"/ui"} == load_files().keys()


async def test_anybody_gets_the_page_and_its_files(stranger: httpx.AsyncClient) -> None:
    """With a policy that lets in nothing but themselves; the head alone too."""
    for path, file in load_files().items():
        answer = await stranger.get(path)

        assert (answer.status_code, answer.content) == (200, file.content), path
        assert answer.headers["content-type"] == file.media_type
        assert set(answer.headers["content-security-policy"].split("; ")) >= POLICY
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-cache"
        assert (await stranger.head(path)).status_code == 200


async def test_what_a_browser_has_is_not_sent_again(stranger: httpx.AsyncClient) -> None:
    """A strong tag, also in a list or made weak by a proxy; another one gets the file."""
    etag = (await stranger.get("/ui")).headers["etag"]

    for asked in (etag, f'"other", W/{etag}'):
        answer = await stranger.get("/ui", headers={"If-None-Match": asked})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await stranger.get("/ui", headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/ui/",
        "/ui/index.html",
        "/ui/../settings.py",
        "/ui/..%2fsettings.py",
        "/ui/%2e%2e%2fsettings.py",
        "/ui//etc/passwd",
        "/ui/state",
        "/UI",
    ],
)
async def test_only_the_pages_own_files_are_public(stranger: httpx.AsyncClient, path: str) -> None:
    """By exact path: nothing else below it is served without a key, and but for the state nothing with one."""
    assert (await stranger.get(path)).status_code == 401
    if path != "/ui/state":
        assert (await stranger.get(path, headers={"X-API-Key": KEY})).status_code == 404


@pytest.mark.parametrize(
    ("environment", "wanted", "is_served"),
    [
        ("production", None, False),
        ("production", True, True),
        ("development", None, True),
        ("development", False, False),
    ],
)
async def test_the_page_is_off_in_production_unless_asked_for(
    settings: Settings, environment: str, *, wanted: bool | None, is_served: bool
) -> None:
    """Off, its paths are no different from those that never were."""
    settings = settings.model_copy(update={"environment": environment, "ui": wanted})
    async with serving(build_app(settings)) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        for path in ("/ui", "/ui/main.js"):
            assert (await client.get(path)).status_code == (200 if is_served else 401)
            answer = await client.get(path, headers={"X-API-Key": KEY})
            assert answer.status_code == (200 if is_served else 404)
        answer = await client.get("/ui/state", headers={"X-API-Key": KEY})
        assert answer.status_code == (200 if is_served else 404)


async def test_networks_that_may_not_call_get_no_page(settings: Settings) -> None:
    """The lists of networks hold for it, unlike for probes."""
    settings = settings.model_copy(update={"deny_networks": ("127.0.0.0/8",)})
    async with serving(build_app(settings)) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        assert (await client.get("/ui")).status_code == 403
        assert (await client.get("/health/live")).status_code == 200
