"""What OpenAI's two routes for text generation share on their way out: errors, heads, likely tokens, events."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from facade.errors import FacadeError, InvalidInput
from facade.routes.plain_generation import DONE, count_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from facade.context import RequestContext
    from facade.inference.generate import Generate
    from facade.inference.generation import Generation, Piece, Sampling, TokenLogprob

    _Pieces = asyncio.Queue[tuple[int, Piece] | FacadeError | None]

WAITING_PIECES = 64
"""Pieces of several answers at once that wait to be sent; what comes behind them waits in the answers themselves."""


class Head(NamedTuple):
    """What all parts of an answer begin with."""

    id: str
    """The answer's own."""

    object: str
    """OpenAI's word for what it is."""

    created: int
    """When, in seconds since 1970."""

    model: str
    """Who answers."""

    system_fingerprint: str
    """The model's version: answers with a seed are the same while this is."""


class Event(NamedTuple):
    """Writes a stream's events; only what differs is written anew for each."""

    start: bytes
    """All of an event's bytes before its choices."""

    end: bytes
    """All of its bytes after them."""

    def write(self, choice: bytes) -> bytes:
        """Write an event with one choice."""
        return self.start + choice + self.end


def make_head(prefix: str, kind: str, generation: Generation) -> Head:
    """
    Begin an answer.

    Args:
        prefix: Of its id.

        kind: OpenAI's word for what it is.

        generation: Who answers.

    Returns:
        The head.
    """
    return Head(
        f"{prefix}-{secrets.token_hex(12)}",
        kind,
        int(time.time()),
        generation.model.name,
        f"v{generation.version}",
    )


def make_event(head: Head, *, include_usage: bool) -> Event:
    """
    Make what writes a stream's events.

    Args:
        head: What they begin with.

        include_usage: Whether there will be an event with the usage, and null in those before.

    Returns:
        The writer.
    """
    start = b"data: " + orjson.dumps(head._asdict())[:-1] + b',"choices":['
    return Event(start, b'],"usage":null}\n\n' if include_usage else b"]}\n\n")


def end_stream(head: Head, generations: Sequence[Generation], *, include_usage: bool) -> bytes:
    """
    Write the last events of a stream.

    Args:
        head: What they begin with.

        generations: As far as they were read.

        include_usage: Whether to say how many tokens it all took.

    Returns:
        The usage, if asked for, and ``[DONE]``.
    """
    if not include_usage:
        return DONE
    usage = head._asdict() | {"choices": [], "usage": count_usage(*generations)}
    return b"data: " + orjson.dumps(usage) + b"\n\n" + DONE


async def start_generation(
    generate: Generate,
    model_name: str,
    prompt: str,
    sampling: Sampling,
    context: RequestContext,
    *,
    param: str,
    renamed: Mapping[str, str],
) -> Generation:
    """
    Have a prompt answered, and name what is wrong as the route's own callers do.

    Args:
        generate: The use case.

        model_name: As the caller wrote it.

        prompt: What the model reads.

        sampling: How to choose tokens.

        context: Who asks.

        param: The request's field that holds the prompt.

        renamed: The route's own names of sampling parameters.

    Returns:
        The answer, once it has begun.

    Raises:
        FacadeError: As `Generate.start` does.
    """
    try:
        return await generate.start(model_name, prompt, sampling, context, param=param)
    except InvalidInput as error:
        name = renamed.get(error.param or "")
        if name is None:
            raise
        message = error.message.replace(f"'{error.param}'", f"'{name}'", 1)
        raise InvalidInput(message, param=name, code=error.code) from error


async def merge(
    generations: Sequence[Generation], context: RequestContext
) -> AsyncIterator[tuple[int, Piece]]:
    """
    Read several generations as their pieces come.

    Args:
        generations: Each read once.

        context: Whose end ends the reading, too.

    Yields:
        Which of them, and its next piece.

    Raises:
        FacadeError: What the first of them that fails raises; the others are read no further.
    """
    if len(generations) == 1:
        async for piece in generations[0]:
            yield 0, piece
        return
    pieces: _Pieces = asyncio.Queue(WAITING_PIECES)
    reading = asyncio.create_task(_read_all(generations, pieces))

    def stop() -> None:
        reading.cancel()

    # Whoever is sent the answer may leave while this waits at a yield, and nobody would come back to it.
    context.at_end.append(stop)
    while (found := await pieces.get()) is not None:
        if isinstance(found, FacadeError):
            raise found
        yield found


async def _read_all(generations: Sequence[Generation], pieces: _Pieces) -> None:
    """Read all to their ends, and say so; or say what went wrong first."""

    async def read(place: int, generation: Generation) -> None:
        async for piece in generation:
            await pieces.put((place, piece))

    try:
        await gather(*(read(place, generation) for place, generation in enumerate(generations)))
    except FacadeError as error:
        await pieces.put(error)
    else:
        await pieces.put(None)


async def gather(*awaitables: Any) -> list[Any]:
    """Wait for all; if one fails, the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def chat_logprobs(likely: Sequence[TokenLogprob], top: int) -> dict[str, Any]:
    """
    Write how likely tokens were, as chat completions have it.

    Args:
        likely: The tokens.

        top: How many of the likeliest to report at each place.

    Returns:
        Values for JSON.
    """
    content = [
        _likely_token(entry.token, entry.logprob)
        | {"top_logprobs": [_likely_token(token, logprob) for token, logprob in entry.top[:top]]}
        for entry in likely
    ]
    return {"content": content, "refusal": None}


def _likely_token(token: str, logprob: float) -> dict[str, Any]:
    # What is only a part of a character has a replacement character, and its bytes are not known here.
    known = None if "\ufffd" in token else list(token.encode())
    return {"token": token, "logprob": logprob, "bytes": known}


def completion_logprobs(likely: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """
    Write how likely tokens were, as completions have it.

    Args:
        likely: The tokens.

        offset: Characters of the choice's text before them.

    Returns:
        Values for JSON.
    """
    offsets = []
    for entry in likely:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in likely],
        "token_logprobs": [entry.logprob for entry in likely],
        "top_logprobs": [dict(entry.top) for entry in likely],
        "text_offset": offsets,
    }
