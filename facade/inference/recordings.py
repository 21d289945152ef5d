"""
An answer while it is written: it grows piece by piece, and any number of callers read it, each at its own pace.

Rules a later editor must keep:

* The model is never held up by a reader. What it wrote waits here, and what waits is bounded (`RETAINED_BYTES`): who
  reads so slowly that more would have to be kept is cut off; the others read on.
* Who started the answer is a reader like all others. When the last one left, the writing stops, down to Triton.
* An answer that is being stopped, or that has let go of its beginning, is not found by newcomers.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

import msgspec

from facade.errors import FacadeError, ReadTooSlowly
from facade.inference.generation import Piece

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel

RETAINED_BYTES = 1024 * 1024
"""
Most bytes of one answer that are kept for its readers, by estimate. Some 8,000 tokens in pieces of one token each.
A longer answer lets go of its beginning, and is neither shared nor stored.
"""

PIECE_BYTES = 128
"""What a piece takes beside its text: the tuple, its place in the list, the text's own head."""

LOGPROB_BYTES = 96
"""What one likely token takes."""


class Recording:
    """
    One request's answers.

    Args:
        model: Who writes.

        version: The version that writes.

        choices: How many answers there will be.

        on_abandoned: Called when the last reader left before the end.
    """

    def __init__(
        self,
        model: ServedModel,
        version: int,
        choices: int,
        on_abandoned: Callable[[Recording], None] = lambda _: None,
    ) -> None:
        self.model = model
        self.version = version
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.error: FacadeError | None = None
        self.is_over = False
        self.has_whole_text = True
        """Whether the beginning is still here."""
        self.readers: set[Reader] = set()
        self.pieces: list[Piece] = []
        self.dropped = 0
        """Pieces that were let go of."""
        self._unfinished = set(range(choices))
        self._sizes: list[int] = []
        self._retained_bytes = 0
        self._on_abandoned = on_abandoned
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_complete(self) -> bool:
        """Whether each answer came to its end."""
        return not self._unfinished

    def add(self, prompt_tokens: int, pieces: Sequence[Piece]) -> None:
        """Take what is new, and wake who waits for it."""
        self.prompt_tokens = prompt_tokens
        for piece in pieces:
            self.pieces.append(piece)
            self.completion_tokens += piece.num_tokens
            size = _weigh(piece)
            self._sizes.append(size)
            self._retained_bytes += size
            if piece.finish_reason is not None:
                self._unfinished.discard(piece.index)
        if self._retained_bytes > RETAINED_BYTES:
            self._make_room()
        self._wake()

    def end(self, error: FacadeError | None = None) -> None:
        """Nothing more will come: the answers are whole, or *error* says why they aren't."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self._wake()

    async def grown(self) -> None:
        """Wait until something changes."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        if reader in self.readers:
            self.readers.discard(reader)
            if not self.readers and not self.is_over:
                self._on_abandoned(self)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _make_room(self) -> None:
        """Let go of what all have read; if that doesn't do, cut off those who are furthest behind."""
        while self._retained_bytes > RETAINED_BYTES and self.readers:
            furthest_behind = min(reader.position for reader in self.readers)
            if furthest_behind > self.dropped:
                self._drop(furthest_behind - self.dropped)
                continue
            for reader in [one for one in self.readers if one.position == furthest_behind]:
                reader.is_cut_off = True
                self.leave(reader)

    def _drop(self, count: int) -> None:
        self.has_whole_text = False
        self._retained_bytes -= sum(self._sizes[:count])
        del self.pieces[:count], self._sizes[:count]
        self.dropped += count


class Reader:
    """
    One caller's reading of a `Recording`; a `facade.inference.generation.Generation`.

    Args:
        recording: What is read.

        context: Who reads; learns of the tokens as they are read.
    """

    def __init__(self, recording: Recording, context: RequestContext) -> None:
        self.model = recording.model
        self.version = recording.version
        self.completion_tokens = 0
        self.position = 0
        """Pieces read so far."""
        self.is_cut_off = False
        """Whether what comes next has been let go of."""
        self._recording = recording
        self._context = context
        recording.readers.add(self)
        context.at_end.append(self.close)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self._recording.prompt_tokens

    async def wait_begun(self) -> None:
        """
        Wait for the first piece, or for the end.

        Raises:
            FacadeError: If the answer failed before it began.
        """
        recording = self._recording
        while not recording.pieces and not recording.is_over:
            await recording.grown()
        if recording.error is not None and not recording.pieces:
            self.close()
            raise _own_copy(recording.error)
        self._context.tokens += recording.prompt_tokens

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        recording = self._recording
        while True:
            if self.is_cut_off:
                raise ReadTooSlowly("The answer was read so slowly that what comes next could not be kept.")
            at = self.position - recording.dropped
            if at < len(recording.pieces):
                piece = recording.pieces[at]
                self.position += 1
                self.completion_tokens += piece.num_tokens
                self._context.tokens += piece.num_tokens
                self._context.completion_tokens += piece.num_tokens
                return piece
            if recording.is_over:
                self.close()
                if recording.error is not None:
                    raise _own_copy(recording.error)
                raise StopAsyncIteration
            await recording.grown()

    def close(self) -> None:
        """Read no further."""
        self._recording.leave(self)

    async def aclose(self) -> None:
        """Read no further; see `facade.inference.generation.Generation`."""
        self.close()


def _weigh(piece: Piece) -> int:
    likely = sum(1 + len(logprob.top) for logprob in piece.logprobs)
    return PIECE_BYTES + len(piece.text) + LOGPROB_BYTES * likely


def _own_copy(error: FacadeError) -> FacadeError:
    """The same failure for one of several readers: headers are added to it on the way up."""
    own = copy(error)
    own.headers = dict(error.headers)
    own.__cause__ = error
    return own


_STORED = msgspec.msgpack.Decoder(tuple[int, list[Piece]])


def to_bytes(recording: Recording) -> bytes:
    """Write a whole answer for the cache, in its pieces: a stream of it is replayed as it was."""
    return msgspec.msgpack.encode((recording.prompt_tokens, recording.pieces))


def from_bytes(stored: bytes, model: ServedModel, version: int, choices: int) -> Recording | None:
    """
    Read what `to_bytes` wrote.

    Args:
        stored: From the cache.

        model: Who wrote it.

        version: The version that wrote it.

        choices: How many answers it must have.

    Returns:
        The answers, whole; None if another release stored them in another way.
    """
    try:
        prompt_tokens, pieces = _STORED.decode(stored)
    except msgspec.MsgspecError:
        return None
    recording = Recording(model, version, choices)
    recording.add(prompt_tokens, pieces)
    recording.end()
    return recording if recording.is_complete else None
