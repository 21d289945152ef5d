"""Who gives signs of life lives; who gave none for long enough hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facade.heartbeats import START_LOOKS, Heartbeats, Watch, create_heartbeats

if TYPE_CHECKING:
    from pathlib import Path


def test_workers_and_parent_see_the_same_counts(tmp_path: Path) -> None:
    """Each maps the file for itself."""
    create_heartbeats(tmp_path / "beats", 3)
    parent, worker = Heartbeats(tmp_path / "beats"), Heartbeats(tmp_path / "beats")
    worker.beat(1)
    worker.beat(1)
    worker.beat(2)
    assert parent.read() == [0, 2, 1]

    parent.begin(1)
    worker.beat(1)
    assert parent.read() == [0, 1, 1]
    parent.close()
    worker.close()


def test_a_worker_that_stands_still_is_named_once() -> None:
    """After so many looks in a row, and not again at once: its successor needs time to start."""
    watch = Watch(patience_looks=3)
    assert [watch.look([1, beat]) for beat in (1, 2, 3, 4, 5)] == [[], [], [], [0], []]


def test_a_pause_begins_anew_with_each_sign() -> None:
    """Two missed looks of three allowed are none after the next sign."""
    watch = Watch(patience_looks=3)
    assert not any(watch.look([count]) for count in (1, 1, 1, 2, 2, 2, 3, 3, 3))


def test_a_worker_that_never_starts_is_given_longer() -> None:
    """Before the first sign it imports and connects."""
    watch = Watch(patience_looks=3)
    looks = [watch.look([0]) for _ in range(START_LOOKS)]
    assert looks[:-1] == [[]] * (START_LOOKS - 1)
    assert looks[-1] == [0]
