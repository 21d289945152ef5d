"""
What a generation is asked for and what comes back, in vLLM's words; values only.

A caller reads a `Generation` piece by piece. Whether the model is writing it right now, for this caller or for another
one with the same request, or whether it is a stored answer, makes no difference to the reader.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from facade.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from facade.inference.catalogue import ModelCard, ServedModel

TASK = "text-generation"
"""The model card's word for models that generate."""


NO_SEED = -1
"""
A seed that is none.

Source:
    vLLM, ``vllm/sampling_params.py``, ``SamplingParams.__post_init__``.
"""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """
    How to choose tokens, under the names and with the defaults of vLLM's ``SamplingParams``.

    Its JSON, without what is left at its default, is the tensor ``sampling_parameters``.

    Source:
        https://docs.vllm.ai/en/latest/api/vllm/sampling_params.html
    """

    n: int = 1
    """Answers to one prompt."""

    temperature: float = 1.0
    """0 takes the likeliest token each time."""

    top_p: float = 1.0
    """Choose among the likeliest tokens that have this probability together."""

    top_k: int = 0
    """Choose among so many of the likeliest tokens; 0 or -1 takes all."""

    min_p: float = 0.0
    """Choose among tokens with at least this part of the likeliest one's probability."""

    seed: int | None = None
    """Makes a sampled answer repeatable."""

    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and of the answer become less likely."""

    presence_penalty: float = 0.0
    """Above 0, tokens that the answer has become less likely."""

    frequency_penalty: float = 0.0
    """Above 0, tokens that the answer has often become less likely."""

    logit_bias: dict[str, float] = {}
    """Added to the logits of some tokens, by token id."""

    stop: list[str] = []
    """Texts that end the answer; they are not part of it."""

    stop_token_ids: list[int] = []
    """Tokens that end the answer."""

    max_tokens: int = 16
    """Most tokens of one answer."""

    min_tokens: int = 0
    """Tokens before which the answer doesn't end by itself."""

    logprobs: int | None = None
    """How many of the likeliest tokens to report at each place; 0 reports the chosen one alone."""

    ignore_eos: bool = False
    """Whether to go on after the end-of-sequence token."""

    skip_special_tokens: bool = True
    """Whether the answer comes without its special tokens' texts."""

    structured_outputs: str | None = None
    """What the answer must keep to, as JSON: ``{"json": schema}``, ``{"regex": "…"}``, ``{"choice": […]}``, …"""

    lora_name: str | None = None
    """Which of the model's LoRA adapters answers."""

    @property
    def is_deterministic(self) -> bool:
        """Whether the same request gets the same answer again."""
        return self.temperature == 0 or self.seed is not None


class TokenLogprob(NamedTuple):
    """One token that was chosen, and what else was likely there."""

    token_id: int
    """Its id in the model's vocabulary."""

    token: str
    """Its text; a part of a character has a replacement character."""

    logprob: float
    """Natural logarithm of its probability."""

    top: tuple[tuple[str, float], ...]
    """Texts and logarithms of the likeliest tokens, the likeliest first."""


class Piece(NamedTuple):
    """What one of the answers grew by."""

    index: int  # type: ignore[assignment]  # OpenAI's and vLLM's word; nobody calls tuple.index here
    """Which of the ``n`` answers."""

    text: str
    """What follows; may be empty."""

    finish_reason: str | None
    """``stop`` or ``length`` where this is the answer's last piece, else None."""

    num_tokens: int
    """Tokens that it stands for."""

    logprobs: tuple[TokenLogprob, ...] = ()
    """One a token, where they were asked for."""


