"""Endpoints in memory that do as a script says, for policies whose outages last for minutes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from facade.errors import BackendUnavailable, DeadlineExceeded
from facade.triton.interface import ModelDescription

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from facade.triton.interface import InferOptions, Tensor, Topic

LATENCY_S = 0.02
"""Of an endpoint that is well."""

MODEL = ModelDescription("m", (1,), 8, is_decoupled=False, model_card=None)


class Machine:
    """A server that is ``well``, ``refuses`` connections, or is ``frozen``."""

    def __init__(self) -> None:
        self.state = "well"
        self.calls = 0
        self.probes = 0
        self.open_clients = 0
        self.served: Sequence[ModelDescription] = [MODEL]

    async def serve(self, timeout_s: float, latency_s: float = LATENCY_S) -> None:
        """Take as long as it takes."""
        if self.state == "refuses":
            raise BackendUnavailable("refused", retry_after_s=1.0)
        if self.state == "frozen" or latency_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded("too late")
        await asyncio.sleep(latency_s)


class ScriptedClient:
    """A `TritonEndpoint` of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        machine.open_clients += 1

    async def infer(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        options: InferOptions | None = None,
    ) -> Mapping[str, Tensor]:
        """Answer with nothing."""
        self._machine.calls += 1
        await self._machine.serve(timeout_s)
        return {}

    async def stream(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        can_stop: bool = False,
    ) -> AsyncGenerator[Mapping[str, bytes], None]:
        """Answer with three pieces."""
        self._machine.calls += 1
        for _ in range(3):
            await self._machine.serve(timeout_s)
            yield {"text_output": b"x"}

    async def describe_models(self, *, timeout_s: float) -> list[ModelDescription]:
        """Give what is served."""
        await self._machine.serve(timeout_s, 0.001)
        return [*self._machine.served]

    async def inspect(
        self, topic: Topic, model_name: str = "", model_version: str = "", *, timeout_s: float
    ) -> Any:
        """Tell nothing."""
        await self._machine.serve(timeout_s, 0.001)
        return {}

    async def is_live(self, *, timeout_s: float) -> bool:
        """Count a probe."""
        self._machine.probes += 1
        await self._machine.serve(timeout_s, 0.001)
        return True

    async def aclose(self) -> None:
        """Close."""
        self._machine.open_clients -= 1
