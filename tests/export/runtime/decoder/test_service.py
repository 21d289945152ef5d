"""The threads around the engine: every request ends once, whatever fails, and nobody waits for another."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from export.runtime.decoder.answers import Message, Wanted
from export.runtime.decoder.choices import Delta
from export.runtime.decoder.engine import EngineFailed, Event, QueueFull, Request
from export.runtime.decoder.parameters import Parameters
from export.runtime.decoder.sender import GuardedSender
from export.runtime.decoder.service import ASKED_IN_TURN, Admission, DecoderService
from export.runtime.decoder.values import InvalidParameter

PATIENCE_S = 20.0
"""How long a test waits for what must happen, before it fails."""


class FakeEngine:
    """Gives each request three tokens, one a step, while the test lets it; refuses the third request at a time."""

    def __init__(self) -> None:
        self.running: dict[int, int] = {}
        self.may_step = threading.Event()
        self.may_step.set()
        self.failure: Exception | None = None
        self.row_failure: str | None = None
        self.is_refusal = False
        self.cancelled: list[int] = []
        self.prompt_tokens = self.generated_tokens = 0
        self.prefix_queried_tokens = self.prefix_hit_tokens = 0
        self.active = self.queued = 0

    @property
    def has_work(self) -> bool:
        """Whether a request is under way and may go on."""
        return bool(self.running) and self.may_step.is_set()

    def submit(self, request: Request) -> None:
        """Take a request."""
        if len(self.running) == 2:
            raise QueueFull("2 requests wait already")
        self.running[request.id] = 0

    def cancel(self, request_id: int) -> None:
        """Forget a request."""
        self.cancelled.append(request_id)
        self.running.pop(request_id, None)

    def step(self) -> list[Event]:
        """Give each request its next token."""
        if self.failure is not None:
            raise self.failure
        events = []
        for request_id, count in list(self.running.items()):
            if self.row_failure is not None:
                events.append(Event(request_id, 0, None, self.row_failure, self.is_refusal))
                del self.running[request_id]
                continue
            self.running[request_id] = count + 1
            is_last = count == 2
            events.append(Event(request_id, 0, Delta("abc"[count], 1, "stop" if is_last else None, None)))
            if is_last:
                del self.running[request_id]
        return events


class FakeMetrics:
    """Counts outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.first_tokens_s: list[float] = []

    def count_request(self, outcome: str) -> None:
        """Count."""
        self.outcomes[outcome] += 1

    def note_first_token(self, seconds: float) -> None:
        """Note."""
        self.first_tokens_s.append(seconds)

    def publish(self, totals: dict[str, int]) -> None:
        """Drop the numbers."""


class Caller:
    """One request's other end: what it was sent, and whether it gave up."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.error: tuple[str, str] | None = None
        self.has_left = False
        self.is_broken = False
        self.ended = threading.Event()
        self.guarded = GuardedSender(self, 1)

    def send(self, message: Message, flags: int) -> None:
        """Take a message; a broken stream takes none."""
        if self.is_broken:
            raise ConnectionError("no stream")
        assert not self.ended.is_set()
        if message.error is not None:
            self.error = message.error
        else:
            self.texts += [item.decode() for item in message.tensors["text_output"]]
        if flags:
            self.ended.set()

    def is_cancelled(self) -> bool:
        """Tell whether it gave up."""
        return self.has_left


class Bench:
    """A service with fakes on both sides."""

    def __init__(self, max_under_way: int = 10) -> None:
        self.engine, self.metrics = FakeEngine(), FakeMetrics()
        self.log: list[str] = []
        self.has_ended = threading.Event()
        self.service = DecoderService(
            self.engine,  # type: ignore[arg-type] - a double of the engine's surface
            self.metrics,  # type: ignore[arg-type]
            slots=2,
            max_under_way=max_under_way,
            respond=lambda sender, message: sender.send(message, is_final=message.is_final),
            log_error=self.log.append,
            on_fatal=self._end,
        )
        self.threads_at_end: set[str] = set()

    def _end(self) -> None:
        self.threads_at_end = {thread.name for thread in threading.enumerate()}
        self.has_ended.set()

    def ask(
        self, read: Callable[[], Admission] | None = None, *, is_slow: bool = False, name: str = ""
    ) -> Caller:
        """Send a request."""
        caller = Caller()
        self.service.admit(caller.guarded, read or admission, is_slow=is_slow, name=name)
        return caller


def admission(*, stream: bool = True) -> Admission:
    """Make a request that was read and found good."""
    return Admission(
        Wanted(stream=stream), 1, 3, lambda request_id: Request(request_id, [1], Parameters(), [])
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's doing."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A service that is closed after the test."""
    bench = Bench()
    yield bench
    bench.service.close()


