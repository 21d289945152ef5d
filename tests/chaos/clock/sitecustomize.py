"""
Lets a Python process believe in another wall clock, which a file tells; Python imports this by itself, by its name.

libfaketime would move C's clock too, but with it `time.sleep` fails at random (EINVAL, Debian 12's 0.9.10, Python
3.11). So `datetime.now` and what C code asks the kernel are not moved; monotonic clocks aren't either, as when a clock
is set.
"""

import os
import time
from pathlib import Path

_FILE = Path(os.environ["CHAOS_CLOCK_FILE"])
_real_time = time.time


def _moved_time() -> float:
    return _real_time() + float(_FILE.read_text() or 0)


time.time = _moved_time
