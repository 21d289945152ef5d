"""
``POST /v2/models/{model}/generate`` and ``…/generate_stream``: Triton's generate extension, for models that generate.

What Triton's own HTTP endpoint does with its vLLM backend, these do: fields stand beside ``text_input`` or under
``parameters``, and ``generate`` gives the prompt back before its answer unless told ``exclude_input_in_output``. One
thing is friendlier: ``generate_stream`` streams unless told ``"stream": false``.

Source:
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson
from fastapi import APIRouter

from facade.errors import InvalidInput, ModelNotFound
from facade.inference.generation import make_sampling
from facade.routes.direct import EventStream, add_documented
from facade.routes.plain_generation import read_whole
from facade.schemas import decode
from facade.schemas.generate import GENERATE_DECODER, GenerateFlags, GenerateRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from facade.context import RequestContext
    from facade.inference.generate import Generate
    from facade.inference.generation import Generation
    from facade.routes.direct import Endpoint

_PATH = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/(?P<verb>generate|generate_stream)"
)

TEMPLATES = tuple(
    f"/v2/models/{{model}}{version}/{verb}"
    for verb in ("generate", "generate_stream")
    for version in ("", "/versions/{version}")
)


class _Wish(NamedTuple):
    """What a body asks for."""

    prompt: str
    parameters: dict[str, Any]
    flags: GenerateFlags


def build_finder(generate: Generate) -> Callable[[str], tuple[Endpoint, str] | None]:
    """
    Make the look-up of the endpoints, whose paths name a model.

    Args:
        generate: The use case.

    Returns:
        Gives a path's endpoint and its template; None for other paths.
    """

    def find(path: str) -> tuple[Endpoint, str] | None:
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        model, version, is_stream = found["model"], found["version"], found["verb"] == "generate_stream"

        async def answer(context: RequestContext, body: bytes) -> bytes | EventStream:
            return await _answer(generate, model, version, context, body, is_stream=is_stream)

        version_part = "/versions/{version}" if version else ""
        return answer, f"/v2/models/{{model}}{version_part}/{found['verb']}"

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
        how = "as it is written" if template.endswith("_stream") else "whole"
        about = f"Answer a prompt, {how}."
        add_documented(router, template, None, wire_model=GenerateRequest, about=about, find_endpoint=find)
    return router


async def _answer(
    generate: Generate,
    model_name: str,
    version: str | None,
    context: RequestContext,
    body: bytes,
    *,
    is_stream: bool,
) -> bytes | EventStream:
    if version is not None and not (version.isascii() and version.isdecimal()):
        raise ModelNotFound(f"The version {version!r} is no number.", param="version")
    wish = _read(body)
    if wish.flags.stream and not is_stream:
        raise InvalidInput("'stream' is for generate_stream; generate gives one response.", param="stream")
    is_stream = is_stream and wish.flags.stream is not False
    if is_stream and wish.flags.exclude_input_in_output is False:
        raise InvalidInput(
            "'exclude_input_in_output' can't be false for a stream: the prompt is never part of it.",
            param="exclude_input_in_output",
        )
    sampling = make_sampling(generate.find(model_name, context).card, wish.parameters)
    if sampling.n != 1 or sampling.logprobs is not None:
        name = "n" if sampling.n != 1 else "logprobs"
        raise InvalidInput(f"'{name}' is not for {model_name}/generate; ask /v1/completions.", param=name)
    generation = await generate.start(
        model_name,
        wish.prompt,
        sampling,
        context,
        param="text_input",
        version=None if version is None else int(version),
    )
    if is_stream:
        return EventStream(_to_frames(generation, wish.flags))
    whole = await read_whole(generation)
    prefix = "" if wish.flags.exclude_input_in_output else wish.prompt
    return orjson.dumps(
        _head(generation)
        | {"text_output": prefix + whole.text}
        | _extras(generation, wish.flags, whole.finish_reason, generation.completion_tokens)
    )


def _read(body: bytes) -> _Wish:
    """Sort a body's fields: the prompt, sampling parameters wherever they stand, and flags."""
    fields = decode(GENERATE_DECODER, body)
    prompt, nested = fields.pop("text_input", None), fields.pop("parameters", {})
    if not isinstance(prompt, str):
        raise InvalidInput("'text_input' must be a text.", param="text_input")
    if not isinstance(nested, dict):
        raise InvalidInput("'parameters' must be an object.", param="parameters")
    packed = fields.pop("sampling_parameters", None)
    if packed is not None:
        fields |= _unpack(packed)
    fields |= nested
    names = GenerateFlags.__struct_fields__
    try:
        flags = msgspec.convert({name: fields.pop(name) for name in names if name in fields}, GenerateFlags)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}.") from None
    return _Wish(prompt, fields, flags)


def _unpack(packed: object) -> dict[str, Any]:
    """Read ``sampling_parameters``, which is JSON in a string in Triton's contract."""
    try:
        unpacked = orjson.loads(packed) if isinstance(packed, str) else packed
    except orjson.JSONDecodeError:
        unpacked = None
    if not isinstance(unpacked, dict):
        raise InvalidInput("'sampling_parameters' must be a JSON object.", param="sampling_parameters")
    return unpacked


async def _to_frames(generation: Generation, flags: GenerateFlags) -> AsyncIterator[bytes]:
    # Per token only what differs is written anew.
    head = b"data: " + orjson.dumps(_head(generation))[:-1] + b',"text_output":'
    wants_extras = (
        flags.return_finish_reason or flags.return_num_input_tokens or flags.return_num_output_tokens
    )
    async for piece in generation:
        if wants_extras:
            extras = orjson.dumps(_extras(generation, flags, piece.finish_reason, piece.num_tokens))
            yield head + orjson.dumps(piece.text) + b"," + extras[1:] + b"\n\n"
        else:
            yield head + orjson.dumps(piece.text) + b"}\n\n"


def _head(generation: Generation) -> dict[str, Any]:
    return {"model_name": generation.model.name, "model_version": str(generation.version)}


def _extras(
    generation: Generation, flags: GenerateFlags, finish_reason: str | None, num_tokens: int
) -> dict[str, Any]:
    """The outputs that were asked for, under the contract's names."""
    extras: dict[str, Any] = {}
    if flags.return_finish_reason:
        # As vLLM's backend writes it while there is none.
        extras["finish_reason"] = str(finish_reason)
    if flags.return_num_input_tokens:
        extras["num_input_tokens"] = generation.prompt_tokens
    if flags.return_num_output_tokens:
        extras["num_output_tokens"] = num_tokens
    return extras
