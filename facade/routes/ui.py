"""
``/ui``: a page to look at and to try models with. Static files, read once; `ui_state` has what they show.

Served to anybody, as health is: the files hold nothing but themselves. All that the page shows it asks for with the key
that is typed into it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastapi import APIRouter, Request, Response

from facade.errors import RouteNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = "/ui"
FOLDER = Path(__file__).resolve().parents[1] / "ui"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # Asked for each time and rarely sent again: a new release's page is never mixed with an older one's scripts.
    "Cache-Control": "no-cache",
    # Scripts are our own files and nothing else; text can't become markup; `blob:` is a picked picture's preview.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File(NamedTuple):
    """One file of the page."""

    content: bytes
    """Its bytes."""

    media_type: str
    """What it is."""

    etag: str
    """Changes when it does."""


def load_files() -> Mapping[str, File]:
    """
    Read the page's files.

    Returns:
        By the exact path that each is served at.
    """
    return {_path_of(path): _load(path) for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}


def build_router(files: Mapping[str, File]) -> APIRouter:
    """
    Make the routes.

    Args:
        files: By path.

    Returns:
        The router.
    """
    router = APIRouter(include_in_schema=False)

    @router.api_route(PAGE, methods=["GET", "HEAD"])
    @router.api_route(f"{PAGE}/{{file}}", methods=["GET", "HEAD"])
    async def send_file(request: Request) -> Response:
        """Send a file of the page: one that was found at the start, whatever the path says."""
        path = request.scope["path"]
        file = files.get(path)
        if file is None:
            raise RouteNotFound(f"There is nothing at {path}.")
        headers = HEADERS | {"ETag": file.etag}
        # A proxy that compresses makes the tag weak (W/"…"), and a list has several: ours is somewhere in there.
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return router


def _path_of(file: Path) -> str:
    return PAGE if file.name == "index.html" else f"{PAGE}/{file.name}"


def _load(file: Path) -> File:
    content = file.read_bytes()
    return File(content, MEDIA_TYPES[file.suffix], f'"{sha256(content).hexdigest()[:32]}"')
