"""
The decoder at work: the threads between Triton's `execute()` and the engine.

    execute() ── admit: tokenize, check ──> inbox ──> engine's thread: submit, cancel, step ──> outbox ──> caller
                   └── slow ones, in a pool ──┘                  ^
                                       watcher: who gave up? ────┘      (and publishes metrics)

Rules for later editors:

1. The engine belongs to one thread; whoever wants something of it leaves a command in the inbox.
2. Every request ends exactly once: with its last delta, an error, or a cancellation, also when the engine dies.
3. The watcher asks requests under way every 50 ms, wherever they are: admitted, queued, running, not streamed.
   Where more wait than it can ask, the oldest, which run, come first, and the others in turn.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from .answers import Answer, ErrorCode, Message, Wanted
from .choices import Delta
from .engine import Engine, EngineFailed, Event, QueueFull, Request
from .metrics import DecoderMetrics
from .sender import GuardedSender, Outbox
from .values import InvalidParameter

WATCH_PERIOD_S = 0.05
"""How often requests are asked whether their caller gave up; the promise is to act within 0.1 s."""

ASKED_IN_TURN = 64
"""
Waiting requests that are asked each time. A question takes 0.1 to 0.2 ms of Triton's time, so that asking 800
waiting ones every time would take a core; a caller that left while it waited harms nobody until its turn.
"""

PUBLISH_PERIOD_S = 0.5
"""How often metrics are published; Prometheus comes every few seconds."""

QUEUE_FULL = "Exceeds maximum queue size"
"""
Triton's own words: callers tell a full model, which they should give time, from a lost server by them.
Source: triton-inference-server/core, src/dynamic_batch_scheduler.cc.
"""

ADMISSION_THREADS = 2
"""Threads for requests whose admission takes long, so that they delay no others."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was read and found good."""

    wanted: Wanted
    """What to tell the caller."""

    n: int
    """How many answers."""

    num_input_tokens: int
    """Tokens of the prompt."""

    build: Callable[[int], Request]
    """Makes the request for the engine, given its id."""


@dataclass(slots=True)
class _UnderWay:
    """A request between its arrival and its end."""

    sender: GuardedSender
    """The way to its caller."""

    name: str
    """Its caller's id for it; empty for none."""

    arrived_s: float
    """When it came, on the monotonic clock."""

    answer: Answer | None = None
    """What it gets back; None until it is admitted."""

    has_first_token: bool = False
    """Whether a token was made for it."""


