"""What these tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="session", autouse=True)
async def _one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one loop for the whole run: gRPC's poller is one a process and doesn't like loops that close."""
    yield  # noqa: PT022  # a loop lives as long as an unfinished fixture
