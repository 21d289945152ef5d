"""What ``POST /predict`` answers for the task text-generation: ``{"prompt": …}`` in, ``{"result": …}`` out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from facade.errors import InvalidInput
from facade.inference.encode import name_items
from facade.inference.generation import make_sampling
from facade.routes.direct import EventStream
from facade.routes.plain_tasks import find_texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.generate import Generate
    from facade.inference.generation import Generation
    from facade.routes.predict import PlainTask
    from facade.schemas.predict import PredictRequest

DEFAULT_MAX_TOKENS = 256
"""Longest answer where the caller doesn't say: some paragraphs."""

DONE = b"data: [DONE]\n\n"
"""OpenAI's word for the end of a stream."""


class Whole(NamedTuple):
    """One answer, read to its end."""

    text: str
    """All of it."""

    finish_reason: str | None
    """Why it ended."""


def build_task(generate: Generate) -> PlainTask:
    """
    Make what answers.

    Args:
        generate: The use case.

    Returns:
        What answers ``POST /predict`` for models that generate.
    """

    async def answer(
        wanted: PredictRequest, model: ServedModel, context: RequestContext
    ) -> bytes | EventStream:
        param, prompts, is_one = find_texts(wanted)
        sampling = make_sampling(model.card, {"max_tokens": DEFAULT_MAX_TOKENS, **wanted.parameters})
        if sampling.n != 1 or sampling.logprobs is not None:
            name = "n" if sampling.n != 1 else "logprobs"
            raise InvalidInput(f"'{name}' is not for /predict; ask /v1/completions.", param=name)
        wants_stream = b"text/event-stream" in context.request_headers.get(b"accept", b"")
        if wants_stream and not is_one:
            raise InvalidInput(f"'{param}' must be one text for an answer as a stream.", param=param)
        if not prompts:
            raise InvalidInput(f"'{param}' must not be empty; send at least one text.", param=param)
        name_prompt = name_items(param, len(prompts))
        generate.check_prompts(prompts, name_prompt)
        generations = await asyncio.gather(
            *(
                generate.start(model.name, prompt, sampling, context, param=name_prompt(index))
                for index, prompt in enumerate(prompts)
            )
        )
        if wants_stream:
            return EventStream(_to_frames(generations[0]))
        wholes = await asyncio.gather(*map(read_whole, generations))
        texts, reasons = [whole.text for whole in wholes], [whole.finish_reason for whole in wholes]
        return orjson.dumps(
            {
                "model": model.name,
                "version": generations[0].version,
                "task": model.card.task,
                "result": texts[0] if is_one else texts,
                "finish_reason": reasons[0] if is_one else reasons,
                "usage": count_usage(*generations),
            }
        )

    return answer


async def read_whole(generation: Generation) -> Whole:
    """
    Read the only answer of a generation to its end.

    Args:
        generation: With ``n`` 1.

    Returns:
        The answer.
    """
    parts = []
    finish_reason = None
    async for piece in generation:
        parts.append(piece.text)
        finish_reason = piece.finish_reason
    return Whole("".join(parts), finish_reason)


def count_usage(*generations: Generation) -> dict[str, Any]:
    """
    Write OpenAI's usage object.

    Args:
        generations: As far as they were read.

    Returns:
        Values for JSON.
    """
    prompt_tokens = sum(generation.prompt_tokens for generation in generations)
    completion_tokens = sum(generation.completion_tokens for generation in generations)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


async def _to_frames(generation: Generation) -> AsyncIterator[bytes]:
    """Write each piece as an event; the last one says why it is the last, and what it all took."""
    async for piece in generation:
        if piece.finish_reason is not None:
            end = {
                "text": piece.text,
                "finish_reason": piece.finish_reason,
                "usage": count_usage(generation),
            }
            yield b"data: " + orjson.dumps(end) + b"\n\n"
        elif piece.text:
            yield b'data: {"text":' + orjson.dumps(piece.text) + b"}\n\n"
    yield DONE
