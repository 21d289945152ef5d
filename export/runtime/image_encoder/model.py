"""
The door of an image classifier, as Triton's Python backend runs it: an image's file in, scores out.

One `execute` gets every request that Triton's batcher merged, unpacks all their images on a few threads (Pillow frees
the interpreter meanwhile), and asks the core of the *same version* for groups of rows, all at once.

Rules for later editors:

1. A fault of one request is that request's error; its neighbours in the merged batch are answered.
2. A core error reaches only the requests that had a row in the failed group.
3. Nothing is read but the files beside this one: a published version never changes.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .images import ImageRefused, Pixels, decode, read_preprocessing, to_pixels

MAX_THREADS = 4
"""Threads that unpack images in one door; more only take processors from the core."""


class CoreFailed(Exception):
    """The core answered a group with an error; *code* is Triton's."""

    def __init__(self, message: str, code: Any) -> None:
        super().__init__(message)
        self.code = code


class TritonPythonModel:
    """One instance of the door; Triton makes as many as the config asks for, each in its own process."""

    def initialize(self, args: dict[str, str]) -> None:
        """
        Read the version's own files, once.

        Args:
            args: Triton's description of the model: repository folder, version, config.
        """
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "door.json").read_text(encoding="utf-8"))
        self._preprocessing = read_preprocessing(settings["preprocessing"])
        self._max_pixels: int = settings["max_pixels"]
        self._group_rows: int = settings["group_rows"]
        self._core_name: str = settings["core_model"]
        self._core_input: str = settings["core_inputs"][0]
        self._core_output: str = settings["core_output"]
        self._width: int = settings["width"]
        # The version of the door is the version of the core: a canary or a rollback never mixes them.
        self._core_version = int(args["model_version"])
        self._threads = ThreadPoolExecutor(min(MAX_THREADS, len(os.sched_getaffinity(0))))

    def finalize(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """
        Answer all requests of one merged batch.

        Args:
            requests: Triton's requests; each has `image` as BYTES of shape (batch, 1).

        Returns:
            One response a request, in the same order.
        """
        unpacked = await asyncio.gather(*(self._unpack(request) for request in requests))
        responses: list[Any] = [None] * len(requests)
        spans: dict[int, range] = {}
        rows: list[Pixels] = []
        for place, found in enumerate(unpacked):
            if isinstance(found, Exception):
                code = getattr(found, "code", pb_utils.TritonError.INVALID_ARG)
                responses[place] = _error(str(found), code)
            else:
                spans[place] = range(len(rows), len(rows) + len(found))
                rows.extend(found)
        if rows:
            starts = range(0, len(rows), self._group_rows)
            groups = await asyncio.gather(
                *(self._run_core(np.stack(rows[start : start + self._group_rows])) for start in starts)
            )
            for place, span in spans.items():
                responses[place] = self._respond(span, groups)
        return responses

    async def _unpack(self, request: Any) -> list[Pixels] | Exception:
        """Turn a request's files into pixels, or say why that can't be."""
        if request.is_cancelled():
            return CoreFailed("The caller left before the work began.", pb_utils.TritonError.CANCELLED)
        files = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._to_pixels, raw) for raw in files),
            return_exceptions=True,
        )
        for row, pixels in enumerate(found):
            if isinstance(pixels, ImageRefused):
                where = "The image" if len(found) == 1 else f"The image in row {row} of 'image'"
                return ValueError(f"{where} {pixels}.")
            if isinstance(pixels, BaseException):
                return CoreFailed(f"Row {row} of 'image' failed: {pixels}", pb_utils.TritonError.INTERNAL)
        return [pixels for pixels in found if not isinstance(pixels, BaseException)]

    def _to_pixels(self, raw: bytes) -> Pixels:
        """Unpack one file; runs on a thread."""
        return to_pixels(decode(raw, self._max_pixels), self._preprocessing)

    async def _run_core(self, pixels: Pixels) -> Any:
        """Ask the core for one group of shape (rows, 3, height, width); return its scores, or why there are none."""
        request = pb_utils.InferenceRequest(
            model_name=self._core_name,
            model_version=self._core_version,
            requested_output_names=[self._core_output],
            inputs=[pb_utils.Tensor(self._core_input, pixels)],
            # A core on a GPU would leave its output there; the scores leave over gRPC, so ask for them here.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        try:
            response = await request.async_exec()
        except pb_utils.TritonModelException as error:
            return _explain_failure(str(error), pb_utils.TritonError.INTERNAL)
        if response.has_error():
            return _explain_failure(response.error().message(), response.error().code())
        scores = pb_utils.get_output_tensor_by_name(response, self._core_output).as_numpy()
        if scores.shape != (len(pixels), self._width):
            reason = f"the core gave an array of shape {scores.shape} instead of {(len(pixels), self._width)}"
            return CoreFailed(reason, pb_utils.TritonError.INTERNAL)
        return scores

    def _respond(self, span: range, groups: Sequence[Any]) -> Any:
        """Build one request's response from its rows, or its error if one of them has no scores."""
        rows = []
        for row in span:
            group = groups[row // self._group_rows]
            if isinstance(group, CoreFailed):
                return _error(f"The model failed: {group}", group.code)
            rows.append(group[row % self._group_rows])
        scores = np.stack(rows).astype(np.float32, copy=False)  # (batch, labels)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("scores", scores)])


def _explain_failure(message: str, code: Any) -> CoreFailed:
    """Give a core's failure the code that callers act on: one that is being reloaded may be asked again."""
    # NOTE: Triton reports a missing core as INTERNAL; only the text tells it from a failure of the graph.
    is_missing = any(words in message for words in ("is not ready", "not at ready state", "unknown model"))
    return CoreFailed(message, pb_utils.TritonError.UNAVAILABLE if is_missing else code)


def _error(message: str, code: Any) -> Any:
    """Build a response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
