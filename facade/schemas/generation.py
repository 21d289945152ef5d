"""
What OpenAI's two routes for text generation share: the fields, what is refused of them, and what sampling they mean.

Every field of OpenAI's API reference is named: used, ignored because nothing here depends on it, or refused with
what to do instead. A field that nobody knows is refused too: a sampling parameter that is left out in silence would be
a mistake that is hard to find. Beside OpenAI's stand vLLM's further parameters under vLLM's names.

Source:
    https://platform.openai.com/docs/api-reference/chat and /completions;
    https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec

from facade.errors import InvalidInput
from facade.inference.generation import make_sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.inference.catalogue import ModelCard
    from facade.inference.generation import Sampling

MAX_STOPS = 32
"""Most stop texts. OpenAI takes 4; our decoder takes 32, and each is looked for at every token."""

MAX_STOP_CHARACTERS = 256
"""Longest stop text, in characters; our decoder's bound. Text that may become one is held back."""

MAX_CONSTRAINT_BYTES = 64 * 1024
"""Largest JSON schema or other constraint, in bytes of JSON. OpenAI's own bound is about 15,000 names and values."""

CONSTRAINT_KINDS = ("json", "json_object", "regex", "choice", "grammar")
"""What `structured_outputs` can ask for; vLLM's words."""


class JsonSchema(msgspec.Struct):
    """``response_format.json_schema``."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    """A name for it; nothing depends on it."""

    schema: dict[str, Any] | None = None
    """The JSON schema."""

    description: str | None = None
    """What it is for; nothing depends on it."""

    strict: bool | None = None
    """Accepted; answers keep to the schema either way."""


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """``response_format``: what form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    """OpenAI's word for the form."""

    json_schema: JsonSchema | None = None
    """The schema, where that is the form."""


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """``stream_options``."""

    include_usage: bool | None = None
    """Whether one more chunk says how many tokens it all took."""

    include_obfuscation: bool | None = None
    """Accepted and not used: chunks are never padded."""


class GenerationRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of both routes."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of a model with the task text-generation."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Most tokens of one answer."""

    n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Answers to one prompt."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    """0 takes the likeliest token each time; such answers are cached."""

    top_p: float | None = None
    """Choose among the likeliest tokens that have this probability together."""

    presence_penalty: float | None = None
    """Above 0, tokens that the answer has become less likely."""

    frequency_penalty: float | None = None
    """Above 0, tokens that the answer has often become less likely."""

    logit_bias: dict[str, float] | None = None
    """Added to the logits of some tokens, by token id."""

    stop: str | list[str] | None = None
    """A text or several that end the answer."""

    seed: int | None = None
    """Makes a sampled answer repeatable; such answers are cached."""

    stream: bool | None = None
    """Whether the answer comes as it is written."""

    stream_options: StreamOptions | None = None
    """Only with ``stream``."""

    response_format: ResponseFormat | None = None
    """What form the answer must have."""

    user: str | None = None
    """Accepted and not used."""

    # vLLM's...

    top_k: int | None = None
    """Choose among so many of the likeliest tokens; 0 or -1 takes all."""

    min_p: float | None = None
    """Choose among tokens with at least this part of the likeliest one's probability."""

    repetition_penalty: float | None = None
    """Above 1, tokens of the prompt and of the answer become less likely."""

    min_tokens: int | None = None
    """Tokens before which the answer doesn't end by itself."""

    stop_token_ids: list[int] | None = None
    """Tokens that end the answer."""

    ignore_eos: bool | None = None
    """Whether to go on after the end-of-sequence token."""

    structured_outputs: dict[str, Any] | None = None
    """A constraint in vLLM's words: ``{"regex": …}``, ``{"choice": […]}``, ``{"json": …}`` or ``{"grammar": …}``."""

    lora_name: str | None = None
    """Which of the model's LoRA adapters answers."""


