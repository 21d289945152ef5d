"""
One Triton among several: its connection, what it serves, what is under way there, and whether it gets calls.

An endpoint that went silent gets a new connection for its probes: the old one waits for the kernel's ever longer
retransmissions, and would find out late that the network is back. What is under way on the old one goes on.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from facade.errors import FacadeError
from facade.triton.ejection import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from facade.triton.ejection import Ejection
    from facade.triton.interface import ModelDescription, TritonEndpoint


@dataclass(eq=False, slots=True)
class Line:
    """One connection, closed when it is replaced and nothing is under way on it any more."""

    client: TritonEndpoint
    """Speaks over it."""

    in_flight: int = 0
    """Calls under way."""

    is_retired: bool = False
    """Whether new calls go elsewhere."""


@dataclass(eq=False, slots=True)
class Endpoint:
    """One Triton."""

    address: str
    """``host:port``."""

    connect: Callable[[str], TritonEndpoint]
    """Makes a client of an address."""

    ejection: Ejection
    """Whether it gets calls."""

    make_trouble: Callable[[], Ejection]
    """Makes the state of a model that hangs here."""

    in_flight: int = 0
    """Calls under way, over all connections."""

    models: Mapping[str, ModelDescription] | None = None
    """What it has, by name; None before its first answer."""

    troubles: dict[str, Ejection] = field(default_factory=dict)
    """Models that failed here while the endpoint lives, by name."""

    missing: set[tuple[str, str]] = field(default_factory=set)
    """Models and versions that it said it hasn't, since the last look."""

    waiting: dict[asyncio.Task[object], Callable[[], bool]] = field(default_factory=dict)
    """First steps of calls that wait for it, and whether another endpoint could take each over."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to have it probed at once."""

    line: Line = field(init=False)
    """Its connection."""

    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.line = Line(self.connect(self.address))

    def has(self, model: str, version: str) -> bool:
        """Whether it is known to serve a version of a model, or any where *version* is empty."""
        if self.models is None or (found := self.models.get(model)) is None:
            return False
        if not version:
            return True
        if self.missing and (model, version) in self.missing:
            return False
        return version.isdecimal() and int(version) in found.ready_versions

    def takes(self, model: str) -> bool:
        """Whether a call of a model may be sent here now."""
        if self.ejection.state is not State.UP and (
            self.ejection.state is State.OUT or self.line.in_flight > 0
        ):
            return False
        if not self.troubles or (trouble := self.troubles.get(model)) is None:
            return True
        return trouble.state is State.UP or trouble.wait_s <= 0

    def begin(self, model: str) -> Line:
        """
        Count a call in.

        Args:
            model: Which model's.

        Returns:
            The connection to make it on; give it back to `end`.
        """
        trouble = self.troubles.get(model) if self.troubles else None
        if trouble is not None and trouble.state is State.OUT:
            trouble.postpone()
        self.in_flight += 1
        self.line.in_flight += 1
        return self.line

    def end(self, line: Line) -> None:
        """Count a call out."""
        self.in_flight -= 1
        line.in_flight -= 1
        if line.is_retired and line.in_flight == 0:
            self._close(line)

    def succeed(self, model: str) -> None:
        """A call was answered."""
        self.ejection.succeed()
        if self.troubles:
            self.troubles.pop(model, None)

    def trouble_of(self, model: str) -> Ejection:
        """Give the state of a model that failed here, though the endpoint lives."""
        trouble = self.troubles.get(model)
        if trouble is None:
            trouble = self.troubles[model] = self.make_trouble()
        return trouble

    async def is_live(self, *, timeout_s: float) -> bool:
        """Whether the server answers at all."""
        try:
            return await self.line.client.is_live(timeout_s=timeout_s)
        except FacadeError:
            return False

    async def look(self, *, timeout_s: float) -> None:
        """
        Ask what it serves.

        Args:
            timeout_s: Seconds until that is given up.

        Raises:
            FacadeError: If it doesn't answer; what it said before stays.
        """
        found = await self.line.client.describe_models(timeout_s=timeout_s)
        self.models = {model.name: model for model in found}
        self.missing.clear()

    def renew(self) -> None:
        """Take a new connection; the old one ends with what is under way on it."""
        self.retire()
        self.line = Line(self.connect(self.address))

    def retire(self) -> None:
        """Close the connection when nothing is under way any more."""
        self.line.is_retired = True
        if self.line.in_flight == 0:
            self._close(self.line)

    async def aclose(self) -> None:
        """Close the connection now."""
        await self.line.client.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close(self, line: Line) -> None:
        task = asyncio.get_running_loop().create_task(line.client.aclose(), context=Context())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
