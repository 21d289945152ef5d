"""
The decoder's graph in ONNX Runtime, with keys and values that stay where they are.

Each layer has one buffer of shape (rows, kv_heads, max_model_len, head_dim), made once. The graph reads the past from
it and writes the present into it, at the same address: nothing is copied, padded or grown. The attention operator
knows each row's own length from the mask, so the rows of one call may be of any lengths.

Rules for later editors:

1. Rows that decode together are rows 0 to n-1; a prompt may be read into any row.
2. A row's keys and values depend on its own tokens and on where its chunks begin and end, never on other rows.
3. Buffers are made at load; a step makes no array of the model's size.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# ONNX Runtime reads it when it is imported; from 1.29 on its Linux builds report their use unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

FloatArray = npt.NDArray[np.float32]

SPARE_ROWS = 1
"""Rows beyond those that decode, so that one is always free to move rows about."""

MASK_STEP_TOKENS = 64
"""The mask of a decode step is as wide as the next multiple: a new shape each 64 steps instead of each step."""


class GraphUnusable(Exception):
    """The graph can't be loaded with these settings; the text says what to change."""


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What `decoder.json` says of the graph."""

    layers: int
    """Layers that keep keys and values."""

    kv_heads: int
    """Heads of keys and values in each layer."""

    head_dim: int
    """Numbers of one head."""

    vocab_size: int
    """Tokens that the model chooses from: logits of a row."""

    max_model_len: int
    """Tokens of a prompt and its answer together."""

    slots: int
    """Rows that decode together."""

    kv_memory_bytes: int
    """Budget for all keys and values."""

    threads: int
    """Threads in one operator."""

    kv_dtype: str = "float32"
    """Number format of keys and values, in numpy's spelling."""

    @property
    def rows(self) -> int:
        """Rows in each buffer."""
        return self.slots + SPARE_ROWS

    @property
    def row_bytes(self) -> int:
        """Bytes that one row keeps over all layers, keys and values."""
        numbers = 2 * self.layers * self.kv_heads * self.max_model_len * self.head_dim
        return numbers * np.dtype(self.kv_dtype).itemsize


def read_graph_settings(settings: Mapping[str, Any]) -> GraphSettings:
    """
    Take what concerns the graph out of `decoder.json`.

    Args:
        settings: The file's content.

    Returns:
        The settings.

    Raises:
        GraphUnusable: If one is missing.
    """
    names = [name for name in GraphSettings.__dataclass_fields__ if name != "kv_dtype"]
    missing = [name for name in names if name not in settings]
    if missing:
        raise GraphUnusable(f"decoder.json lacks {', '.join(missing)}. Export the model again.")
    kv_dtype = settings.get("kv_dtype", "float32")
    if kv_dtype not in {"float32", "float16"}:
        raise GraphUnusable(f"decoder.json has kv_dtype {kv_dtype!r}; known are 'float32' and 'float16'.")
    return GraphSettings(**{name: settings[name] for name in names}, kv_dtype=kv_dtype)


def check_memory(settings: GraphSettings) -> None:
    """
    See that keys and values fit their budget.

    Args:
        settings: The graph's.

    Raises:
        GraphUnusable: If they don't; the text has the sum and what would fit.
    """
    needed_bytes = settings.rows * settings.row_bytes
    budget_bytes = settings.kv_memory_bytes
    if needed_bytes <= budget_bytes:
        return
    fitting_slots = budget_bytes // settings.row_bytes - SPARE_ROWS
    fitting_tokens = budget_bytes // (settings.rows * settings.row_bytes // settings.max_model_len)
    ways = [f"kv_memory_bytes to {needed_bytes}"]
    if fitting_tokens > 0:
        ways.insert(0, f"max_model_len to {fitting_tokens}")
    if fitting_slots > 0:
        ways.insert(0, f"slots to {fitting_slots}")
    raise GraphUnusable(
        f"Keys and values need {needed_bytes / 2**20:.0f} MiB ({settings.layers} layers x 2 x {settings.rows} rows x "
        f"{settings.kv_heads} heads x {settings.max_model_len} tokens x {settings.head_dim} x "
        f"{np.dtype(settings.kv_dtype).itemsize} bytes), and kv_memory_bytes allows "
        f"{budget_bytes / 2**20:.0f} MiB. In decoder.json, set {', or '.join(ways)}."
    )


class DecoderGraph(Protocol):
    """What the engine asks of a graph; tests have one that needs no model."""

    rows: int
    """Rows with keys and values: those that decode together, and the spare ones."""

    max_model_len: int
    """Tokens that a row has place for."""

    def prefill(self, row: int, start: int, token_ids: Sequence[int]) -> FloatArray:
        """Read tokens into *row* from place *start* on; return the last one's logits, of shape (1, vocab_size)."""
        ...

    def prefill_together(self, first_row: int, prompts: Sequence[Sequence[int]]) -> FloatArray:
        """Read whole prompts into rows from *first_row* on; return logits, good for the longest ones only."""
        ...

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> FloatArray:
        """Read a token into each of the first rows, at place *length*; return logits of shape (rows, vocab_size)."""
        ...

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy the first *length* tokens' keys and values of a row into another."""
        ...