class Refusal(NamedTuple):
    """A field that OpenAI has and we don't."""

    harmless: tuple[Any, ...]
    """Values that ask for nothing; null is always one."""

    advice: str
    """What to do instead."""


_SAMPLING_FIELDS = (
    "n",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "lora_name",
)
"""Fields that mean the same in OpenAI's requests and in vLLM's ``SamplingParams``."""


def check_fields(wanted: GenerationRequest, refusals: Mapping[str, Refusal]) -> None:
    """
    Refuse what needs no model to be refused.

    Args:
        wanted: The request.

        refusals: By field.

    Raises:
        InvalidInput: If a field asks for something that nobody here can do.
    """
    for name, refusal in refusals.items():
        value = getattr(wanted, name)
        if value is not None and value not in refusal.harmless:
            raise InvalidInput(f"'{name}' is not supported; {refusal.advice}.", param=name)
    if wanted.stream_options is not None and not wanted.stream:
        raise InvalidInput("'stream_options' is only for 'stream': true.", param="stream_options")
    stops = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop or []
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in stops):
        raise InvalidInput(
            f"'stop' may have {MAX_STOPS} texts of at most {MAX_STOP_CHARACTERS} characters each.",
            param="stop",
        )


def to_sampling(wanted: GenerationRequest, card: ModelCard, extras: Mapping[str, Any]) -> Sampling:
    """
    Say how tokens are to be chosen.

    Args:
        wanted: The request.

        card: The model's, whose own defaults stand where the request says nothing.

        extras: What a route knows beside the shared fields, by vLLM's names; None stands for nothing.

    Returns:
        The sampling parameters.

    Raises:
        InvalidInput: If one of them can't be used.
    """
    given = {name: getattr(wanted, name) for name in (*_SAMPLING_FIELDS, "max_tokens", "stop")}
    given |= extras
    return make_sampling(card, {name: value for name, value in given.items() if value is not None})


def to_constraint(wanted: GenerationRequest) -> str | None:
    """
    Read the form that an answer must have.

    Args:
        wanted: The request.

    Returns:
        ``structured_outputs`` as `Sampling` has it; None where any text will do.

    Raises:
        InvalidInput: If it is incomplete, too large, or asked for twice.
    """
    form = wanted.response_format
    if wanted.structured_outputs is not None:
        if form is not None and form.type != "text":
            raise InvalidInput(
                "'structured_outputs' and 'response_format' both constrain the answer; send one.",
                param="structured_outputs",
            )
        return write_constraint(wanted.structured_outputs, "structured_outputs")
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return write_constraint({"json_object": True}, "response_format")
    if form.json_schema is None or form.json_schema.schema is None:
        raise InvalidInput(
            "'response_format' has no schema; send it as json_schema.schema.",
            param="response_format.json_schema.schema",
        )
    return write_constraint({"json": form.json_schema.schema}, "response_format")


def write_constraint(constraint: dict[str, Any], param: str) -> str:
    """
    Write a constraint as the model reads it.

    Args:
        constraint: One of `CONSTRAINT_KINDS` and what it asks for.

        param: The request's field that it comes from, for error messages.

    Returns:
        JSON; the same for the same constraint.

    Raises:
        InvalidInput: If it is of no kind, of several, or too large.
    """
    if len(constraint) != 1 or next(iter(constraint)) not in CONSTRAINT_KINDS:
        raise InvalidInput(f"'{param}' must have exactly one of {', '.join(CONSTRAINT_KINDS)}.", param=param)
    try:
        # Names keep their order: it is the order in which the answer has them.
        text = msgspec.json.encode(constraint).decode()
    except RecursionError:
        raise InvalidInput(f"'{param}' is nested too deeply.", param=param) from None
    if len(text) > MAX_CONSTRAINT_BYTES:
        raise InvalidInput(
            f"'{param}' has {len(text)} characters of JSON; at most {MAX_CONSTRAINT_BYTES} are read.",
            param=param,
        )
    return text