def test_a_request_is_answered_and_counted(bench: Bench) -> None:
    """A stream's pieces arrive in order; an answer that is not streamed arrives whole; both are counted once."""
    streamed = bench.ask()
    whole = bench.ask(lambda: admission(stream=False), is_slow=True)
    assert streamed.ended.wait(PATIENCE_S)
    assert whole.ended.wait(PATIENCE_S)
    assert "".join(streamed.texts) == "abc"
    assert whole.texts == ["abc"]
    assert bench.metrics.outcomes == {"finished": 2}
    assert len(bench.metrics.first_tokens_s) == 2


def test_a_bad_request_is_refused_and_an_odd_one_fails_alone(bench: Bench) -> None:
    """What reading says against a request is its caller's error; an unforeseen exception is logged, and no more."""

    def refuse() -> Admission:
        raise InvalidParameter("top_p", "must be a number.")

    class Panic(BaseException):
        """What a panic in Rust is to Python."""

    def break_down() -> Admission:
        raise Panic("odd")

    for is_slow in (False, True):
        refused, broken, good = (bench.ask(read, is_slow=is_slow) for read in (refuse, break_down, admission))
        assert good.ended.wait(PATIENCE_S)
        assert refused.ended.wait(PATIENCE_S)
        assert broken.ended.wait(PATIENCE_S)
        assert refused.error == ("'top_p' must be a number.", "INVALID_ARG")
        assert broken.error == ("The request could not be read: odd", "INTERNAL")
    assert bench.metrics.outcomes == {"finished": 2, "refused": 2, "failed": 2}
    assert len(bench.log) == 2


def test_a_full_queue_says_so() -> None:
    """Beyond what may be under way, and beyond what the engine takes, callers are told at once to come later."""
    bench = Bench(max_under_way=3)
    bench.engine.may_step.clear()
    callers = [bench.ask() for _ in range(4)]
    assert callers[3].ended.wait(PATIENCE_S)
    assert callers[2].ended.wait(PATIENCE_S)
    assert callers[3].error == (
        "Exceeds maximum queue size: 3 requests are under way. Try again later.",
        "UNAVAILABLE",
    )
    assert callers[2].error == ("Exceeds maximum queue size: 2 requests wait already", "UNAVAILABLE")
    assert bench.metrics.outcomes == {"overloaded": 2}
    bench.service.close()
    assert [caller.error for caller in callers[:2]] == [
        ("The model is going away; ask another server.", "UNAVAILABLE")
    ] * 2


def test_who_gives_up_is_cancelled_wherever_the_request_is(bench: Bench) -> None:
    """A caller that left is taken out of the engine, or out of admission; the neighbour is answered."""
    bench.engine.may_step.clear()
    may_read = threading.Event()

    def read_slowly() -> Admission:
        assert may_read.wait(PATIENCE_S)
        return admission()

    running, admitted, neighbour = bench.ask(), bench.ask(read_slowly, is_slow=True), bench.ask()
    wait_until(lambda: len(bench.engine.running) == 2)
    running.has_left = admitted.has_left = True
    for caller in (running, admitted):
        assert caller.ended.wait(PATIENCE_S)
        assert caller.error == ("The request was cancelled.", "CANCELLED")
    may_read.set()
    bench.engine.may_step.set()
    after = bench.ask()
    for caller in (neighbour, after):
        assert caller.ended.wait(PATIENCE_S)
        assert "".join(caller.texts) == "abc"
    assert bench.metrics.outcomes == {"finished": 2, "cancelled": 2}
    assert not bench.engine.running


def test_who_is_to_be_stopped_is_stopped_and_nobody_else(bench: Bench) -> None:
    """In the engine or in admission; who ended, and a name that nobody has, are no matter."""
    bench.engine.may_step.clear()
    may_read = threading.Event()

    def read_slowly() -> Admission:
        assert may_read.wait(PATIENCE_S)
        return admission()

    running, neighbour = bench.ask(name="a"), bench.ask(name="b")
    admitted = bench.ask(read_slowly, is_slow=True, name="c")
    wait_until(lambda: len(bench.engine.running) == 2)
    for name in ("a", "c", "nobody", "a"):
        bench.service.stop(name)
    for caller in (running, admitted):
        assert caller.ended.wait(PATIENCE_S)
        assert caller.error == ("The request was cancelled.", "CANCELLED")
    may_read.set()
    bench.engine.may_step.set()
    bench.service.stop("nobody")
    assert neighbour.ended.wait(PATIENCE_S)
    assert "".join(neighbour.texts) == "abc"
    assert bench.metrics.outcomes == {"finished": 1, "cancelled": 2}


