"""A model's answers as OpenAI's ``chat.completion`` or as a stream of its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from facade.inference.tools import Call, make_call_id
from facade.routes.openai_generation import chat_logprobs, end_stream, make_event, make_head
from facade.routes.plain_generation import count_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from facade.inference.generation import Generation, Piece, Sampling, TokenLogprob
    from facade.inference.tools import AnswerParser, CallFormat

_ROLE_DELTA = b'{"role":"assistant","content":""}'
_NO_DELTA = b"{}"


class Voice(NamedTuple):
    """How answers' texts are to be read."""

    make_parser: Callable[[], AnswerParser | None]
    """Makes what finds calls in one answer; None where all is text."""

    call_format: CallFormat
    """How the model writes calls."""

    is_single: bool
    """Whether an answer has one call at most."""


class ChatAnswer:
    """
    Writes the answers to one conversation.

    Args:
        generation: As it comes.

        sampling: How many answers, and with which log probabilities.

        voice: How their texts are to be read.
    """

    def __init__(self, generation: Generation, sampling: Sampling, voice: Voice) -> None:
        self._generation = generation
        self._top_logprobs = sampling.logprobs
        self._choices = [_Choice(voice) for _ in range(sampling.n)]

    async def whole(self) -> bytes:
        """
        Write the answers when they are whole.

        Returns:
            JSON.
        """
        async for piece in self._generation:
            self._choices[piece.index].add(piece)
        choices = [
            {
                "index": index,
                "message": choice.message(),
                "logprobs": None
                if self._top_logprobs is None
                else chat_logprobs(choice.logprobs, self._top_logprobs),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self._choices)
        ]
        head = make_head("chatcmpl", "chat.completion", self._generation)
        return orjson.dumps(head._asdict() | {"choices": choices, "usage": count_usage(self._generation)})

    async def frames(self, *, include_usage: bool) -> AsyncIterator[bytes]:
        """
        Write the answers as they come.

        Args:
            include_usage: Whether one more chunk says how many tokens it all took.

        Yields:
            Server-sent events, one or more at a time.
        """
        head = make_head("chatcmpl", "chat.completion.chunk", self._generation)
        event = make_event(head, include_usage=include_usage)
        async for piece in self._generation:
            events = b"".join(map(event.write, self._write_choices(piece)))
            if events:
                yield events
        yield end_stream(head, [self._generation], include_usage=include_usage)

    def _write_choices(self, piece: Piece) -> list[bytes]:
        """Write what a piece adds, each as the one choice of a chunk."""
        choice = self._choices[piece.index]
        start = b'{"index":%d,"delta":' % piece.index
        nothing = b',"logprobs":null,"finish_reason":null}'
        written = []
        if not choice.has_begun:
            choice.has_begun = True
            written.append(start + _ROLE_DELTA + nothing)
        deltas = choice.deltas(piece)
        if self._top_logprobs is not None and piece.logprobs:
            likely = orjson.dumps(chat_logprobs(piece.logprobs, self._top_logprobs))
            first = deltas.pop(0) if deltas else _NO_DELTA
            written.append(start + first + b',"logprobs":' + likely + b',"finish_reason":null}')
        written += [start + delta + nothing for delta in deltas]
        if piece.finish_reason is not None:
            reason = orjson.dumps(choice.finish_reason)
            written.append(start + _NO_DELTA + b',"logprobs":null,"finish_reason":' + reason + b"}")
        return written


class _Choice:
    """One of the answers, as far as it has come."""

    def __init__(self, voice: Voice) -> None:
        self.has_begun = False
        self.finish_reason: str | None = None
        self.logprobs: list[TokenLogprob] = []
        self._voice = voice
        self._parser = voice.make_parser()
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def add(self, piece: Piece) -> None:
        """Keep a piece for the whole answer."""
        self.logprobs += piece.logprobs
        self._texts += [found for found in self._read(piece) if isinstance(found, str)]

    def message(self) -> dict[str, Any]:
        """Write the whole answer."""
        text = "".join(self._texts)
        content = None if self._calls and not text else text
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        return message | {"tool_calls": self._calls} if self._calls else message

    def deltas(self, piece: Piece) -> list[bytes]:
        """Write what a piece adds, as chunks' deltas."""
        if self._parser is None:
            self.finish_reason = piece.finish_reason
            return [b'{"content":' + orjson.dumps(piece.text) + b"}"] if piece.text else []
        return [
            orjson.dumps({"content": found} if isinstance(found, str) else {"tool_calls": [found]})
            for found in self._read(piece, is_delta=True)
        ]

    def _read(self, piece: Piece, *, is_delta: bool = False) -> list[str | dict[str, Any]]:
        """Take a piece apart into texts and calls."""
        if self._parser is None:
            self.finish_reason = piece.finish_reason
            return [piece.text]
        events = self._parser.feed(piece.text)
        if piece.finish_reason is not None:
            events += self._parser.finish()
        found: list[str | dict[str, Any]] = []
        for event in events:
            if isinstance(event, str):
                found.append(event)
            elif not (self._voice.is_single and self._calls):
                written = self._write_call(event)
                # In a stream a call's place tells the client which of its calls grows; ours come whole.
                found.append({"index": len(self._calls), **written} if is_delta else written)
                self._calls.append(written)
        self.finish_reason = (
            "tool_calls" if self._calls and piece.finish_reason == "stop" else piece.finish_reason
        )
        return found

    def _write_call(self, call: Call) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": make_call_id(self._voice.call_format), "type": "function", "function": function}
