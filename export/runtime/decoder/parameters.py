"""
How a caller wants the next tokens chosen: vLLM's `sampling_parameters`, read, bounded, and refused in words.

`parse_parameters` takes vLLM's JSON and gives `Parameters`. Names, defaults and meanings are vLLM's
(`vllm/sampling_params.py`, `SamplingParams`), so a request that works with Triton's vLLM backend works here.

Rules for later editors:

1. A refusal names the field first, in quotes, and says what would be accepted: the façade hands it to the caller.
2. What isn't known is refused, never ignored: a misspelt `max_token` must not end in 16 tokens.
3. Every value is bounded here. The engine's thread serves all callers and checks nothing again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .values import (
    MAX_SHOWN_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    InvalidParameter,
    logit_bias,
    number,
    read_flag,
    read_json,
    read_seed,
    read_stop,
    read_temperature,
    read_top_k,
    token_ids,
    whole,
)

ConstraintKind = Literal["json", "json_object", "regex", "choice", "grammar"]

MAX_CONSTRAINT_CHARACTERS = 1 << 16
"""Longest schema, regex or grammar; compiling takes a time that grows with it."""

_ABSENT_FEATURES = {
    "lora_name": "names a LoRA adapter; this model has none",
    "prompt_logprobs": "is not supported: log probabilities are of generated tokens only",
    "bad_words": "is not supported; exclude single tokens with 'logit_bias'",
    "allowed_token_ids": "is not supported; constrain the text with 'structured_outputs'",
    "best_of": "is not supported; ask for 'n' answers and choose one",
    "use_beam_search": "is not supported; tokens are sampled, or chosen greedily with 'temperature' 0",
}
"""Fields that callers of vLLM know, and what to do without them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model allows its callers."""

    vocab_size: int
    """Tokens that the model chooses from."""

    max_model_len: int
    """Tokens of a prompt and its answer together."""

    max_n: int
    """Most answers to one prompt; each takes a slot."""

    max_logprobs: int
    """Most alternatives whose log probability is told for each token."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A form that the answer must have."""

    kind: ConstraintKind
    """What `value` is."""

    value: str
    """The JSON schema as JSON, the regex, the choices as a JSON array, or the Lark grammar; `{}` for any object."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How one request's tokens are chosen, and when its answers end. Defaults are vLLM's."""

    n: int = 1
    """Answers to the prompt."""

    temperature: float = 1.0
    """Flattens the distribution when above 1, sharpens it below; 0 takes the likeliest token."""

    top_p: float = 1.0
    """Keep the likeliest tokens whose probabilities sum up to this."""

    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all."""

    min_p: float = 0.0
    """Keep tokens at least this likely, as a share of the likeliest one's probability."""

    seed: int | None = None
    """The same seed draws the same tokens; without one every answer differs."""

    repetition_penalty: float = 1.0
    """Above 1 makes tokens of prompt and answer less likely: divides positive logits, multiplies negative ones."""

    presence_penalty: float = 0.0
    """Taken from the logit of each token that the answer has."""

    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer has it."""

    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids and what is added to their logits, -100 to 100."""

    stop: tuple[str, ...] = ()
    """Texts that end the answer."""

    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the answer."""

    max_tokens: int = 16
    """Most tokens of each answer."""

    min_tokens: int = 0
    """Tokens before which neither stops nor the model end an answer; `max_tokens` and a form that is complete do."""

    logprobs: int | None = None
    """Alternatives whose log probability is told for each token; 0 tells the chosen one's alone, None nothing."""

    ignore_eos: bool = False
    """Go on after the end-of-sequence token."""

    include_stop_str_in_output: bool = False
    """Leave the text that ended the answer in it."""

    skip_special_tokens: bool = True
    """Leave special tokens out of the text."""

    constraint: Constraint | None = None
    """The form that each answer must have."""


