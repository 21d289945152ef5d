"""
One value of a caller's JSON, read and bounded: numbers, flags, stop strings, token ids.

Each reader takes a field's name and its value and returns the value; or it raises `InvalidParameter`, whose text
begins with the name and says what would be accepted. The bounds are vLLM's where it has one.
"""

import json
import math
from collections.abc import Callable
from typing import Any

MAX_TEXT_CHARACTERS = 1 << 20
"""Longest JSON that is read at all; a JSON schema of a whole API fits."""

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


class InvalidParameter(ValueError):
    """A field that can't be used; the text begins with its name in quotes."""

    def __init__(self, field: str, message: str) -> None:
        # JSON can spell half a surrogate pair, which no UTF-8 message can carry.
        super().__init__(f"'{field}' {message}".encode("utf-8", "backslashreplace").decode())
        self.field = field


def read_json(field: str, text: str, max_characters: int) -> Any:
    """Parse JSON of a caller; raise InvalidParameter for whatever is wrong with it."""
    if len(text) > max_characters:
        raise InvalidParameter(field, f"has {len(text)} characters; at most {max_characters} are read.")
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidParameter(field, "is nested too deeply.") from None
    except ValueError as error:
        raise InvalidParameter(field, f"is not valid JSON: {error}.") from error


def whole(low: int, high: int | None) -> Callable[[str, Any], int]:
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


def number(low: float, high: float, *, above_low: bool = False) -> Callable[[str, Any], float]:
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


def read_temperature(name: str, value: Any) -> float:
    """Read a temperature; almost 0 is 0, and a little more is enough not to overflow."""
    temperature = number(0.0, 2.0)(name, value)
    return 0.0 if temperature < GREEDY_BELOW else max(temperature, LOWEST_TEMPERATURE)


def read_top_k(name: str, value: Any) -> int:
    """Read `top_k`, of which -1 means all as 0 does."""
    if not _is_whole(value) or value < -1:
        raise InvalidParameter(
            name, f"must be 0 for all tokens, or a whole number above, not {_show(value)}."
        )
    return max(int(value), 0)


def read_seed(name: str, value: Any) -> int | None:
    """Read a seed of 64 bits; -1 is none, as in vLLM."""
    if not _is_whole(value) or not -(1 << 63) <= value < 1 << 63:
        raise InvalidParameter(name, f"must be a whole number of 64 bits, not {_show(value)}.")
    return None if value == -1 else int(value)


def read_flag(name: str, value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidParameter(name, f"must be true or false, not {_show(value)}.")
    return value


def read_stop(name: str, value: Any) -> tuple[str, ...]:
    """Read one stop string or a list of them."""
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(text, str) and text for text in strings):
        raise InvalidParameter(name, "must be a text or a list of texts, none of them empty.")
    if len(strings) > MAX_STOP_STRINGS or any(len(text) > MAX_STOP_CHARACTERS for text in strings):
        raise InvalidParameter(
            name, f"may hold {MAX_STOP_STRINGS} texts of at most {MAX_STOP_CHARACTERS} characters each."
        )
    return tuple(dict.fromkeys(strings))


def token_ids(vocab_size: int) -> Callable[[str, Any], tuple[int, ...]]:
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


def logit_bias(vocab_size: int) -> Callable[[str, Any], tuple[tuple[int, float], ...]]:
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
