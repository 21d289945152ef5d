"""The streaming half of the stand-in at the wire: generations that stop, fail and wait where a test wants them to."""

from __future__ import annotations

import asyncio
import json
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tritonclient.grpc import service_pb2 as pb

from facade.triton.interface import GENERATION_INPUTS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import grpc

CHAT_CARD = {
    "task": "text-generation",
    "max_input_tokens": 63,
    "max_model_len": 64,
    "max_n": 4,
    "max_logprobs": 5,
    "default_cache_ttl_s": 60,
}
"""Of a decoder of our own."""


def chat_model(card: dict[str, Any] | None = CHAT_CARD, versions: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """Make an entry for `WireTriton.models`."""
    return {
        "versions": list(versions),
        "max_batch_size": 0,
        "card": card,
        "decoupled": True,
        "inputs": sorted(GENERATION_INPUTS),
    }


class WireGeneration:
    """``ModelStreamInfer``: each prompt gets the script's pieces, one message each."""

    models: dict[str, dict[str, Any]]
    thawed: asyncio.Event

    def __init__(self) -> None:
        self.script: list[str] = ["Hello", ",", " world", "!"]
        """The pieces of every answer; a token each."""
        self.generations: list[tuple[str, dict[str, Any]]] = []
        """Prompts and sampling parameters, as they came."""
        self.stream_metadata: list[dict[str, str]] = []
        """Headers of the streams."""
        self.steps: asyncio.Semaphore | None = None
        """Each message waits for one, if there is a semaphore."""
        self.pause_after: int | None = None
        """Each stream waits after so many messages for `resume`."""
        self.resume = asyncio.Event()
        self.stream_failure: tuple[int, grpc.StatusCode | None, str] | None = None
        """After so many messages, this status with this text; without a status in band."""
        self.ends_early = False
        """Whether streams end without a reason."""
        self.stops: list[str] = []
        """Requests that somebody asked to stop, by their ids."""
        self.heeds_stops = True
        """Whether they end for it."""
        self.lingers = False
        """Whether a stream that failed in band goes on until `resume`."""
        self.refuses_stops = False
        """Whether such a request is an error, as it is to a model that knows nothing of it."""
        self._stopped: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.streams_cancelled = 0
        """Streams that somebody cancelled."""
        self.cancellation = asyncio.Event()
        """Set at each, and when one stops since it was asked to."""
        self.streams_running = 0
        """Streams now."""

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Answer each request of a stream."""
        self.stream_metadata.append({str(name): str(value) for name, value in context.invocation_metadata()})
        self.streams_running += 1
        is_whole = False
        try:
            async for request in requests:
                if "stop_request" in request.parameters:
                    self.stops.append(request.parameters["stop_request"].string_param)
                    if self.refuses_stops:
                        yield pb.ModelStreamInferResponse(error_message="'text_input' has no tokens")
                    elif self.heeds_stops:
                        self._stopped[self.stops[-1]].set()
                        self.cancellation.set()
                    continue
                async for message in self._generate(request, context):
                    yield message
            is_whole = True
        finally:
            self.streams_running -= 1
            # In the middle of a write, a cancellation isn't a CancelledError.
            is_aborted = self.stream_failure is not None and self.stream_failure[1] is not None
            if not is_whole and not is_aborted:
                self.streams_cancelled += 1
                self.cancellation.set()

    async def _generate(self, request: Any, context: Any) -> Any:
        tensors = dict(
            zip((tensor.name for tensor in request.inputs), request.raw_input_contents, strict=True)
        )
        prompt = tensors["text_input"][4:].decode()
        sampling = json.loads(tensors["sampling_parameters"][4:])
        self.generations.append((prompt, sampling))
        model = self.models.get(request.model_name)
        if model is None or int(request.model_version or 0) not in (0, *model["versions"]):
            what = "is not at ready state" if model else "is not found"
            text = f"Request for unknown model: '{request.model_name}' version {request.model_version} {what}"
            yield pb.ModelStreamInferResponse(error_message=text)
            return
        count, choices = min(sampling.get("max_tokens", 16), len(self.script)), sampling.get("n", 1)
        for at in range(count):
            await self.thawed.wait()
            stopped = self._stopped[request.id]
            if at == self.pause_after:
                await _either(self.resume.wait(), stopped)
            if self.steps is not None:
                await _either(self.steps.acquire(), stopped)
            if stopped.is_set():
                yield pb.ModelStreamInferResponse(error_message="[CANCELLED] The request was cancelled.")
                return
            if self.stream_failure is not None and self.stream_failure[0] == at:
                _, status, text = self.stream_failure
                if status is not None:
                    await context.abort(status, text)
                yield pb.ModelStreamInferResponse(error_message=text)
                if self.lingers:
                    await self.resume.wait()
                return
            is_last = at == count - 1
            reason = "None"
            if is_last and not self.ends_early:
                reason = "length" if count < len(self.script) else "stop"
            yield _message(
                request, prompt, self.script[at], reason, choices, with_logprobs="return_logprobs" in tensors
            )


async def _either(step: Coroutine[Any, Any, Any], stopped: asyncio.Event) -> None:
    """Wait for a step, or for the request to stop it."""
    waits = {asyncio.ensure_future(step), asyncio.ensure_future(stopped.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _message(request: Any, prompt: str, text: str, reason: str, choices: int, *, with_logprobs: bool) -> Any:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version)
    likely = {"7": {"logprob": -0.5, "rank": 1, "decoded_token": text}}
    likely["8"] = {"logprob": -1.5, "rank": 2, "decoded_token": "other"}
    outputs = [
        ("text_output", "BYTES", choices, _pack([text] * choices)),
        ("finish_reason", "BYTES", choices, _pack([reason] * choices)),
        ("num_input_tokens", "UINT32", 1, struct.pack("<I", len(prompt.split()))),
        ("num_output_tokens", "UINT32", choices, struct.pack(f"<{choices}I", *[1] * choices)),
    ]
    if with_logprobs:
        outputs.append(("logprobs", "BYTES", choices, _pack([json.dumps([likely])] * choices)))
    for name, datatype, width, raw in outputs:
        response.outputs.add(name=name, datatype=datatype, shape=[width])
        response.raw_output_contents.append(raw)
    return pb.ModelStreamInferResponse(infer_response=response)


def _pack(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
