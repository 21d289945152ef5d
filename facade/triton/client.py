"""
Calls to one Triton over one long-lived gRPC channel, and the only function that turns gRPC's errors into ours.

tritonclient's own `InferenceServerClient` is passed over for the stubs that its package carries: one call costs
30 µs of CPU less (141 against 118 measured for an embedding of one text), and its channel has no reconnect bounds.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from facade.errors import (
    BackendFailed,
    BackendUnavailable,
    DeadlineExceeded,
    FacadeError,
    InvalidInput,
    ModelCrashed,
    ModelNotFound,
    Overloaded,
    VersionNotReady,
)
from facade.triton import codec, inspection
from facade.triton.channel import explain, open_channel
from facade.triton.stream_call import StreamCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from facade.triton.interface import InferOptions, ModelDescription, Tensor, Topic

CLOSING_S = 1.0
"""How long streams that are being left may take when the connection is closed."""

_STATUS = re.compile(r"\[(?P<code>[A-Z_]+)\] ")
"""
How our decoder begins a stream's error: with the name of Triton's code. There the protocol has texts alone, unless the
header ``triton_grpc_error`` asks for a status, and with that Triton 24.10 crashes when a model fails (server: pull
request 8708 of 26.04 mends a use after free in it).
"""

_STATUSES = {
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "INVALID_ARG": grpc.StatusCode.INVALID_ARGUMENT,
    "CANCELLED": grpc.StatusCode.CANCELLED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""Triton's codes that a decoder gives, and gRPC's (server: src/grpc/grpc_utils.cc)."""

RETRY_SOON_S = 1.0
"""What callers are told to wait when Triton is away: a supervised one is back within seconds."""


class TritonClient:
    """
    A `TritonBackend` over ``grpc.aio``.

    Args:
        url: ``host:port`` of Triton's gRPC endpoint.

        interceptors: What sees every call, such as tracing.

        credentials: For TLS; None for none.

        server_name: Name that Triton's certificate must be for; None for the URL's.
    """

    def __init__(
        self,
        url: str,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        credentials: grpc.ChannelCredentials | None = None,
        server_name: str | None = None,
    ) -> None:
        self._url = url
        self._interceptors = interceptors
        self._credentials = credentials
        self._server_name = server_name
        self._channel: grpc.aio.Channel | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @cached_property
    def _stub(self) -> GRPCInferenceServiceStub:
        # A channel belongs to the loop it is made in, so it is made at the first call.
        self._channel = open_channel(self._url, self._interceptors, self._credentials, self._server_name)
        return GRPCInferenceServiceStub(self._channel)

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
        """Run a model once; see `TritonBackend.infer`."""
        request = codec.to_infer_request(model_name, model_version, inputs, outputs, options)
        try:
            response = await self._stub.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise to_facade_error(error) from error
        return codec.from_infer_response(response)

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
        """Run a decoupled model; see `TritonBackend.stream`."""
        request = codec.to_infer_request(model_name, model_version, inputs, outputs)
        stop = codec.to_stop_request(request) if can_stop else None
        call = StreamCall(self._stub, request, timeout_s=timeout_s, stop=stop)
        try:
            async with aclosing(call.messages()) as messages:
                async for message in messages:
                    if message.error_message:
                        raise to_stream_error(message.error_message)
                    response = message.infer_response
                    # A model may end with an empty response that only carries the FINAL flag.
                    if response.outputs:
                        yield codec.from_stream_response(response)
        except grpc.aio.AioRpcError as error:
            raise to_facade_error(error) from error
        finally:
            leaving = call.leave()
            if leaving is not None:
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def describe_models(self, *, timeout_s: float) -> list[ModelDescription]:
        """Ask for all models that are ready; see `TritonBackend.describe_models`."""
        try:
            index = await self._stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=timeout_s)
            versions = codec.ready_versions(index)
            configs = await asyncio.gather(
                *(
                    self._stub.ModelConfig(pb.ModelConfigRequest(name=name), timeout=timeout_s)
                    for name in versions
                ),
                return_exceptions=True,
            )
        except grpc.aio.AioRpcError as error:
            raise to_facade_error(error) from error
        except asyncio.CancelledError as error:
            raise to_own_error(error) from None
        described = []
        for name, config in zip(versions, configs, strict=True):
            if isinstance(config, asyncio.CancelledError):
                raise to_own_error(config) from None
            if isinstance(config, grpc.aio.AioRpcError):
                failure = to_facade_error(config)
                # A model that was unloaded between the two calls is simply not there; any other failure says nothing
                # about the model, and a Triton that vanished right now must not look like one without models.
                if not isinstance(failure, ModelNotFound | VersionNotReady):
                    raise failure from config
            elif isinstance(config, BaseException):
                raise config
            else:
                described.append(codec.to_model_description(name, versions[name], config))
        return described

    async def is_live(self, *, timeout_s: float) -> bool:
        """Ask whether the server runs; see `TritonEndpoint.is_live`."""
        try:
            return bool((await self._stub.ServerLive(pb.ServerLiveRequest(), timeout=timeout_s)).live)
        except grpc.aio.AioRpcError as error:
            raise to_facade_error(error) from error
        except asyncio.CancelledError as error:
            raise to_own_error(error) from None

    async def inspect(
        self, topic: Topic, model_name: str = "", model_version: str = "", *, timeout_s: float
    ) -> Any:
        """Ask Triton about itself; see `TritonBackend.inspect`."""
        question = inspection.QUESTIONS[topic]
        request = question.to_request(model_name, model_version)
        try:
            answer = await getattr(self._stub, question.method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise to_facade_error(error) from error
        except asyncio.CancelledError as error:
            raise to_own_error(error) from None
        return question.read(answer)

    async def aclose(self) -> None:
        """
        Close the channel, once the streams that are being left had a moment to end.

        Who waits for inference is cancelled, who asks something else finds nobody there.
        """
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=CLOSING_S)
        if self._channel is not None:
            await self._channel.close(grace=None)


