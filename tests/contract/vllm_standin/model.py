"""
Triton's vLLM backend, as it behaves at its tensors, around `engine`.

Written after triton-inference-server/vllm_backend, ``src/model.py`` and ``src/utils/request.py``, step by step: the
same inputs and outputs, the same order of checks, the same texts of errors, the same two threads.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import uuid
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from . import INPUTS, OUTPUTS
from .engine import Engine, RequestOutput, SamplingParams

RETURNED = (
    "return_finish_reason",
    "return_cumulative_logprob",
    "return_logprobs",
    "return_num_input_tokens",
    "return_num_output_tokens",
)
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class Request:
    """One request, read; ``GenerateRequest`` of the backend."""

    def __init__(self, request: Any, engine: Engine) -> None:
        self._request = request
        self._engine = engine
        self.id = uuid.uuid4().hex
        self.stream = False
        self.prepend_input = False

    def _flag(self, name: str) -> bool | None:
        tensor = pb_utils.get_input_tensor_by_name(self._request, name)
        return None if tensor is None else bool(tensor.as_numpy()[0])

    async def execute(self) -> Any:
        """Read the tensors, then run the engine."""
        prompt = pb_utils.get_input_tensor_by_name(self._request, "text_input").as_numpy()[0].decode()
        self.stream = self._flag("stream") or False
        exclude = self._flag("exclude_input_in_output")
        self.prepend_input = (not self.stream) if exclude is None else not exclude
        if self.prepend_input and self.stream:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
        packed = pb_utils.get_input_tensor_by_name(self._request, "sampling_parameters")
        text = self._request.parameters() if packed is None else packed.as_numpy()[0].decode()
        self.returned = {name: self._flag(name) or False for name in RETURNED}
        params = SamplingParams.from_dict(text)
        # Bad parameters are None here, and end in this line's AttributeError.
        params.lora_name  # type: ignore[union-attr]  # noqa: B018
        async for output in self._engine.generate(prompt, params, self.id):  # type: ignore[arg-type]
            yield output

    def create_response(self, output: RequestOutput, state: dict[str, Any], *, prepend_input: bool) -> Any:
        """Write what is new since the last response."""
        outputs = output.outputs
        is_first = "text" not in state
        lens = state.get("text") or [0] * len(outputs)
        before = output.prompt if prepend_input and is_first else ""
        texts = [before + one.text[at:] for one, at in zip(outputs, lens, strict=False)]
        state["text"] = [len(one.text) for one in outputs]
        tensors = [_strings("text_output", texts)]
        if self.returned["return_finish_reason"]:
            tensors.append(_strings("finish_reason", [str(one.finish_reason) for one in outputs]))
        if self.returned["return_cumulative_logprob"]:
            sums = np.asarray([one.cumulative_logprob for one in outputs], dtype=np.float32)
            tensors.append(pb_utils.Tensor("cumulative_logprob", sums))
        if self.returned["return_logprobs"]:
            lens = state.get("logprobs") or [0] * len(outputs)
            state["logprobs"] = [len(one.logprobs or ()) for one in outputs]
            written = [
                "null"
                if one.logprobs is None
                else json.dumps([{i: vars(p) for i, p in likely.items()} for likely in one.logprobs[at:]])
                for one, at in zip(outputs, lens, strict=False)
            ]
            tensors.append(_strings("logprobs", written))
        if self.returned["return_num_input_tokens"]:
            # Without a dimension, as the backend's own `np.asarray` of a number.
            tensors.append(_counts("num_input_tokens", len(output.prompt_token_ids)))
        if self.returned["return_num_output_tokens"]:
            lens = state.get("tokens") or [0] * len(outputs)
            state["tokens"] = [len(one.token_ids) for one in outputs]
            new = [len(one.token_ids) - at for one, at in zip(outputs, lens, strict=False)]
            tensors.append(_counts("num_output_tokens", new))
        return pb_utils.InferenceResponse(output_tensors=tensors)


class TritonPythonModel:
    """The backend."""

    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        """Add inputs, outputs and the transaction policy."""
        for name, kind, dims, optional in INPUTS:
            config.add_input({"name": name, "data_type": kind, "dims": dims, "optional": optional})
        for name, kind, dims in OUTPUTS:
            config.add_output({"name": name, "data_type": kind, "dims": dims})
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine's thread and the one that sends."""
        self._engine = Engine()
        family = pb_utils.MetricFamily(
            name="vllm:num_requests_running",
            description="Requests that the engine works on",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._family, self._gauge = family, family.Metric(labels={"model": args["model_name"]})
        self._loop = asyncio.new_event_loop()
        self._event_thread = threading.Thread(target=self._loop.run_forever)
        self._event_thread.start()
        self._responses: queue.Queue[Any] = queue.Queue()
        self._response_thread = threading.Thread(target=self._send_responses)
        self._response_thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Hand requests to the engine's thread."""
        for request in requests:
            if self._verify_lora(request):
                asyncio.run_coroutine_threadsafe(self._infer(request), self._loop)

    def finalize(self) -> None:
        """Stop both threads."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._event_thread.join()
        self._responses.put(None)
        self._response_thread.join()

    def _verify_lora(self, request: Any) -> bool:
        packed = pb_utils.get_input_tensor_by_name(request, "sampling_parameters")
        text = request.parameters() if packed is None else packed.as_numpy()[0].decode()
        if json.loads(text).get("lora_name") is None:
            return True
        message = "LoRA feature is not enabled."
        response = pb_utils.InferenceResponse(
            output_tensors=[_strings("text_output", [message])], error=pb_utils.TritonError(message)
        )
        request.get_response_sender().send(response, flags=FINAL)
        return False

    async def _infer(self, request: Any) -> None:
        sender = request.get_response_sender()
        state = {"sender": sender, "is_cancelled": False, "is_last_made": False}
        wanted = Request(request, self._engine)
        outputs: dict[str, Any] = {}
        last = None
        try:
            async for output in wanted.execute():
                self._gauge.set(len(self._engine.running))
                last = output
                is_cancelled = state["is_cancelled"] if wanted.stream else sender.is_cancelled()
                if is_cancelled:
                    await self._engine.abort(wanted.id)
                    if wanted.stream:
                        state["is_last_made"] = True
                        error = pb_utils.TritonError("Request was cancelled", pb_utils.TritonError.CANCELLED)
                        self._responses.put((state, pb_utils.InferenceResponse(error=error), FINAL))
                    break
                if wanted.stream:
                    response = wanted.create_response(output, outputs, prepend_input=False)
                    state["is_last_made"] = output.finished
                    self._responses.put((state, response, FINAL if output.finished else 0))
            if not wanted.stream:
                # Also after a cancellation: the sender must be closed.
                response = wanted.create_response(last, {}, prepend_input=wanted.prepend_input)
                sender.send(response, flags=FINAL)
        except Exception as error:  # noqa: BLE001  # as the backend does
            failure = pb_utils.TritonError(f"Error generating stream: {error}")
            response = pb_utils.InferenceResponse(
                output_tensors=[_strings("text_output", ["N/A"])], error=failure
            )
            sender.send(response, flags=FINAL)
        finally:
            self._gauge.set(len(self._engine.running))

    def _send_responses(self) -> None:
        """Send what the engine's thread made; only here a stream learns that it was cancelled."""
        while (entry := self._responses.get()) is not None:
            state, response, flags = entry
            state["sender"].send(response, flags)
            if not state["is_last_made"]:
                state["is_cancelled"] = state["sender"].is_cancelled()


def _strings(name: str, texts: list[str]) -> Any:
    return pb_utils.Tensor(name, np.asarray([text.encode() for text in texts], dtype=np.object_))


def _counts(name: str, counts: Any) -> Any:
    return pb_utils.Tensor(name, np.asarray(counts, dtype=np.uint32))
