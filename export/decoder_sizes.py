"""
How much a decoder keeps in memory: how many rows decode together, and how long each may grow.

Every row keeps keys and values of all its tokens, in buffers made once at load. What does not fit the budget is
taken first from the number of rows, then from their length; the sums are in `decoder.json`, and the runtime checks
them again.
"""

from dataclasses import asdict, dataclass
from typing import Any

from export.artifacts import Graph
from export.errors import BadInput

KV_MEMORY_BYTES = 2 * 2**30
"""Budget for keys and values: a machine that serves models has this much to spare beside the weights."""

MAX_MODEL_LEN = 4096
"""Prompt and answer of one row together, unless the model reads less or the caller asks for more."""

SLOTS = 32
"""Rows that decode together; on two cores 64 rows gave no more tokens a second than 32."""

MIN_SLOTS = 4
"""Below this, rows get shorter instead of fewer."""

SPARE_SLOTS = 1
"""One more row, in which prompts are read."""

PREFILL_CHUNK = 128
"""
Tokens of a prompt that are read in one step: running rows wait for no longer than that. Also the block of the prefix
cache.
"""

MIN_MODEL_LEN = 16
"""A context below this holds no sensible prompt and answer."""

MAX_N = 8
"""Answers to one prompt; each takes a slot."""

MAX_LOGPROBS = 20
"""Likeliest tokens that are told with each token; vLLM's default, and OpenAI's bound."""

MAX_QUEUED = 1024
"""Requests that wait for a slot; one more is refused."""

FLOAT32_BYTES = 4
"""What the caches hold on a CPU, in every precision of the weights."""


@dataclass(frozen=True)
class DecoderSizes:
    """The sizes of one decoder."""

    max_model_len: int
    """Prompt and answer of one row, in tokens."""

    slots: int
    """Rows that decode together."""

    prefill_chunk: int
    """Tokens of one prefill step."""

    kv_memory_bytes: int
    """Budget for keys and values."""

    threads: int
    """Threads in one operator."""

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as `decoder.json` has them."""
        return asdict(self)


def size_decoder(
    graph: Graph, context_tokens: int, threads: int, asked_model_len: int | None
) -> DecoderSizes:
    """
    Choose the sizes of a decoder.

    Args:
        graph: The decoder's graph.

        context_tokens: How many tokens the model can read.

        threads: Threads in one operator.

        asked_model_len: What the caller wants of `max_model_len`; None leaves it to the budget.

    Returns:
        Sizes within the budget.

    Raises:
        BadInput: If the length asked for is beyond the model's context or the budget, or the context is tiny.
    """
    if asked_model_len is not None and asked_model_len > context_tokens:
        raise BadInput(
            f"--max-model-len {asked_model_len} is beyond the model's context of {context_tokens} tokens. Ask for less."
        )
    row_token_bytes = kv_bytes_per_token(graph)
    model_len = asked_model_len or min(context_tokens, MAX_MODEL_LEN)
    slots = min(SLOTS, KV_MEMORY_BYTES // (row_token_bytes * model_len) - SPARE_SLOTS)
    if slots < MIN_SLOTS and asked_model_len is None:
        slots = MIN_SLOTS
        fitting = KV_MEMORY_BYTES // (row_token_bytes * (slots + SPARE_SLOTS))
        model_len = min(model_len, max(MIN_MODEL_LEN, fitting // PREFILL_CHUNK * PREFILL_CHUNK))
    if slots < 1 or (slots + SPARE_SLOTS) * model_len * row_token_bytes > KV_MEMORY_BYTES:
        raise BadInput(
            f"Rows of {model_len} tokens need {2 * model_len * row_token_bytes / 2**30:.1f} GiB for keys and "
            f"values, and {KV_MEMORY_BYTES / 2**30:.0f} GiB are planned. Ask for less with --max-model-len, or "
            "use --engine vllm on a GPU."
        )
    if model_len < MIN_MODEL_LEN:
        raise BadInput(
            f"A context of {model_len} tokens is too short to generate text; {MIN_MODEL_LEN} are needed."
        )
    return DecoderSizes(
        max_model_len=model_len,
        slots=slots,
        prefill_chunk=min(PREFILL_CHUNK, model_len),
        kv_memory_bytes=KV_MEMORY_BYTES,
        threads=threads,
    )


def kv_bytes_per_token(graph: Graph) -> int:
    """
    Count what one row keeps of one token.

    Args:
        graph: The decoder's graph.

    Returns:
        Bytes, over all layers, keys and values.
    """
    caches = [spec for spec in graph.inputs if spec.name.startswith("past_key_values.")]
    return sum(spec.dims[0] * spec.dims[2] for spec in caches) * FLOAT32_BYTES
