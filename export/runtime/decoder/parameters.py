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
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ConstraintKind = Literal["json", "json_object", "regex", "choice", "grammar"]

MAX_TEXT_CHARACTERS = 1 << 20
"""Longest JSON that is read at all; a JSON schema of a whole API fits."""

MAX_CONSTRAINT_CHARACTERS = 1 << 16
"""Longest schema, regex or grammar; compiling takes a time that grows with it."""

MAX_STOP_STRINGS = 32
"""Most `stop` strings; each is looked for after every token. OpenAI allows 4."""

MAX_STOP_CHARACTERS = 256
"""Longest `stop` string."""

MAX_SHOWN_CHARACTERS = 100
"""Longest part of a caller's value that a message repeats."""

MAX_TOKEN_IDS = 1024
"""Most entries of `stop_token_ids` and of `logit_bias`. OpenAI allows 300 of the latter."""

GREEDY_BELOW = 1e-5
"""A temperature below it is 0. Source: vLLM, `_SAMPLING_EPS`."""

LOWEST_TEMPERATURE = 1e-2
"""A temperature above 0 is raised to it: logits divided by less overflow. Source: vLLM, `_MAX_TEMP`."""

LARGEST_BIAS = 100.0
"""Biases are cut to plus or minus this. Source: OpenAI's reference, `logit_bias`; vLLM does the same."""

_ABSENT_FEATURES = {
    "lora_name": "names a LoRA adapter; this model has none",
    "prompt_logprobs": "is not supported: log probabilities are of generated tokens only",
    "bad_words": "is not supported; exclude single tokens with 'logit_bias'",
    "allowed_token_ids": "is not supported; constrain the text with 'structured_outputs'",
    "best_of": "is not supported; ask for 'n' answers and choose one",
    "use_beam_search": "is not supported; tokens are sampled, or chosen greedily with 'temperature' 0",
}
"""Fields that callers of vLLM know, and what to do without them."""


class InvalidParameter(ValueError):
    """A field that can't be used; the text begins with its name in quotes."""

    def __init__(self, field: str, message: str) -> None:
        # JSON can spell half a surrogate pair, which no UTF-8 message can carry.
        super().__init__(f"'{field}' {message}".encode("utf-8", "backslashreplace").decode())
        self.field = field


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
    """Tokens before which nothing but `max_tokens` ends an answer."""

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
    fields = _read_json("sampling_parameters", text, MAX_TEXT_CHARACTERS)
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
        "n": _whole(1, limits.max_n),
        "temperature": _read_temperature,
        "top_p": _number(0.0, 1.0, above_low=True),
        "top_k": _read_top_k,
        "min_p": _number(0.0, 1.0),
        "seed": _read_seed,
        # NOTE: vLLM has no upper bound; beyond these float32 logits turn into infinities, which are nobody's wish.
        "repetition_penalty": _number(0.01, 100.0),
        "presence_penalty": _number(-2.0, 2.0),
        "frequency_penalty": _number(-2.0, 2.0),
        "logit_bias": _logit_bias(limits.vocab_size),
        "stop": _read_stop,
        "stop_token_ids": _token_ids(limits.vocab_size),
        "max_tokens": _whole(1, None),
        "min_tokens": _whole(0, None),
        "logprobs": _whole(0, limits.max_logprobs),
        "ignore_eos": _read_flag,
        "include_stop_str_in_output": _read_flag,
        "skip_special_tokens": _read_flag,
    }


def _read_json(field: str, text: str, max_characters: int) -> Any:
    """Parse JSON of a caller; raise InvalidParameter for whatever is wrong with it."""
    if len(text) > max_characters:
        raise InvalidParameter(field, f"has {len(text)} characters; at most {max_characters} are read.")
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidParameter(field, "is nested too deeply.") from None
    except ValueError as error:
        raise InvalidParameter(field, f"is not valid JSON: {error}.") from error


def _whole(low: int, high: int | None) -> Callable[[str, Any], int]:
    """Make a reader of whole numbers from *low* to *high*."""
    wanted = (
        f"must be a whole number from {low} to {high}"
        if high is not None
        else (f"must be a whole number, at least {low}")
    )

    def read(name: str, value: Any) -> int:
        if not _is_whole(value) or value < low or (high is not None and value > high):
            raise InvalidParameter(name, f"{wanted}, not {_show(value)}.")
        return int(value)

    return read


