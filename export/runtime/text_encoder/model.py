"""
The door, as Triton's Python backend runs it: texts in, one finished row of numbers for each out.

It serves embedding, text-classification and reranking alike; `door.json` says what the inputs and the output are
called, and two inputs are tokenized as a pair.

One `execute` gets every request that Triton's batcher merged, tokenizes all their texts at once, groups the rows
by length, asks the core of the *same version* for all groups at once, and gives each request its own rows back.

Rules for later editors:

1. A fault of one request is that request's error; its neighbours in the merged batch are answered.
2. A core error reaches only the requests that had a row in the failed group.
3. Nothing is read but the files beside this one: a published version never changes.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .batching import FloatArray, Group, pad_group, plan_groups, read_grouping, scatter
from .metrics import TokenMetrics
from .tokenizing import Row, TextTokenizer, TokenizedTexts


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
        self._tokenizer = TextTokenizer(
            folder / "tokenizer.json", settings["max_input_tokens"], settings["truncation_side"]
        )
        self._inputs: list[str] = settings["inputs"]
        self._output: str = settings["output"]
        self._grouping = read_grouping(settings["grouping"])
        self._max_rows: int = settings["max_batch_size"]
        self._pad_id: int = settings["pad_id"]
        self._width: int = settings["width"]
        self._core_name: str = settings["core_model"]
        self._core_inputs = frozenset(settings["core_inputs"])
        self._core_output: str = settings["core_output"]
        # The version of the door is the version of the core: a canary or a rollback never mixes them.
        self._core_version = int(args["model_version"])
        labels = {"model": args["model_name"], "version": args["model_version"]}
        self._metrics = TokenMetrics(pb_utils, labels)

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """
        Answer all requests of one merged batch.

        Args:
            requests: Triton's requests; each has the door's inputs as BYTES of shape (batch, 1).

        Returns:
            One response a request, in the same order.
        """
        responses: list[Any] = [None] * len(requests)
        rows: list[Row] = []
        row_spans: dict[int, range] = {}
        for place, request in enumerate(requests):
            if request.is_cancelled():
                responses[place] = _error(
                    "The caller left before the work began.", pb_utils.TritonError.CANCELLED
                )
                continue
            try:
                own = self._read_rows(request)
            except ValueError as error:
                responses[place] = _error(str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            row_spans[place] = range(len(rows), len(rows) + len(own))
            rows.extend(own)

        if rows:
            tokenized = self._tokenizer.tokenize(rows)
            results, failures = await self._encode(tokenized)
            counts = np.array(tokenized.num_input_tokens, dtype=np.uint32).reshape(-1, 1)  # (rows, 1)
            for place, span in row_spans.items():
                responses[place] = _respond(self._output, span, results, counts, failures)
        return responses

    def _read_rows(self, request: Any) -> list[Row]:
        """Decode a request's texts, pairs of them where the door has two inputs."""
        columns = [_read_texts(request, name) for name in self._inputs]
        return list(zip(*columns, strict=True)) if len(columns) > 1 else list(columns[0])

    async def _encode(self, tokenized: TokenizedTexts) -> tuple[FloatArray, dict[int, Exception]]:
        """Run every group at once; return results of shape (rows, width) and the rows that have none."""
        lengths = [len(ids) for ids in tokenized.ids]
        groups = plan_groups(lengths, self._grouping, self._max_rows)
        self._metrics.count(lengths, groups)
        answers = await asyncio.gather(*(self._run_core(tokenized, group) for group in groups))
        return scatter(groups, answers, (len(lengths), self._width))

    async def _run_core(self, tokenized: TokenizedTexts, group: Group) -> FloatArray | CoreFailed:
        """Ask the core for one group; return its results, or why there are none."""
        input_ids, attention_mask = pad_group(tokenized.ids, group, self._pad_id)
        arrays = {"input_ids": input_ids, "attention_mask": attention_mask}
        if "token_type_ids" in self._core_inputs:
            arrays["token_type_ids"], _ = pad_group(tokenized.type_ids, group, 0)
        request = pb_utils.InferenceRequest(
            model_name=self._core_name,
            model_version=self._core_version,
            requested_output_names=[self._core_output],
            inputs=[pb_utils.Tensor(name, array) for name, array in arrays.items()],
            # A core on a GPU would leave its output there; the results leave over gRPC, so ask for them here.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        try:
            response = await request.async_exec()
        except pb_utils.TritonModelException as error:
            return _explain_failure(str(error), pb_utils.TritonError.INTERNAL)
        if response.has_error():
            return _explain_failure(response.error().message(), response.error().code())
        results: FloatArray = pb_utils.get_output_tensor_by_name(response, self._core_output).as_numpy()
        return results


def _explain_failure(message: str, code: Any) -> CoreFailed:
    """Give a core's failure the code that callers act on: one that is being reloaded may be asked again."""
    # NOTE: Triton reports a missing core as INTERNAL; only the text tells it from a failure of the graph.
    is_missing = any(words in message for words in ("is not ready", "not at ready state", "unknown model"))
    return CoreFailed(message, pb_utils.TritonError.UNAVAILABLE if is_missing else code)


def _read_texts(request: Any, name: str) -> list[str]:
    """Decode one input's texts; raise ValueError that names the first row that isn't UTF-8."""
    rows = pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)  # (batch, 1) -> (batch,)
    texts: list[str] = []
    for row, raw in enumerate(rows):
        try:
            texts.append(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Row {row} of '{name}' is not UTF-8: {error.reason} at byte {error.start}."
            ) from error
    return texts


def _respond(
    output: str,
    span: range,
    results: FloatArray,
    counts: npt.NDArray[np.uint32],
    failures: dict[int, Exception],
) -> Any:
    """Build one request's response from its rows, or its error if one of them has no result."""
    for row in span:
        if row in failures:
            code = getattr(failures[row], "code", pb_utils.TritonError.INTERNAL)
            return _error(f"The model failed: {failures[row]}", code)
    rows = slice(span.start, span.stop)
    return pb_utils.InferenceResponse(
        output_tensors=[
            pb_utils.Tensor(output, results[rows]),  # (batch, width)
            pb_utils.Tensor("num_input_tokens", counts[rows]),  # (batch, 1)
        ]
    )


def _error(message: str, code: Any) -> Any:
    """Build a response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
