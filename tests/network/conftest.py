"""Three real Tritons for all tests here, and a façade in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.network.fleet import Fleet
from tests.stack import Facade, start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="fleet", scope="session")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The Tritons."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(name="facade", scope="session")
def _facade(fleet: Fleet) -> Iterator[Facade]:
    """The façade; without a cache, so that every call reaches a Triton."""
    with start_facade(fleet.url, FACADE_CACHE="false") as facade:
        yield facade


@pytest.fixture(name="networks")
def _networks(fleet: Fleet) -> Iterator[Fleet]:
    """The Tritons, where each has a network of its own; healed afterwards."""
    if fleet.reason:
        pytest.skip(fleet.reason)
    yield fleet
    for member in fleet.members:
        member.network.heal()
