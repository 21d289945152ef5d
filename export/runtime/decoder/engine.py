"""
Continuous batching: which prompt is read next, which rows decode, who has ended. No Triton, no clock, no threads.

A step is one call of the graph: a chunk of one prompt, several short prompts, or one token for every running row.
Steps alternate so that running rows never wait for more tokens than one chunk has. Requests get their slots
in the order in which they came; `prompts` has the order of reading. Answers of one request share one reading of its
prompt.

Rules for later editors:

1. Every request ends exactly once: with its last answer's `finish_reason`, with an error, or by `cancel`.
2. A row's fault ends its own request. A fault of the graph ends the engine: `step` raises `EngineFailed`.
3. One thread calls everything here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .choices import Choice, Delta
from .graph import DecoderGraph, FloatArray
from .parameters import Parameters
from .prefix import PrefixCache
from .prompts import Prompt, Prompts
from .sampling import RowFailed, RowRefused, Sampled
from .slots import Reading, Slots


class QueueFull(Exception):
    """As many requests wait as may; the caller may try again later."""


class EngineFailed(Exception):
    """The graph failed, and with it everything that waited or was under way; the engine is of no more use."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much an engine takes on."""

    slots: int
    """Rows that decode together."""

    prefill_chunk: int
    """Most tokens of a prompt that are read in one step, and the block of the prefix cache."""

    max_queued: int
    """Requests that may wait for slots."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A prompt, and the answers that are wanted."""

    id: int
    """What events and `cancel` call it; unique among those under way."""

    prompt_ids: Sequence[int]
    """Token ids, at least one."""

    parameters: Parameters
    """How its tokens are chosen; prompt and `max_tokens` together fit the model."""

    choices: Sequence[Choice]
    """The answers, empty so far; each takes a slot."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a step did for one answer."""

    request_id: int
    """Whose answer."""

    index: int
    """Which of the request's answers."""

    delta: Delta | None
    """What it adds; its `finish_reason` is set with the last one. None with an error."""

    error: str | None = None
    """Why the whole request ended; nothing comes after it."""

    is_refused: bool = False
    """Whether that is the request's own fault; the error begins with a parameter's name then."""


class RowSampler(Protocol):
    """What the engine asks of a sampler; `sampling.Sampler` is one."""

    def sample(self, logits: FloatArray, choices: Sequence[Choice]) -> Sequence[Sampled | RowFailed]:
        """Choose the next token of each row; may write to the logits."""
        ...


@dataclass(slots=True, eq=False)
class _Row:
    """An answer that decodes."""

    request_id: int
    """Whose answer."""

    choice: Choice
    """The answer."""

    length: int
    """Tokens whose keys and values the row has."""

    token: int
    """The token that it reads next."""


