"""
One call of ModelStreamInfer: how it is read, and how it is left.

Triton 24.10 can end with SIGSEGV when a stream is cancelled in the moment in which its model responds: the response is
written although the cancellation was taken note of, and the state is released under it (server: `HandleCancellation` in
src/grpc/infer_handler.h, `StreamInferResponseComplete` in src/grpc/stream_infer_handler.cc). 25.01 and 25.04 mended
races of this kind (pull requests 7840 and 8078); whether this one too wasn't tried.
So a model that can be told to stop is told so, by a request of its own, and the stream ends by itself. Only where that
has no effect, and with models that know nothing of it, the call is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from facade.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

STOP_GRACE_S = 5.0
"""How long a model that was told to stop may take; longer than a decoder's longest step here (a chunk of a prompt)."""


class StreamCall:
    """
    One call, begun at once.

    Args:
        stub: Whom to call.

        request: The only request of the stream.

        timeout_s: Seconds until the call is given up.

        stop: The request that tells the model to stop; None where it knows none.
    """

    def __init__(
        self,
        stub: GRPCInferenceServiceStub,
        request: pb.ModelInferRequest,
        *,
        timeout_s: float,
        stop: pb.ModelInferRequest | None,
    ) -> None:
        self._stub = stub
        self._stop = stop
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._is_ending = False
        # Triton cancels what is over its time, so it has to be told to stop before.
        self._call = stub.ModelStreamInfer(timeout=timeout_s + (STOP_GRACE_S if stop is not None else 0))
        loop = asyncio.get_running_loop()
        over = DeadlineExceeded("The model did not answer in time.")
        self._timer = loop.call_later(timeout_s, self._messages.put_nowait, over)
        # grpc.aio cancels a call with the task that reads from it, so callers must not be that task.
        self._reader = loop.create_task(self._read(request))

    async def _read(self, request: pb.ModelInferRequest) -> None:
        try:
            await self._call.write(request)
            # Half-closed, the stream ends with its only request: nothing has to be read from flags.
            await self._call.done_writing()
            while (message := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # not in grpc-stubs
                self._messages.put_nowait(message)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told to who waits
            self._messages.put_nowait(error)
        else:
            self._messages.put_nowait(None)

    async def messages(self) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """
        Give the messages as they come.

        Yields:
            What Triton sent; the iteration ends with the stream.

        Raises:
            DeadlineExceeded: When the time is over.

            grpc.aio.AioRpcError: When the call failed.

            asyncio.CancelledError: When the channel was closed.
        """
        while (message := await self._messages.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            # A model ends with its error.
            self._is_ending = bool(message.error_message)
            yield message

    def leave(self) -> asyncio.Task[None] | None:
        """
        Have the call ended, wherever it is.

        Returns:
            What sees to it that it ends; None if there is nothing to be done.
        """
        self._timer.cancel()
        if self._reader.done():
            return None
        if self._stop is None and not self._is_ending:
            self._call.cancel()
            return None
        return asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        if self._is_ending or await self._tell_to_stop():
            await asyncio.wait({self._reader}, timeout=STOP_GRACE_S)
        self._call.cancel()

    async def _tell_to_stop(self) -> bool:
        """Tell the model, and give whether it took note."""
        is_told = True
        call = self._stub.ModelStreamInfer(timeout=STOP_GRACE_S)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            await call.write(self._stop)
            await call.done_writing()
            while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]  # not in grpc-stubs
                is_told = is_told and not message.error_message
            return is_told
        return False