class Generation(Protocol):
    """
    Answers to one prompt, read once, piece by piece: ``async for piece in generation``.

    Its errors are `facade.errors`. Whoever stops reading before the end calls `aclose`.
    """

    @property
    def model(self) -> ServedModel:
        """Who answers."""

    @property
    def version(self) -> int:
        """The version that answers."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""

    @property
    def completion_tokens(self) -> int:
        """Tokens of the pieces read so far, over all answers."""

    def __aiter__(self) -> AsyncIterator[Piece]:
        """Read the pieces."""

    async def __anext__(self) -> Piece:
        """
        Wait for the next piece.

        Raises:
            StopAsyncIteration: If all answers are whole.

            FacadeError: If they never will be.
        """

    async def aclose(self) -> None:
        """Read no further; the model stops if nobody else reads on. May be called twice."""


_FIELD_OF_REASON = re.compile(r"unknown field `(?P<unknown>\w+)`|`\$\.(?P<known>\w+)")
"""Where msgspec names the field that is wrong."""

# Of vLLM's `SamplingParams._verify_args`, and OpenAI's bounds of what a caller can mean.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (1e-9, 1.0),
    "min_p": (0.0, 1.0),
    "top_k": (-1, 2**31 - 1),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (1e-3, 100.0),
    "seed": (-(2**63), 2**63 - 1),
    "min_tokens": (0, 2**31 - 1),
    "max_tokens": (1, 2**31 - 1),
}


def check_sampling(sampling: Sampling, *, max_n: int, max_logprobs: int) -> None:
    """
    Refuse what no model could sample with, before anything is queued: vLLM's backend would answer it with a riddle.

    Args:
        sampling: What the caller wants.

        max_n: Most answers to one prompt.

        max_logprobs: Most tokens reported at one place.

    Raises:
        InvalidInput: If a value is out of its range; ``param`` is its name.
    """
    for name, (low, high) in (*_RANGES.items(), ("n", (1, max_n)), ("logprobs", (0, max_logprobs))):
        value = getattr(sampling, name)
        # The comparison's order refuses NaN as well.
        if value is not None and not low <= value <= high:
            least = "above 0" if 0 < low < 1 else f"at least {low}"
            raise InvalidInput(f"'{name}' must be {least} and at most {high}; got {value}.", param=name)
    if sampling.min_tokens > sampling.max_tokens:
        raise InvalidInput(
            f"'min_tokens' ({sampling.min_tokens}) must not exceed 'max_tokens' ({sampling.max_tokens}).",
            param="min_tokens",
        )
    if not all(sampling.stop):
        raise InvalidInput("'stop' must not have an empty text; it would end every answer.", param="stop")
    for token_id, bias in sampling.logit_bias.items():
        if not (token_id.isascii() and token_id.isdecimal()) or not -100 <= bias <= 100:  # noqa: PLR2004
            raise InvalidInput(
                f"'logit_bias' has {token_id!r}: {bias}; keys are token ids, values between -100 and 100.",
                param="logit_bias",
            )


def make_sampling(card: ModelCard, given: Mapping[str, Any]) -> Sampling:
    """
    Read sampling parameters as a caller wrote them.

    Args:
        card: The model's; its ``default_sampling`` stands where the caller says nothing.

        given: By vLLM's names; ``stop`` may be one text alone.

    Returns:
        The parameters.

    Raises:
        InvalidInput: If there is one that nobody knows, or a value of another type; ``param`` is its name.
    """
    known = {
        name: value for name, value in card.default_sampling.items() if name in Sampling.__struct_fields__
    }
    wanted = known | dict(given)
    if isinstance(wanted.get("stop"), str):
        wanted["stop"] = [wanted["stop"]]
    if wanted.get("seed") == NO_SEED:
        del wanted["seed"]
    try:
        return msgspec.convert(wanted, Sampling)
    except msgspec.ValidationError as error:
        reason = str(error)
        found = _FIELD_OF_REASON.search(reason)
        if found is not None and found["unknown"]:
            name = found["unknown"]
            raise InvalidInput(f"'{name}' is no sampling parameter that we know.", param=name) from None
        name = found["known"] if found else "parameters"
        raise InvalidInput(f"'{name}': {reason.partition(' - at ')[0]}.", param=name) from None