def _number(low: float, high: float, *, above_low: bool = False) -> Callable[[str, Any], float]:
    """Make a reader of numbers from *low*, or from above it, to *high*."""
    wanted = (
        f"must be a number above {low:g} and at most {high:g}"
        if above_low
        else (f"must be a number from {low:g} to {high:g}")
    )

    def read(name: str, value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or (above_low and value == low):
            raise InvalidParameter(name, f"{wanted}, not {_show(value)}.")
        return float(value)

    return read


def _read_temperature(name: str, value: Any) -> float:
    """Read a temperature; almost 0 is 0, and a little more is enough not to overflow."""
    temperature = _number(0.0, 2.0)(name, value)
    return 0.0 if temperature < GREEDY_BELOW else max(temperature, LOWEST_TEMPERATURE)


def _read_top_k(name: str, value: Any) -> int:
    """Read `top_k`, of which -1 means all as 0 does."""
    if not _is_whole(value) or value < -1:
        raise InvalidParameter(
            name, f"must be 0 for all tokens, or a whole number above, not {_show(value)}."
        )
    return max(int(value), 0)


def _read_seed(name: str, value: Any) -> int | None:
    """Read a seed of 64 bits; -1 is none, as in vLLM."""
    if not _is_whole(value) or not -(1 << 63) <= value < 1 << 63:
        raise InvalidParameter(name, f"must be a whole number of 64 bits, not {_show(value)}.")
    return None if value == -1 else int(value)


def _read_flag(name: str, value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidParameter(name, f"must be true or false, not {_show(value)}.")
    return value


def _read_stop(name: str, value: Any) -> tuple[str, ...]:
    """Read one stop string or a list of them."""
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(text, str) and text for text in strings):
        raise InvalidParameter(name, "must be a text or a list of texts, none of them empty.")
    if len(strings) > MAX_STOP_STRINGS or any(len(text) > MAX_STOP_CHARACTERS for text in strings):
        raise InvalidParameter(
            name, f"may hold {MAX_STOP_STRINGS} texts of at most {MAX_STOP_CHARACTERS} characters each."
        )
    return tuple(dict.fromkeys(strings))


def _token_ids(vocab_size: int) -> Callable[[str, Any], tuple[int, ...]]:
    """Make a reader of a list of token ids."""

    def read(name: str, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > MAX_TOKEN_IDS:
            raise InvalidParameter(name, f"must be a list of at most {MAX_TOKEN_IDS} token ids.")
        for token_id in value:
            if not _is_whole(token_id) or not 0 <= token_id < vocab_size:
                raise InvalidParameter(
                    name, f"must hold token ids from 0 to {vocab_size - 1}, not {_show(token_id)}."
                )
        return tuple(dict.fromkeys(int(token_id) for token_id in value))

    return read


def _logit_bias(vocab_size: int) -> Callable[[str, Any], tuple[tuple[int, float], ...]]:
    """Make a reader of an object from token id, as text, to bias."""

    def read(name: str, value: Any) -> tuple[tuple[int, float], ...]:
        if not isinstance(value, dict) or len(value) > MAX_TOKEN_IDS:
            raise InvalidParameter(
                name, f"must be an object of at most {MAX_TOKEN_IDS} token ids and their biases."
            )
        biases: dict[int, float] = {}
        for key, bias in value.items():
            is_id = key.isascii() and key.isdecimal() and len(key) <= len(str(vocab_size))
            if not is_id or int(key) >= vocab_size:
                raise InvalidParameter(
                    name, f"must have token ids from 0 to {vocab_size - 1} as keys, not {_show(key)}."
                )
            if not isinstance(bias, int | float) or isinstance(bias, bool) or math.isnan(bias):
                raise InvalidParameter(name, f"must give a number for token {key}, not {_show(bias)}.")
            biases[int(key)] = float(max(-LARGEST_BIAS, min(LARGEST_BIAS, bias)))
        return tuple(biases.items())

    return read


def _pop_constraint(fields: dict[str, Any]) -> Constraint | None:
    """Take `structured_outputs`, or `guided_decoding`, its older name, out of the fields and read it."""
    older = fields.pop("guided_decoding", None)
    value = fields.pop("structured_outputs", None)
    name = "guided_decoding" if value is None else "structured_outputs"
    value = older if value is None else value
    if value is None:
        return None
    if isinstance(value, str):
        value = _read_json(name, value, MAX_TEXT_CHARACTERS)
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
        schema = _read_json(name, content, MAX_TEXT_CHARACTERS) if isinstance(content, str) else content
        if not isinstance(schema, dict):
            raise InvalidParameter(name, "must have a JSON schema, an object, as its json.")
        return json.dumps(schema, ensure_ascii=False)
    if not isinstance(content, str) or not content:
        raise InvalidParameter(name, f"must have a text as its {kind}.")
    return content


def _is_whole(value: Any) -> bool:
    """Tell whether a JSON value is a whole number; 5.0 is, true is not."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _show(value: Any) -> str:
    """Show a caller's value in a message, cut to a bearable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # a whole number of thousands of digits
        text = "that"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
