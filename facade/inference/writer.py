"""
Has models write answers: takes in what they can hold, makes the calls, and fills the recordings that callers read.

An answer is written for whoever reads it, and not for the request that began it: it has a task of its own, which ends
with the answer, or when the last reader left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from facade.errors import BackendFailed, BackendUnavailable, FacadeError
from facade.inference.admission import Admission
from facade.inference.generation_contract import explain_failure, read_response, to_inputs
from facade.inference.recordings import Recording
from facade.inference.release_split import recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from facade.inference.catalogue import ServedModel
    from facade.inference.fair_queue import Share
    from facade.inference.generation import Piece, Sampling
    from facade.inference.generation_contract import Response
    from facade.inference.release_split import ReleaseSplit
    from facade.triton.interface import Tensor, TritonBackend

log = logging.getLogger(__name__)

ENDING_S = 1.0
"""
Seconds that the streams of whole answers get to end by themselves. One that is cancelled while its last response is on
its way made Triton 2.51 wait for it, in vain, for its whole exit time.
"""


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """What one model takes in."""

    max_generations: int = 256
    """Answers that wait or are written at once, for one model version."""

    max_prompt_bytes: int = 256 * 1024
    """Most bytes of one prompt."""

    max_call_s: float = 1200.0
    """
    Seconds after which an answer is given up whoever reads it. Twice the longest request: one that joins an answer in
    its last moment still has its own time.
    """


class GenerationObserver(Protocol):
    """Who is told how fast tokens come."""

    def observe_first_token(self, model: str, seconds: float) -> None:
        """A prompt waited so long for the first piece of its answer."""

    def observe_output_token(self, model: str, seconds: float) -> None:
        """The mean time between two tokens of an answer."""


class SilentGenerationObserver:
    """Nobody is told."""

    def observe_first_token(self, model: str, seconds: float) -> None:
        """Forget it."""

    def observe_output_token(self, model: str, seconds: float) -> None:
        """Forget it."""


class Order(NamedTuple):
    """What is to be written."""

    model: ServedModel
    """Who writes."""

    version: int
    """The version that writes."""

    prompt: bytes
    """What it reads, in UTF-8."""

    sampling: Sampling
    """How it chooses tokens."""


class Writer:
    """
    All answers that are being written.

    Args:
        backend: Who runs the models.

        limits: What one model takes in.

        observer: Told how fast tokens come.

        split: Told how each version does.
    """

    def __init__(
        self,
        backend: TritonBackend,
        limits: GenerationLimits,
        observer: GenerationObserver,
        split: ReleaseSplit,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._observer = observer
        self._split = split
        self._admissions: dict[tuple[str, int], Admission] = {}
        self._tasks: dict[Recording, asyncio.Task[None]] = {}

    @property
    def running(self) -> int:
        """Answers that wait or are written now, over all models."""
        return sum(admission.admitted for admission in self._admissions.values())

    def write(
        self,
        order: Order,
        share: Share,
        *,
        on_whole: Callable[[Recording], None],
        on_gone: Callable[[Recording], None],
    ) -> Recording:
        """
        Begin to have an answer written.

        Args:
            order: What is to be written.

            share: The tier of the caller that it is begun for.

            on_whole: Called when the answer is whole, before its readers know.

            on_gone: Called when newcomers should find it no more; may be called twice.

        Returns:
            The answer; it goes on while somebody reads it.

        Raises:
            Overloaded: If the model has as much to do as it may have.
        """
        admission = self._admit_at(order.model.name, order.version)
        choices = order.sampling.n
        admission.enter(choices, share)

        def abandon(recording: Recording) -> None:
            on_gone(recording)
            self._tasks[recording].cancel()

        recording = Recording(order.model, order.version, choices, on_abandoned=abandon)
        task = asyncio.get_running_loop().create_task(
            self._run(order, recording, on_whole), name="generation"
        )
        self._tasks[recording] = task

        def finish(_: asyncio.Task[None]) -> None:
            admission.leave(choices, share)
            del self._tasks[recording]
            on_gone(recording)
            # If the task was cancelled, perhaps before it began, and somebody still reads.
            recording.end(BackendUnavailable("The façade is shutting down.", retry_after_s=1.0))

        task.add_done_callback(finish)
        return recording

    async def aclose(self) -> None:
        """Stop all answers; whoever reads one is told so."""
        ending = []
        for recording, task in self._tasks.items():
            if recording.is_over:
                ending.append(task)
            else:
                task.cancel()
        tasks = list(self._tasks.values())
        if ending:
            await asyncio.wait(ending, timeout=ENDING_S)
        for task in ending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _admit_at(self, model_name: str, version: int) -> Admission:
        admission = self._admissions.get((model_name, version))
        if admission is None:
            # Versions retire: what has nothing to do is forgotten.
            self._admissions = {key: busy for key, busy in self._admissions.items() if busy.admitted}
            most = self._limits.max_generations
            # Between equal bounds nothing adapts: what a decoder does at once is its slots, and the rest waits there.
            admission = Admission(min_items=most, max_items=most, batch_items=1)
            self._admissions[model_name, version] = admission
        return admission

    async def _run(self, order: Order, recording: Recording, on_whole: Callable[[Recording], None]) -> None:
        pace = _Pace(order.model.name, self._observer)

        def take(response: Response) -> None:
            recording.add(response.prompt_tokens, response.pieces)
            pace.note(response.pieces)
            if recording.is_complete and not recording.is_over:
                # The stream's own end comes a moment later; nobody has to wait for it.
                pace.end()
                on_whole(recording)
                recording.end()

        try:
            await self._call_model(order, take)
            if not recording.is_complete:
                recording.end(BackendFailed("The model ended its answer without a reason."))
        except FacadeError as error:
            # What comes before the first piece is explained to each reader, in the words of the route; later it is
            # not about the prompt any more.
            recording.end(explain_failure(error, param="prompt") if recording.pieces else error)
        except Exception:
            log.exception("generation_crashed", extra={"model": order.model.name})
            recording.end(BackendFailed("The model's answer could not be read."))

    async def _call_model(self, order: Order, take: Callable[[Response], None]) -> None:
        """Make one call, or one for each answer where the model's calls are good for one."""
        sampling = order.sampling
        if sampling.n == 1 or order.model.card.is_of_our_decoder:
            await self._follow(order, to_inputs(order.prompt, sampling), take, first_index=0)
            return
        # vLLM's engine streams each of n answers in messages of its own, and its backend in Triton doesn't say which.
        calls = []
        for index in range(sampling.n):
            inputs = to_inputs(order.prompt, single_choice(sampling, index))
            calls.append(asyncio.create_task(self._follow(order, inputs, take, first_index=index)))
        try:
            await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _follow(
        self, order: Order, inputs: Sequence[Tensor], take: Callable[[Response], None], *, first_index: int
    ) -> None:
        """Read one call to its end."""
        stream = self._backend.stream(
            order.model.name,
            str(order.version),
            inputs,
            (),
            timeout_s=self._limits.max_call_s,
            can_stop=order.model.card.is_of_our_decoder,
        )
        with recorded(self._split, order.model.name, order.version, len(order.prompt)) as call:
            async with aclosing(stream) as responses:
                async for outputs in responses:
                    call.note_first_piece()
                    take(read_response(outputs, first_index=first_index))


class _Pace:
    """
    Measures how fast one answer comes.

    Args:
        model: Who writes it.

        observer: Who is told.
    """

    def __init__(self, model: str, observer: GenerationObserver) -> None:
        self._model = model
        self._observer = observer
        self._started = time.perf_counter()
        self._first_at = 0.0
        self._tokens = 0

    def note(self, pieces: Sequence[Piece]) -> None:
        """Take note of what came."""
        if not self._first_at:
            self._first_at = time.perf_counter()
            self._observer.observe_first_token(self._model, self._first_at - self._started)
            return
        for piece in pieces:
            self._tokens += piece.num_tokens

    def end(self) -> None:
        """Take note of the end."""
        if self._tokens:
            mean_s = (time.perf_counter() - self._first_at) / self._tokens
            self._observer.observe_output_token(self._model, mean_s)


def single_choice(sampling: Sampling, index: int) -> Sampling:
    """
    Ask for one of several answers alone.

    Args:
        sampling: What was asked for.

        index: Which of the answers.

    Returns:
        The same, for one answer; with a seed of its own, or all would be the same.
    """
    seed = None if sampling.seed is None else (sampling.seed + index) % 2**63
    return msgspec.structs.replace(sampling, n=1, seed=seed)
