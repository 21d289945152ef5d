"""The server's life, where it isn't seen from outside: what the garbage collector is spared."""

from __future__ import annotations

import gc

from facade.server import GARBAGE_THRESHOLD, settle_garbage_collector


def test_what_exists_at_the_start_is_left_alone_and_cycles_are_still_found() -> None:
    """Afterwards old objects are frozen, and the collector is on and looks at new ones less often."""
    before = gc.get_threshold()
    try:
        settle_garbage_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (GARBAGE_THRESHOLD, *before[1:])
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