def test_a_broken_stream_harms_nobody(bench: Bench) -> None:
    """Responses that can't be sent, refusals as well as answers, are logged; the next caller is answered."""
    bench.engine.may_step.clear()
    may_read = threading.Event()
    waiting, running = bench.ask(lambda: may_read.wait(PATIENCE_S) and admission(), is_slow=True), bench.ask()
    waiting.is_broken = running.is_broken = waiting.has_left = True
    wait_until(lambda: len(bench.log) == 1)
    may_read.set()
    bench.engine.may_step.set()
    assert bench.ask().ended.wait(PATIENCE_S)
    wait_until(lambda: bench.metrics.outcomes == {"cancelled": 1, "finished": 2})
    assert set(bench.log) == {"A response could not be sent: no stream"}


def test_of_many_who_wait_all_are_asked_in_turn() -> None:
    """Where more wait than are asked at a time, whoever leaves is noticed all the same."""
    bench = Bench(max_under_way=1000)
    may_read = threading.Event()

    def read_slowly() -> Admission:
        assert may_read.wait(PATIENCE_S)
        return admission()

    callers = [bench.ask(read_slowly, is_slow=True) for _ in range(3 * ASKED_IN_TURN)]
    for caller in callers[1::2]:
        caller.has_left = True
    for caller in callers[1::2]:
        assert caller.ended.wait(PATIENCE_S)
        assert caller.error == ("The request was cancelled.", "CANCELLED")
    assert not any(caller.ended.is_set() for caller in callers[::2])
    may_read.set()
    bench.service.close()
    assert all(caller.ended.is_set() for caller in callers)


def test_a_request_that_leaves_itself_no_token_is_refused_late(bench: Bench) -> None:
    """What a request's own form or bias brings about is its caller's to mend, and no failure of the model."""
    bench.engine.row_failure, bench.engine.is_refusal = "'logit_bias': no token is left", True
    refused = bench.ask()
    assert refused.ended.wait(PATIENCE_S)
    assert refused.error == ("'logit_bias': no token is left.", "INVALID_ARG")
    assert bench.metrics.outcomes == {"refused": 1}


def test_a_failed_row_ends_its_request_alone(bench: Bench) -> None:
    """An event with an error is its caller's error; the service goes on."""
    bench.engine.row_failure = "the constraint failed"
    failed = bench.ask()
    assert failed.ended.wait(PATIENCE_S)
    assert failed.error == ("The answer failed: the constraint failed.", "INTERNAL")
    bench.engine.row_failure = None
    assert bench.ask().ended.wait(PATIENCE_S)
    assert bench.metrics.outcomes == {"failed": 1, "finished": 1}


@pytest.mark.parametrize("failure", [EngineFailed("no memory"), ZeroDivisionError("odd"), SystemError("odd")])
def test_a_dead_engine_is_no_silent_hang(failure: Exception) -> None:
    """When a step fails for good everybody gets an error, new callers are sent away, and the owner is told."""
    bench = Bench()
    bench.engine.may_step.clear()
    callers = [bench.ask(), bench.ask(lambda: admission(stream=False))]
    wait_until(lambda: len(bench.engine.running) == 2)
    bench.engine.failure = failure
    bench.engine.may_step.set()
    late = bench.ask()  # wakes the engine's thread; it may come in before or after the failure
    assert bench.has_ended.wait(PATIENCE_S)
    for caller in callers:
        assert caller.ended.is_set()
        assert caller.error is not None
        assert caller.error[1] == "INTERNAL"
        assert str(failure) in caller.error[0]
    assert late.ended.is_set()
    assert bench.service.has_failed
    # Nobody speaks with Triton any more: its locks are held by no thread of a process that ends.
    assert not {"decoder-watcher", "decoder-sender"} & bench.threads_at_end
    refused = bench.ask()
    assert refused.error == ("The model is going away; ask another server.", "UNAVAILABLE")
    bench.service.close()
