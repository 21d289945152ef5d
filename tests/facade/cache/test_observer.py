"""The cache runs without anybody listening."""

from __future__ import annotations

import inspect

from facade.cache.observer import CacheObserver, SilentObserver
from tests.facade.cache.recorder import Recorder


def test_all_observers_take_what_the_cache_reports() -> None:
    """The silent one and the tests' own have each method of the protocol, with the same number of arguments."""
    methods = [
        name for name, member in vars(CacheObserver).items() if inspect.isfunction(member) and name[0] != "_"
    ]
    assert "hit" in methods
    for observer in (SilentObserver, Recorder):
        for name in methods:
            expected = inspect.signature(getattr(CacheObserver, name)).parameters
            assert len(inspect.signature(getattr(observer, name)).parameters) == len(expected)


def test_nobody_listening_is_no_trouble() -> None:
    """Each report is taken and forgotten."""
    observer: CacheObserver = SilentObserver()
    observer.hit("memory", 1)
    observer.miss(1)
    observer.bypass(1)
    observer.set_dropped(1, "busy")
    observer.garbage(1)
    observer.breaker_state("node", "open")
    observer.latency("lookup", 0.001)