class OnnxGraph:
    """A graph of onnxruntime-genai's builder, as `DecoderGraph`."""

    def __init__(self, path: Path, settings: GraphSettings) -> None:
        """
        Load the graph and make its buffers.

        Args:
            path: The graph, its weights beside it.

            settings: What `decoder.json` says of it.

        Raises:
            GraphUnusable: If the buffers don't fit their budget, or the graph isn't one that this class drives.
        """
        check_memory(settings)
        self.rows = settings.rows
        self.max_model_len = settings.max_model_len
        self._session = _load(path, settings.threads)
        names = [f"{layer}.{part}" for layer in range(settings.layers) for part in ("key", "value")]
        _check_names(self._session, names, path)
        shape = (settings.rows, settings.kv_heads, settings.max_model_len, settings.head_dim)
        # Zeros come from untouched pages: a row takes memory when it is first used.
        self._kv = {name: np.zeros(shape, dtype=settings.kv_dtype) for name in names}
        self._logits: FloatArray = np.zeros((settings.slots, settings.vocab_size), dtype=np.float32)
        self._decode_ids = np.zeros((settings.slots, 1), dtype=np.int64)
        self._places = np.arange(settings.max_model_len, dtype=np.int64)
        self._bindings: dict[tuple[int, int], Any] = {}

    def prefill(self, row: int, start: int, token_ids: Sequence[int]) -> FloatArray:
        """
        Read tokens of a prompt into a row, whose first tokens have been read.

        Args:
            row: The row.

            start: How many tokens it has.

            token_ids: The next ones, at least one.

        Returns:
            Logits after the last token: float32 array of shape (1, vocab_size), good until the next call.
        """
        total = start + len(token_ids)
        binding = self._bind(row, 1)
        ids = np.array([token_ids], dtype=np.int64)
        mask = np.ones((1, total), dtype=np.int64)
        _bind_input(binding, "input_ids", ids)
        _bind_input(binding, "attention_mask", mask)
        self._session.run_with_iobinding(binding)
        return self._logits[:1]

    def prefill_together(self, first_row: int, prompts: Sequence[Sequence[int]]) -> FloatArray:
        """
        Read several whole prompts in one call: a quarter less work than one by one if they are short.

        Args:
            first_row: The row of the first prompt; the others go into the rows after it.

            prompts: The prompts, each at least one token, at most as many as decode together.

        Returns:
            Logits of shape (prompts, vocab_size), good until the next call. They follow the end of the longest
            prompts; those of shorter ones are of no use, since they follow their padding.
        """
        lengths = np.array([len(prompt) for prompt in prompts])
        ids = np.zeros((len(prompts), lengths.max()), dtype=np.int64)
        mask = (self._places[: lengths.max()] < lengths[:, None]).astype(np.int64)
        ids[mask.astype(bool)] = np.concatenate(prompts)
        binding = self._bind(first_row, len(prompts))
        _bind_input(binding, "input_ids", ids)
        _bind_input(binding, "attention_mask", mask)
        self._session.run_with_iobinding(binding)
        return self._logits[: len(prompts)]

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> FloatArray:
        """
        Read one more token into each of the first rows.

        Args:
            token_ids: The next token of rows 0, 1, 2 …

            lengths: How many tokens each of them has, at least one.

        Returns:
            Logits after these tokens: float32 array of shape (rows, vocab_size), good until the next call.
        """
        count = len(token_ids)
        binding = self._bind(0, count)
        self._decode_ids[:count, 0] = token_ids
        _bind_input(binding, "input_ids", self._decode_ids[:count])
        totals = np.array(lengths, dtype=np.int64)[:, None] + 1
        width = min(-(-int(totals.max()) // MASK_STEP_TOKENS) * MASK_STEP_TOKENS, self.max_model_len)
        mask = (self._places[:width] < totals).astype(np.int64)
        _bind_input(binding, "attention_mask", mask)
        self._session.run_with_iobinding(binding)
        return self._logits[:count]

    def copy_row(self, source: int, target: int, length: int) -> None:
        """
        Copy the beginning of a row into another.

        Args:
            source: The row that is read.

            target: The row that is written.

            length: How many tokens.
        """
        for buffer in self._kv.values():
            buffer[target, :, :length] = buffer[source, :, :length]

    def _bind(self, first: int, count: int) -> Any:
        """Return a binding of *count* rows from row *first* on; each is made once and kept."""
        binding = self._bindings.get((first, count))
        if binding is None:
            binding = self._session.io_binding()
            for name, buffer in self._kv.items():
                rows = buffer[first : first + count]
                _bind_input(binding, f"past_key_values.{name}", rows)
                _bind_output(binding, f"present.{name}", rows)
            _bind_output(binding, "logits", self._logits[:count, None])
            self._bindings[first, count] = binding
        return binding


def _load(path: Path, threads: int) -> Any:
    """Open a session for steps that come one after the other, from one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between steps would take the cores from those who tokenize, send and answer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no common base but Exception.
    except Exception as error:
        raise GraphUnusable(f"{path.name} can't be loaded: {error}. Export the model again.") from error


def _check_names(session: Any, names: Sequence[str], path: Path) -> None:
    """See that the graph has the inputs and outputs that are bound, and no others."""
    inputs = {"input_ids", "attention_mask", *(f"past_key_values.{name}" for name in names)}
    outputs = {"logits", *(f"present.{name}" for name in names)}
    found_inputs = {value.name for value in session.get_inputs()}
    found_outputs = {value.name for value in session.get_outputs()}
    strange = sorted((inputs ^ found_inputs) | (outputs ^ found_outputs))
    if strange:
        raise GraphUnusable(
            f"{path.name} doesn't have the inputs and outputs that decoder.json tells of: they differ in "
            f"{', '.join(strange[:4])}. Export the model again."
        )


def _bind_input(binding: Any, name: str, array: npt.NDArray[Any]) -> None:
    """Let the graph read an array where it is; whoever calls keeps it alive until the run has ended."""
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(binding: Any, name: str, array: npt.NDArray[Any]) -> None:
    """Let the graph write into an array; whoever calls keeps it alive."""
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