def parse_parameters(text: str, limits: Limits) -> Parameters:
    """
    Read vLLM's `sampling_parameters`.

    Args:
        text: A JSON object; a field that is null has its default.

        limits: What the model allows.

    Returns:
        The parameters, each within its bounds.

    Raises:
        InvalidParameter: If the JSON or a field of it can't be used; no other exception, whatever the text.
    """
    fields = read_json("sampling_parameters", text, MAX_TEXT_CHARACTERS)
    if not isinstance(fields, dict):
        raise InvalidParameter("sampling_parameters", "must be a JSON object.")
    fields = {name: value for name, value in fields.items() if value is not None}
    constraint = _pop_constraint(fields)
    readers = _readers(limits)
    for name in fields:
        if name in _ABSENT_FEATURES:
            raise InvalidParameter(name, _ABSENT_FEATURES[name] + ".")
        if name not in readers:
            raise InvalidParameter(
                name[:MAX_SHOWN_CHARACTERS], f"is unknown; known are {', '.join(readers)}."
            )
    values = {name: readers[name](name, value) for name, value in fields.items()}
    parameters = Parameters(**values, constraint=constraint)
    if parameters.min_tokens > parameters.max_tokens:
        raise InvalidParameter(
            "min_tokens",
            f"must be at most 'max_tokens' ({parameters.max_tokens}), not {parameters.min_tokens}.",
        )
    return parameters


def _readers(limits: Limits) -> Mapping[str, Callable[[str, Any], Any]]:
    """Name every field and what reads it: a function of its name and JSON value that returns the value, checked."""
    return {
        "n": whole(1, limits.max_n),
        "temperature": read_temperature,
        "top_p": number(0.0, 1.0, above_low=True),
        "top_k": read_top_k,
        "min_p": number(0.0, 1.0),
        "seed": read_seed,
        # NOTE: vLLM has no upper bound; beyond these float32 logits turn into infinities, which are nobody's wish.
        "repetition_penalty": number(0.01, 100.0),
        "presence_penalty": number(-2.0, 2.0),
        "frequency_penalty": number(-2.0, 2.0),
        "logit_bias": logit_bias(limits.vocab_size),
        "stop": read_stop,
        "stop_token_ids": token_ids(limits.vocab_size),
        "max_tokens": whole(1, None),
        "min_tokens": whole(0, None),
        "logprobs": whole(0, limits.max_logprobs),
        "ignore_eos": read_flag,
        "include_stop_str_in_output": read_flag,
        "skip_special_tokens": read_flag,
    }


def _pop_constraint(fields: dict[str, Any]) -> Constraint | None:
    """Take `structured_outputs`, or `guided_decoding`, its older name, out of the fields and read it."""
    older = fields.pop("guided_decoding", None)
    value = fields.pop("structured_outputs", None)
    name = "guided_decoding" if value is None else "structured_outputs"
    value = older if value is None else value
    if value is None:
        return None
    if isinstance(value, str):
        value = read_json(name, value, MAX_TEXT_CHARACTERS)
    if not isinstance(value, dict):
        raise InvalidParameter(name, "must be an object, or one as JSON in a string.")
    # What an option leaves at its default (null or false) asks for nothing. The backend is an older vLLM's choice.
    asked = {key: it for key, it in value.items() if it is not None and it is not False and key != "backend"}
    known = ("json", "json_object", "regex", "choice", "grammar")
    if len(asked) != 1 or next(iter(asked)) not in known:
        raise InvalidParameter(name, f"must have exactly one of {', '.join(known)}, and nothing else.")
    kind, content = next(iter(asked.items()))
    text = _constraint_text(name, kind, content)
    if len(text) > MAX_CONSTRAINT_CHARACTERS:
        raise InvalidParameter(
            name, f"has a {kind} of {len(text)} characters; at most {MAX_CONSTRAINT_CHARACTERS} are read."
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidParameter(name, f"has half a surrogate pair in its {kind}, which no text can have.")
    return Constraint(kind, text)


def _constraint_text(name: str, kind: str, content: Any) -> str:
    """Check a constraint's own type and give it as text."""
    if kind == "json_object":
        if content is not True:
            raise InvalidParameter(name, "must have true as its json_object.")
        return "{}"
    if kind == "choice":
        if not isinstance(content, list) or not content or not all(isinstance(it, str) for it in content):
            raise InvalidParameter(name, "must have a list of texts as its choice, at least one.")
        return json.dumps(content, ensure_ascii=False)
    if kind == "json":
        schema = read_json(name, content, MAX_TEXT_CHARACTERS) if isinstance(content, str) else content
        if not isinstance(schema, dict):
            raise InvalidParameter(name, "must have a JSON schema, an object, as its json.")
        return json.dumps(schema, ensure_ascii=False)
    if not isinstance(content, str) or not content:
        raise InvalidParameter(name, f"must have a text as its {kind}.")
    return content
