"""The only way to a response sender: never asked after its end, news gathered while another is being sent."""

import threading
from concurrent.futures import ThreadPoolExecutor

from export.runtime.decoder.sender import GuardedSender, Outbox

FINAL = 1


class FragileSender:
    """A stand-in for Triton's response sender that notes the use after free which kills the real server."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, int]] = []
        self.is_freed = False
        self.was_used_after_free = False

    def send(self, response: object = None, flags: int = 0) -> None:
        """Note a response; the final flag frees the sender."""
        self.was_used_after_free |= self.is_freed
        self.sent.append((response, flags))
        self.is_freed = flags == FINAL

    def is_cancelled(self) -> bool:
        """Say yes, as of a caller who gave up."""
        self.was_used_after_free |= self.is_freed
        return True


def test_nothing_follows_the_last_response() -> None:
    """After the final response nothing is sent, nothing is asked, and the sender is not cancelled."""
    fragile = FragileSender()
    guarded = GuardedSender(fragile, FINAL)
    assert guarded.is_cancelled()
    assert guarded.send("a", is_final=False)
    assert guarded.send("b", is_final=True)
    assert not guarded.send("c", is_final=True)
    guarded.finish()
    assert not guarded.is_cancelled()
    assert fragile.sent == [("a", 0), ("b", FINAL)]
    assert not fragile.was_used_after_free


def test_a_request_can_be_closed_without_a_response() -> None:
    """`finish` sends the flag alone, once."""
    fragile = FragileSender()
    guarded = GuardedSender(fragile, FINAL)
    guarded.finish()
    guarded.finish()
    assert fragile.sent == [(None, FINAL)]


def test_threads_that_ask_and_send_never_meet_a_freed_sender() -> None:
    """However askers and senders meet, Triton's object is not touched after its end."""
    senders = [FragileSender() for _ in range(200)]
    guarded = [GuardedSender(sender, FINAL) for sender in senders]
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        for sender in guarded:
            sender.is_cancelled()

    def send(*, is_final: bool) -> None:
        start.wait()
        for sender in guarded:
            sender.send("x", is_final=is_final)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(ask), pool.submit(ask)]
        jobs += [pool.submit(send, is_final=is_final) for is_final in (False, True)]
        for job in jobs:
            job.result()
    assert not any(sender.was_used_after_free for sender in senders)
    assert all(sender.is_freed for sender in senders)


class SlowAnswer:
    """An answer whose first sending waits for the test."""

    def __init__(self) -> None:
        self.started, self.may_go_on = threading.Event(), threading.Event()
        self.turns = 0

    def send_news(self) -> None:
        """Count the turn, and wait in the first one."""
        self.turns += 1
        self.started.set()
        assert self.may_go_on.wait(10)


def test_news_that_gather_are_sent_in_one_turn() -> None:
    """An answer that is told many times while it is being sent gets one more turn for all of them."""
    errors: list[str] = []
    outbox = Outbox(errors.append)
    answer = SlowAnswer()
    outbox.tell(answer)
    assert answer.started.wait(10)
    for _ in range(50):
        outbox.tell(answer)
    answer.may_go_on.set()
    outbox.close()
    assert answer.turns == 2
    assert not errors


def test_a_message_that_cannot_be_sent_stops_no_other() -> None:
    """An answer that raises is logged; the next one is sent."""

    class Broken:
        def send_news(self) -> None:
            raise RuntimeError("no stream")

    errors: list[str] = []
    outbox = Outbox(errors.append)
    answer = SlowAnswer()
    answer.may_go_on.set()
    outbox.tell(Broken())
    outbox.tell(answer)
    outbox.close()
    assert answer.turns == 1
    assert errors == ["A response could not be sent: no stream"]
