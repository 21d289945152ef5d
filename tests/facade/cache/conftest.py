"""A real Redis for the cache's tests, and an observer that remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.facade.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="server")
def _server() -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may maltreat."""
    with RedisServer() as server:
        yield server
