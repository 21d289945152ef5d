"""
The floor of what any ASGI application costs: read the body, answer with bytes that were made beforehand.

Run it by uvicorn, with ``PEER_ANSWER`` naming the file that holds them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

ANSWER = Path(os.environ["PEER_ANSWER"]).read_bytes()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, whatever it is."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
