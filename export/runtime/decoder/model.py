"""
The decoder, as Triton's Python backend runs it: a decoupled model under the tensor contract of its vLLM backend.

`execute` hands each request to the service and returns at once; answers leave through their response senders. The
façade can't tell this model from one that vLLM runs.

Rules for later editors:

1. Nothing is read but the files beside this one: a published version never changes.
2. A response sender is wrapped the moment it is got (`sender.py` says why: the server's life depends on it).
3. When the engine fails for good, everybody gets an error and the process ends: Triton 2.51 has no way for a Python
   model to say that it is not ready, and a dead process is what a supervisor sees.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .answers import Message
from .constraints import ConstraintCompiler
from .detokenizing import Vocabulary
from .engine import Engine, EngineLimits
from .graph import OnnxGraph, read_graph_settings
from .metrics import DecoderMetrics
from .parameters import Limits
from .reading import RequestReader, is_slow, read_stop
from .sampling import Sampler
from .sender import GuardedSender
from .service import DecoderService

EXIT_FAILED = 70
"""Exit code of a process whose engine failed. Source: sysexits.h, EX_SOFTWARE."""

QUIET_S = 0.5
"""
How long a process whose engine failed says nothing to Triton before it ends. Log lines and the ends of responses leave
it later, by a thread of the backend that can't be waited for; they take some 0.1 ms. A process that ends while that
thread holds a lock in the shared memory takes the whole server along: boost::interprocess::lock_exception, SIGABRT.
"""


class TritonPythonModel:
    """The one instance of the decoder; its engine batches by itself."""

    def initialize(self, args: dict[str, str]) -> None:
        """
        Read the version's own files and start the engine.

        Args:
            args: Triton's description of the model: repository folder, name, version, config.
        """
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "decoder.json").read_text(encoding="utf-8"))
        tokenizer_file = folder / "tokenizer.json"
        eos_token_ids = tuple(settings["eos_token_ids"])
        limits = Limits(
            vocab_size=settings["vocab_size"],
            max_model_len=settings["max_model_len"],
            max_n=min(settings["max_n"], settings["slots"]),
            max_logprobs=settings["max_logprobs"],
        )
        self._reader = RequestReader(
            Vocabulary(tokenizer_file, settings["bos_token_id"]),
            ConstraintCompiler(tokenizer_file, limits.vocab_size, eos_token_ids),
            limits,
            eos_token_ids,
        )
        self._service = DecoderService(
            Engine(
                OnnxGraph(folder / settings["graph"], read_graph_settings(settings)),
                Sampler(limits.vocab_size),
                EngineLimits(settings["slots"], settings["prefill_chunk"], settings["max_queued"]),
            ),
            DecoderMetrics(pb_utils, {"model": args["model_name"], "version": args["model_version"]}),
            slots=settings["slots"],
            max_under_way=settings["slots"] + settings["max_queued"],
            respond=_respond,
            log_error=pb_utils.Logger.log_error,
            on_fatal=_end_process,
        )

    def execute(self, requests: Sequence[Any]) -> None:
        """
        Take requests; their answers leave through their response senders.

        Args:
            requests: Triton's requests.
        """
        if self._service.has_failed:
            # Triton answers these with an error of its own as soon as this process has ended.
            threading.Event().wait()
        for request in requests:
            sender = GuardedSender(
                request.get_response_sender(), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
            if (name := read_stop(request.parameters())) is not None:
                self._service.stop(name)
                sender.finish()
                continue
            tensors = partial(_read_tensor, request)
            self._service.admit(
                sender,
                partial(self._reader.read, tensors, request.parameters),
                is_slow=is_slow(tensors),
                name=request.request_id(),
            )

    def finalize(self) -> None:
        """End the threads; Triton has drained the requests, or has given up on them."""
        self._service.close()


def _read_tensor(request: Any, name: str) -> Any:
    """Give an input's array, None if the request doesn't have it."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _respond(sender: GuardedSender, message: Message) -> None:
    """Send a message as Triton's response."""
    if message.error is not None:
        text, code = message.error
        # A stream's errors reach callers as texts alone, so the code stands there too.
        error = pb_utils.TritonError(f"[{code}] {text}", getattr(pb_utils.TritonError, code))
        response = pb_utils.InferenceResponse(error=error)
    else:
        response = pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, array) for name, array in message.tensors.items()]
        )
    sender.send(response, is_final=message.is_final)


def _end_process() -> None:
    """End this process: its engine is broken, and a new one is the only cure."""
    pb_utils.Logger.log_error("The decoder's process ends, since its engine failed.")
    time.sleep(QUIET_S)
    os._exit(EXIT_FAILED)