class DecoderService:
    """Takes requests and sees to it that each is answered."""

    def __init__(
        self,
        engine: Engine,
        metrics: DecoderMetrics,
        *,
        slots: int,
        max_under_way: int,
        respond: Callable[[GuardedSender, Message], None],
        log_error: Callable[[str], None],
        on_fatal: Callable[[], None],
    ) -> None:
        """
        Start the threads.

        Args:
            engine: The engine; from now on it belongs to this service's thread.

            metrics: Where to count.

            slots: Answers that the engine writes at a time.

            max_under_way: Most requests at a time, wherever they are; more are refused as overload.

            respond: Sends a message as Triton's response; called in the sender's thread or in `admit`'s.

            log_error: Takes a line for the server's log.

            on_fatal: Called once everybody has an error and nothing is asked or told any more, when the engine failed
                for good.
        """
        self._engine = engine
        self._metrics = metrics
        self._slots = slots
        self._max_under_way = max_under_way
        self._respond = respond
        self._log_error = log_error
        self._on_fatal = on_fatal
        self._ids = itertools.count()
        self._under_way: dict[int, _UnderWay] = {}
        self._inbox: list[Callable[[], None]] = []
        self._changed = threading.Condition()  # guards the inbox, the requests under way, and the next two
        self._is_closing = False
        self.has_failed = False
        """Whether the engine failed for good, so that the process is about to end."""
        self._closing = threading.Event()
        self._outbox = Outbox(log_error)
        self._pool = ThreadPoolExecutor(ADMISSION_THREADS, thread_name_prefix="decoder-admission")
        self._engine_thread = threading.Thread(target=self._run_engine, name="decoder-engine", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="decoder-watcher", daemon=True)
        self._engine_thread.start()
        self._watcher.start()

    def admit(
        self, sender: GuardedSender, read: Callable[[], Admission], *, is_slow: bool, name: str = ""
    ) -> None:
        """
        Take a request, or refuse it.

        Args:
            sender: The way to its caller.

            read: Reads and checks it; raises InvalidParameter.

            is_slow: Whether reading may take long: then it is done in another thread.

            name: The caller's id for it, good for `stop`; empty for none.
        """
        with self._changed:
            is_open = not (self._is_closing or self.has_failed)
            has_room = len(self._under_way) < self._max_under_way
            request_id = next(self._ids)
            under_way = _UnderWay(sender, name, time.monotonic())
            if is_open and has_room:
                self._under_way[request_id] = under_way
        if not is_open:
            self._refuse(sender, "The model is going away; ask another server.", "UNAVAILABLE", "failed")
        elif not has_room:
            message = f"{QUEUE_FULL}: {self._max_under_way} requests are under way. Try again later."
            self._refuse(sender, message, "UNAVAILABLE", "overloaded")
        elif is_slow:
            self._pool.submit(self._admit, request_id, under_way, read)
        else:
            self._admit(request_id, under_way, read)

    def stop(self, name: str) -> None:
        """
        Have requests ended as if their callers had left; a name that nobody has is one that ended already.

        Args:
            name: Their callers' id for them.
        """
        with self._changed:
            stopped = [request_id for request_id, found in self._under_way.items() if found.name == name]
            self._inbox.extend(partial(self._cancel, request_id) for request_id in stopped)
            self._changed.notify()

    def close(self) -> None:
        """End all threads; whoever still waits gets an error."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._engine_thread.join()
        self._watcher.join()
        self._fail_everything("The model is going away; ask another server.", "UNAVAILABLE")
        self._outbox.close()

    def _admit(self, request_id: int, under_way: _UnderWay, read: Callable[[], Admission]) -> None:
        """Read a request and leave it in the inbox; in `admit`'s thread or in the pool's."""
        try:
            admission = read()
            answer = Answer(
                admission.wanted,
                admission.n,
                admission.num_input_tokens,
                partial(self._respond, under_way.sender),
            )
            request = admission.build(request_id)
        except InvalidParameter as error:
            self._drop(request_id, str(error), "INVALID_ARG", "refused")
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception, and its caller waits too
            self._log_error(f"A request could not be read: {error!r}")
            self._drop(request_id, f"The request could not be read: {error}", "INTERNAL", "failed")
        else:
            with self._changed:
                # Whoever gave up meanwhile is gone already.
                if request_id in self._under_way:
                    under_way.answer = answer
                    self._inbox.append(partial(self._submit, request))
                    self._changed.notify()

    def _submit(self, request: Request) -> None:
        """Hand a request to the engine; in the engine's thread."""
        if request.id not in self._under_way:
            return
        try:
            self._engine.submit(request)
        except QueueFull as error:
            self._drop(request.id, f"{QUEUE_FULL}: {error}", "UNAVAILABLE", "overloaded")
        except ValueError as error:  # reading lets nothing through that the engine can't take: odd
            self._log_error(f"The engine refused a request: {error}")
            self._drop(request.id, str(error), "INTERNAL", "failed")

    def _cancel(self, request_id: int) -> None:
        """Take a request out of the engine; in the engine's thread."""
        self._engine.cancel(request_id)
        self._drop(request_id, "The request was cancelled.", "CANCELLED", "cancelled")

    def _drop(self, request_id: int, message: str, code: ErrorCode, outcome: str) -> None:
        """End a request with an error, unless it has ended."""
        with self._changed:
            under_way = self._under_way.pop(request_id, None)
        if under_way is None:
            return
        if under_way.answer is None:
            self._refuse(under_way.sender, message, code, outcome)
        elif under_way.answer.fail(message, code):
            self._metrics.count_request(outcome)
            self._outbox.tell(under_way.answer)

    def _refuse(self, sender: GuardedSender, message: str, code: ErrorCode, outcome: str) -> None:
        """Answer a request that was not admitted."""
        self._metrics.count_request(outcome)
        try:
            self._respond(sender, Message({}, is_final=True, error=(message, code)))
        except Exception as error:  # noqa: BLE001 - one caller's broken stream is nobody else's fault
            self._log_error(f"A response could not be sent: {error}")

    def _run_engine(self) -> None:
        """Run the engine until the service closes or the engine fails."""
        while True:
            with self._changed:
                while not (self._inbox or self._engine.has_work or self._is_closing):
                    self._changed.wait()
                if self._is_closing:
                    return
                commands, self._inbox = self._inbox, []
            try:
                for command in commands:
                    command()
                events = self._engine.step() if self._engine.has_work else []
                for event in events:
                    self._dispatch(event)
            except BaseException as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                self._give_up(error)
                return

    def _dispatch(self, event: Event) -> None:
        """Add what the engine made to the request's answer."""
        under_way = self._under_way.get(event.request_id)
        if under_way is None or under_way.answer is None:
            return
        if event.is_refused:
            self._drop(event.request_id, f"{event.error}.", "INVALID_ARG", "refused")
            return
        if event.error is not None or event.delta is None:
            self._drop(event.request_id, f"The answer failed: {event.error}.", "INTERNAL", "failed")
            return
        self._note_token(under_way, event.delta)
        answer = under_way.answer
        if answer.add(event.index, event.delta):
            self._outbox.tell(answer)
        if answer.is_ended:
            with self._changed:
                self._under_way.pop(event.request_id, None)
            self._metrics.count_request("finished")

    def _note_token(self, under_way: _UnderWay, delta: Delta) -> None:
        """Take the time of a request's first token."""
        if delta.num_tokens and not under_way.has_first_token:
            under_way.has_first_token = True
            self._metrics.note_first_token(time.monotonic() - under_way.arrived_s)

    def _give_up(self, error: BaseException) -> None:
        """Tell everybody that the engine is dead, take no more requests, and say so to the owner."""
        reason = str(error) if isinstance(error, EngineFailed) else f"The model failed: {error!r}"
        self._log_error(reason)
        with self._changed:
            self.has_failed = True
        self._fail_everything(reason, "INTERNAL")
        self._outbox.close()
        self._closing.set()
        self._watcher.join()
        self._on_fatal()

    def _fail_everything(self, message: str, code: ErrorCode) -> None:
        """End every request under way with an error."""
        with self._changed:
            request_ids = list(self._under_way)
        for request_id in request_ids:
            self._drop(request_id, message, code, "failed")

    def _watch(self) -> None:
        """Look for callers who gave up, and publish the metrics, until the service closes."""
        next_publishing_s = 0.0
        for turn in itertools.count():
            if self._closing.wait(WATCH_PERIOD_S):
                break
            try:
                self._look_for_the_gone(turn)
            except Exception as error:  # noqa: BLE001 - without this thread nobody could cancel any more
                self._log_error(f"Callers could not be asked whether they left: {error!r}")
            if time.monotonic() >= next_publishing_s:
                next_publishing_s = time.monotonic() + PUBLISH_PERIOD_S
                self._publish()
        self._publish()

    def _look_for_the_gone(self, turn: int) -> None:
        """Ask callers whether they gave up, and have the requests of those who did cancelled."""
        asked = self._choose_asked(turn)
        gone = [request_id for request_id, under_way in asked if under_way.sender.is_cancelled()]
        if gone:
            with self._changed:
                self._inbox.extend(partial(self._cancel, request_id) for request_id in gone)
                self._changed.notify()

    def _choose_asked(self, turn: int) -> list[tuple[int, _UnderWay]]:
        """Choose who is asked this time: the oldest, who have the slots or are next, and some of those who wait."""
        with self._changed:
            under_way = list(self._under_way.items())
        oldest, waiting = under_way[: 2 * self._slots], under_way[2 * self._slots :]
        if len(waiting) <= ASKED_IN_TURN:
            return under_way
        start = turn * ASKED_IN_TURN % len(waiting)
        return oldest + (waiting + waiting)[start : start + ASKED_IN_TURN]

    def _publish(self) -> None:
        engine = self._engine
        with contextlib.suppress(Exception):  # Triton without metrics serves all the same
            self._metrics.publish(
                {
                    "decoder_prompt_tokens_total": engine.prompt_tokens,
                    "decoder_generated_tokens_total": engine.generated_tokens,
                    "decoder_prefix_queried_tokens_total": engine.prefix_queried_tokens,
                    "decoder_prefix_hit_tokens_total": engine.prefix_hit_tokens,
                    "decoder_active": engine.active,
                    "decoder_queued": engine.queued,
                }
            )
