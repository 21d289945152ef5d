"""When a supervisor starts a Triton again, told by a server that only says what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from deploy.local import watch
from deploy.local.watch import Restarts, TritonWatch

if TYPE_CHECKING:
    from deploy.local.triton import TritonServer


class Said:
    """Says of a Triton what a test wants, and what time it is."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.code: int | None = None
        self.dead: list[int] = []
        self.answers = True

    def exit_code(self) -> int | None:
        """How it ended."""
        return self.code

    def dead_stubs(self) -> list[int]:
        """Its stubs that died."""
        return self.dead

    def is_live(self, timeout_s: float) -> bool:
        """Answer, or let the asker wait."""
        self.now_s += 0 if self.answers else timeout_s
        return self.answers

    def watched_for(self, seconds: float, watching: TritonWatch) -> list[str | None]:
        """Look four times a second."""
        seen, end_s = [], self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.25
            seen.append(watching.what_is_wrong())
        return seen


def _watching(said: Said) -> TritonWatch:
    return TritonWatch(cast("TritonServer", said), clock=lambda: said.now_s)


def test_restarts_are_spaced_and_counted() -> None:
    """Twice the pause each time, and none after too many within the window."""
    restarts = Restarts(limit=3, window_s=60.0)

    assert [restarts.next_pause_s(now_s) for now_s in (0.0, 1.0, 2.0, 3.0)] == [0.1, 0.2, 0.4, None]


def test_restarts_are_forgotten_after_a_while() -> None:
    """A part that dies once an hour is started again for ever."""
    restarts = Restarts(limit=1, window_s=60.0)

    assert [restarts.next_pause_s(now_s) for now_s in (0.0, 61.0, 122.0)] == [0.1, 0.1, 0.1]


def test_a_server_that_ended_is_told_at_once() -> None:
    """The first look says by what."""
    said = Said()
    watching = _watching(said)
    said.code = -9

    assert watching.what_is_wrong() == "was ended by SIGKILL"


def test_a_stub_counts_as_lost_only_after_a_while() -> None:
    """One that is dead for an instant was unloaded; one that stays dead is never replaced."""
    said = Said()
    watching = _watching(said)
    said.dead = [7]
    assert set(said.watched_for(1.0, watching)) == {None}
    said.dead = []
    assert set(said.watched_for(5.0, watching)) == {None}
    said.dead = [8]

    assert said.watched_for(2.5, watching)[-1] == "lost a process that runs a model"


def test_a_server_that_hangs_is_told_within_a_minute_and_a_pause_is_not() -> None:
    """Ten seconds without an answer are forgiven, half a minute is not, and a new server begins anew."""
    said = Said()
    watching = _watching(said)
    said.answers = False
    assert set(said.watched_for(10.0, watching)) == {None}
    said.answers = True
    assert set(said.watched_for(10.0, watching)) == {None}
    said.answers = False
    seen = said.watched_for(60.0, watching)

    assert seen[-1] == f"lives, but left {watch.PROBES_MISSED} questions in a row unanswered"
    watching.forget()
    assert watching.what_is_wrong() is None
