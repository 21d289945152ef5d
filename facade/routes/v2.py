"""
``POST /v2/models/{model}/infer``: the V2 protocol's inference, as Triton's own HTTP endpoint answers it.

JSON or binary data, one tensor or many, compressed or not: `facade.schemas.v2` reads and writes it, and
`facade.inference.infer` has it answered.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

from fastapi import APIRouter

from facade.inference.infer import Order
from facade.routes.direct import Content, add_documented
from facade.routes.v2_encoding import compress, decompress
from facade.schemas.v2 import (
    HEADER_LENGTH,
    V2DocumentedRequest,
    Written,
    find_header_length,
    read_raw,
    read_request,
    write_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from facade.context import RequestContext
    from facade.inference.infer import Infer, Inferred
    from facade.routes.direct import Endpoint
    from facade.schemas.v2 import Wanted

# Eighteen digits fit an int64; Triton has no other versions.
_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[0-9]{1,18}))?/infer")

TEMPLATES = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")

LARGE_BYTES = 256 * 1024
"""Bodies from here on are read, and answers written, in a thread: others get their turns meanwhile."""


class _Asked(NamedTuple):
    """What a path names."""

    model: str
    version: str
    """Empty where it names none."""


def build_finder(infer: Infer, body_limit_bytes: int) -> Callable[[str], tuple[Endpoint, str] | None]:
    """
    Make the look-up of the endpoint, whose paths name a model.

    Args:
        infer: The use case.

        body_limit_bytes: Largest body, once it is unfolded.

    Returns:
        Gives a path's endpoint and its template; None for other paths.
    """

    def find(path: str) -> tuple[Endpoint, str] | None:
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        asked = _Asked(found["model"], found["version"] or "")

        async def answer(context: RequestContext, body: bytes) -> Content:
            return await _answer(infer, asked, context, body, body_limit_bytes)

        return answer, TEMPLATES[bool(asked.version)]

    return find


def build_router(find: Callable[[str], tuple[Endpoint, str] | None]) -> APIRouter:
    """
    Make the routes.

    Args:
        find: From `build_finder`.

    Returns:
        The router.
    """
    router = APIRouter(tags=["kserve"])
    for template in TEMPLATES:
        about = "Run any model on tensors, as JSON or as binary data (Inference-Header-Content-Length)."
        add_documented(
            router, template, None, wire_model=V2DocumentedRequest, about=about, find_endpoint=find
        )
    return router


async def _answer(
    infer: Infer, asked: _Asked, context: RequestContext, body: bytes, limit_bytes: int
) -> Content:
    described = infer.find(asked.model, context)
    headers = context.request_headers

    def read() -> Wanted | bytes:
        whole = decompress(body, headers.get(b"content-encoding"), limit_bytes)
        length = find_header_length(headers.get(HEADER_LENGTH.encode()), whole)
        return whole if length == 0 else read_request(whole, length)

    is_large = len(body) >= LARGE_BYTES or b"content-encoding" in headers
    wanted = await asyncio.to_thread(read) if is_large else read()
    if isinstance(wanted, bytes):
        metadata = await infer.inspect("model", asked.model, asked.version, context)
        wanted = read_raw(wanted, metadata, is_batched=described.max_batch_size > 0)
    order = Order(asked.model, asked.version, wanted.inputs, wanted.outputs, wanted.options)
    inferred = await infer.answer(order, context)
    is_large = sum(len(tensor.raw) for tensor in inferred.outputs.values()) >= LARGE_BYTES
    accept = headers.get(b"accept-encoding")
    if is_large:
        return await asyncio.to_thread(_write, wanted, inferred, accept)
    return _write(wanted, inferred, accept)


def _write(wanted: Wanted, inferred: Inferred, accept: bytes | None) -> Content:
    written: Written = write_response(
        wanted, inferred.model_name, str(inferred.version), inferred.outputs, inferred.parameters
    )
    body, encoding = compress(written.body, accept)
    headers = {} if encoding is None else {"content-encoding": encoding, "vary": "accept-encoding"}
    if written.header_length is None:
        return Content(body, "application/json", headers)
    return Content(body, "application/octet-stream", {HEADER_LENGTH: str(written.header_length), **headers})
