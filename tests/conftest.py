"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(name="anyio_backend", scope="session")
def _anyio_backend() -> str:
    """Run async tests on asyncio, as the façade does."""
    return "asyncio"