class Engine:
    """Generates text for many requests at a time."""

    def __init__(self, graph: DecoderGraph, sampler: RowSampler, limits: EngineLimits) -> None:
        """
        Begin with nothing to do.

        Args:
            graph: The model.

            sampler: Chooses tokens.

            limits: How much is taken on.
        """
        self._graph = graph
        self._sampler = sampler
        self._limits = limits
        self._cache = PrefixCache(graph.rows, limits.prefill_chunk)
        self._slots = Slots(graph, limits.slots, self._cache)
        self._waiting: dict[int, Request] = {}
        self._prompts = Prompts(limits.prefill_chunk)
        self._rows: list[_Row] = []
        self._failure: str | None = None
        self.prompt_tokens = 0
        """Tokens of prompts whose reading began, shared beginnings included."""
        self.generated_tokens = 0
        """Tokens of answers."""
        self.prefix_queried_tokens = 0
        """Tokens of prompts that were looked up in the prefix cache."""
        self.prefix_hit_tokens = 0
        """Tokens of prompts that were not read because some row held them."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._prompts or self._rows)

    @property
    def queued(self) -> int:
        """Requests that wait for slots."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Requests whose prompt is being read or whose answers decode."""
        return len(self._prompts) + len({row.request_id for row in self._rows})

    def submit(self, request: Request) -> None:
        """
        Take a request on.

        Args:
            request: The request.

        Raises:
            QueueFull: If too many wait already.

            ValueError: If it could never be answered: an empty or overlong prompt, more answers than slots, an id
                that is under way.

            EngineFailed: If the engine has failed before.
        """
        if self._failure is not None:
            raise EngineFailed(self._failure)
        tokens = len(request.prompt_ids) + max(
            (it.parameters.max_tokens for it in request.choices), default=0
        )
        if not request.prompt_ids or tokens > self._graph.max_model_len:
            raise ValueError(
                f"A prompt of {len(request.prompt_ids)} tokens and its answer come to {tokens} tokens; the model reads "
                f"1 to {self._graph.max_model_len}."
            )
        if not 1 <= len(request.choices) <= self._limits.slots:
            raise ValueError(
                f"A request may ask for 1 to {self._limits.slots} answers, not {len(request.choices)}."
            )
        if request.id in self._waiting or self._is_under_way(request.id):
            raise ValueError(f"Request {request.id} is under way already.")
        if len(self._waiting) >= self._limits.max_queued:
            raise QueueFull(f"{len(self._waiting)} requests wait already. Try again later.")
        self._waiting[request.id] = request

    def cancel(self, request_id: int) -> None:
        """
        Stop a request wherever it is; its rows are free at once, and no more events come of it.

        Args:
            request_id: The request; one that has ended, or never was, is no error.
        """
        if self._waiting.pop(request_id, None) is not None:
            return
        prompt = self._prompts.pop(request_id)
        if prompt is not None:
            self._slots.release(prompt.reading)
        self._retire([place for place, row in enumerate(self._rows) if row.request_id == request_id])

    def step(self) -> list[Event]:
        """
        Do one call of the graph: read a chunk of a prompt or several short ones, or generate a token for each row.

        Returns:
            What it did, in the order of the rows; empty after all but the last chunk of a prompt.

        Raises:
            EngineFailed: If the graph fails; everything under way has ended.
        """
        if self._failure is not None:
            raise EngineFailed(self._failure)
        try:
            self._admit()
            for prompt in self._prompts:
                prompt.known = self._cache.known_tokens(prompt.reading.names)
            group = self._prompts.choose(rows_wait=bool(self._rows))
            if group:
                return self._read_together(group) if len(group) > 1 else self._read_chunk(group[0])
            self._prompts.end_turn()
            return self._decode() if self._rows else []
        # ONNX Runtime's exceptions have no common base; whatever it is, the rows can't be trusted any more.
        except Exception as error:
            raise self._fail(error) from error

    def _is_under_way(self, request_id: int) -> bool:
        """Tell whether a request has slots."""
        return request_id in self._prompts or any(row.request_id == request_id for row in self._rows)

    def _admit(self) -> None:
        """Give slots to those that wait, first come first served."""
        while self._waiting:
            request = next(iter(self._waiting.values()))
            if not self._slots.reserve(len(request.choices)):
                return
            del self._waiting[request.id]
            names = self._cache.name_blocks(request.prompt_ids)
            reading = Reading(names, len(request.choices))
            self._prompts.add(Prompt(request.id, request.prompt_ids, request.choices, reading))

    def _read_together(self, group: Sequence[Prompt]) -> list[Event]:
        """Read whole prompts in one call; the longest ones' answers begin, the others' with the next token."""
        first = self._slots.place_together([prompt.reading for prompt in group])
        logits = self._graph.prefill_together(first, [prompt.prompt_ids for prompt in group])
        longest = max(prompt.left for prompt in group)
        self._prompts.spend(longest * len(group))
        events: list[Event] = []
        for place, prompt in enumerate(group):
            self._count_prompt(prompt, 0)
            is_longest = prompt.left == longest
            self._slots.advance(prompt.reading, prompt.left)
            if is_longest:
                events += self._begin_answers(prompt, logits[place : place + 1])
            else:
                self._begin_later(prompt)
        return events

    def _begin_later(self, prompt: Prompt) -> None:
        """Let an answer begin with the next decode step, which reads the prompt's last token once more."""
        self._prompts.pop(prompt.request_id)
        self._slots.start(prompt.reading, 1)
        ids = prompt.prompt_ids
        self._rows.append(_Row(prompt.request_id, prompt.choices[0], len(ids) - 1, ids[-1]))

    def _read_chunk(self, prompt: Prompt) -> list[Event]:
        """Read a chunk of a prompt; with the last one its answers begin."""
        ids, reading = prompt.prompt_ids, prompt.reading
        row, gained = self._slots.place(reading)
        self._count_prompt(prompt, gained)
        chunk = ids[reading.read : reading.read + self._limits.prefill_chunk]
        logits = self._graph.prefill(row, reading.read, chunk)
        self._slots.advance(reading, len(chunk))
        self._prompts.spend(len(chunk))
        return self._begin_answers(prompt, logits) if not prompt.left else []

    def _count_prompt(self, prompt: Prompt, gained: int) -> None:
        """Count a prompt's tokens once, and each time those that another row had read for it."""
        if not prompt.is_counted:
            prompt.is_counted = True
            self.prompt_tokens += len(prompt.prompt_ids)
            self.prefix_queried_tokens += len(prompt.prompt_ids)
        self.prefix_hit_tokens += gained

    def _begin_answers(self, prompt: Prompt, logits: FloatArray) -> list[Event]:
        """Choose the first token of each answer to a prompt that has been read."""
        self._prompts.pop(prompt.request_id)
        ids = prompt.prompt_ids
        rows = [_Row(prompt.request_id, choice, len(ids), ids[-1]) for choice in prompt.choices]
        events, ended = self._sample(np.repeat(logits, len(rows), axis=0) if len(rows) > 1 else logits, rows)
        going = [row for place, row in enumerate(rows) if place not in ended]
        self._slots.start(prompt.reading, len(going))
        self._rows += going
        return events

    def _decode(self) -> list[Event]:
        """Generate one token for each running row."""
        logits = self._graph.decode([row.token for row in self._rows], [row.length for row in self._rows])
        for row in self._rows:
            row.length += 1
        events, ended = self._sample(logits, self._rows)
        self._retire(ended)
        return events

    def _sample(self, logits: FloatArray, rows: Sequence[_Row]) -> tuple[list[Event], list[int]]:
        """
        Give rows their next tokens.

        Args:
            logits: float32 array of shape (rows, vocab_size).

            rows: The rows.

        Returns:
            The events, and the places of the rows that ended with them.
        """
        choices = [row.choice for row in rows]
        try:
            sampled = self._sampler.sample(logits, choices)
        # The graph is sound, so nothing else is lost: those who were sampled together are told.
        except Exception as error:  # noqa: BLE001 - a sampler's bug must not end the server
            sampled = [RowFailed(f"The next token can't be chosen: {error}")] * len(rows)
        events: dict[int, Event] = {}
        failed: dict[int, Event] = {}
        for place, (row, token) in enumerate(zip(rows, sampled, strict=True)):
            if row.request_id not in failed:
                events[place] = event = _accept(row, token)
                self.generated_tokens += event.error is None
                if event.error is not None:
                    failed[row.request_id] = event
                else:
                    row.token = row.choice.token_ids[-1]
        if failed:
            # An error is the last that is heard of a request, so it stands alone.
            events = {place: it for place, it in events.items() if failed.get(it.request_id, it) is it}
        ended = [
            place
            for place, row in enumerate(rows)
            if row.choice.finish_reason is not None or row.request_id in failed
        ]
        return list(events.values()), ended

    def _retire(self, places: Sequence[int]) -> None:
        """End running rows, from the last to the first, so that no row that ends is moved."""
        for place in sorted(places, reverse=True):
            self._slots.retire(place, self._rows[-1].length)
            last = self._rows.pop()
            if place < len(self._rows):
                self._rows[place] = last

    def _fail(self, error: Exception) -> EngineFailed:
        """End everything because of a fault of the graph."""
        self._failure = f"The model failed: {error}"
        self._rows, self._waiting = [], {}
        self._prompts = Prompts(self._limits.prefill_chunk)
        return EngineFailed(self._failure)


def _accept(row: _Row, token: Sampled | RowFailed) -> Event:
    """Give a row its token; the event says what it added, or why the row's request ended."""
    if isinstance(token, RowFailed):
        return Event(row.request_id, row.choice.index, None, str(token), isinstance(token, RowRefused))
    try:
        delta = row.choice.accept(token)
    # A constraint or a decoder of some token; its neighbours have nothing to do with it.
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's alone
        return Event(row.request_id, row.choice.index, None, str(error), isinstance(error, RowRefused))
    return Event(row.request_id, row.choice.index, delta)