def to_facade_error(error: grpc.aio.AioRpcError) -> FacadeError:
    """
    Turn an error of gRPC or Triton into the façade's own.

    Triton gives one status to very different events, so UNAVAILABLE is told apart by its text
    (triton-inference-server/core: scheduler_utils.cc, dynamic_batch_scheduler.cc; server: grpc_server.cc).

    Args:
        error: What ``grpc.aio`` raised.

    Returns:
        The error to raise instead.
    """
    return _from_status(error.code(), error.details() or "")


def _from_status(status: grpc.StatusCode, details: str) -> FacadeError:
    if status is grpc.StatusCode.UNAVAILABLE:
        return _from_unavailable(details)
    if status is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(details or "Triton refused the input.")
    if status is grpc.StatusCode.NOT_FOUND:
        return _from_not_found(details)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("The model did not answer in time.")
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded("The model server is out of resources.", retry_after_s=RETRY_SOON_S)
    return _from_failure(details or status.name)


def to_own_error(error: asyncio.CancelledError) -> BaseException:
    """
    Tell a call that was broken off from a caller who was.

    ``grpc.aio`` cancels what is under way on a channel that is closed, and an endpoint that went silent gets a new
    one. Whoever asked on the old one goes on: a catalogue that took this for its own end would never look again.

    Args:
        error: What a call raised.

    Returns:
        The error to raise instead.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return error
    return BackendUnavailable("The connection to the model server was closed.", retry_after_s=RETRY_SOON_S)


def to_stream_error(message: str) -> FacadeError:
    """
    Turn an error that came as a text among a stream's messages into the façade's own.

    Our decoder begins it with a code; what others say, and what Triton itself refuses before the model sees it, is
    told apart by its words.

    Args:
        message: Triton's text.

    Returns:
        The error to raise.
    """
    marked = _STATUS.match(message)
    if marked is not None and marked["code"] in _STATUSES:
        return _from_status(_STATUSES[marked["code"]], message[marked.end() :])
    if "unknown model" in message:
        return _from_not_found(message)
    found = _from_unavailable(message)
    return _from_failure(message) if isinstance(found, BackendUnavailable) else found


def _from_failure(details: str) -> FacadeError:
    # "Stub process 'minilm_0_0' is not healthy." (python_backend: src/python_be.cc); Triton starts another one.
    failed = ModelCrashed if "Stub process" in details and "is not healthy" in details else BackendFailed
    return failed(f"The model server failed: {details}")


def _from_not_found(details: str) -> FacadeError:
    # "Request for unknown model: 'chat' version 2 is not found": whoever asks for a version had seen it.
    if "' version " in details or "at ready state" in details:
        return VersionNotReady(details)
    return ModelNotFound(details or "Triton has no such model.", param="model", code="model_not_found")


def _from_unavailable(details: str) -> FacadeError:
    if "not at ready state" in details or "is not ready" in details:
        return VersionNotReady(details)
    if "maximum queue size" in details:
        return Overloaded("The model's queue is full.", retry_after_s=RETRY_SOON_S)
    if "Request timeout expired" in details:
        return DeadlineExceeded("The request's time was over before the model was free.")
    if "protocol is restricted" in details:
        return BackendFailed("The model server refuses this façade; its restricted protocols need a header.")
    unavailable = BackendUnavailable("The model server can't be reached.", retry_after_s=RETRY_SOON_S)
    unavailable.reason = explain(details)
    return unavailable
