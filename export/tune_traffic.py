"""
What `tune` sends: recorded requests from a file, or made ones whose lengths are spread as people's texts are.

A file has one JSON object a line: {"text": …}, {"query": …, "document": …} or {"image": base64}, each with an
optional "at_s", the seconds at which it arrived. Requests are sent in the order of their arrival, as fast as the
server takes them: what is searched for is the most that it can do.
"""

import base64
import binascii
import io
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import BadInput

FEWEST_WORDS, MOST_WORDS = 3, 200
"""Lengths of made texts."""

_MEDIAN_WORDS, _SPREAD = 20, 0.9
_MADE_TEXTS = 512
_MADE_IMAGES = 24
_SMALLEST_SIDE, _LARGEST_SIDE, _MEDIAN_SIDE = 64, 1600, 480
_MARKS = "Ġ▁"


@dataclass(frozen=True)
class Traffic:
    """Requests of one row each, in their order."""

    requests: tuple[dict[str, bytes], ...]
    """The bytes of each input, by its name."""

    source: str
    """Where they come from, as the manifest tells it."""


def read_traffic(path: Path, inputs: Sequence[str]) -> Traffic:
    """
    Read recorded requests.

    Args:
        path: A file of JSON lines.

        inputs: The door's inputs: `text`, or `query` and `document`, or `image`.

    Returns:
        The requests, by their arrival.

    Raises:
        BadInput: If the file can't be read, or a line is broken; the message names line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"--traffic {path} can't be read as UTF-8: {reason}. Name another file, or leave it out for made traffic."
        ) from error
    arrived = [
        _read_line(line, inputs, f"Line {number} of {path}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not arrived:
        raise BadInput(f"--traffic {path} holds no request. It needs one JSON object a line.")
    arrived.sort(key=lambda pair: pair[0])
    return Traffic(
        tuple(request for _, request in arrived), f"recorded: {path.name}, {len(arrived)} requests"
    )


def make_traffic(inputs: Sequence[str], tokenizer_file: Path, seed: int) -> Traffic:
    """
    Make requests: texts of a log-normal number of words, or images of a log-normal size.

    Args:
        inputs: The door's inputs.

        tokenizer_file: The model's `tokenizer.json`, whose words are used; not read for images.

        seed: Of the lengths and words.

    Returns:
        The requests.
    """
    chooser = random.Random(seed)  # noqa: S311 - a reproducible load, no secret
    if "image" in inputs:
        images = tuple({"image": _make_image(chooser)} for _ in range(_MADE_IMAGES))
        return Traffic(images, f"made: {len(images)} images, log-normal sides, median {_MEDIAN_SIDE} pixels")
    words = _read_words(tokenizer_file)
    texts = tuple({name: _make_text(chooser, words) for name in inputs} for _ in range(_MADE_TEXTS))
    span = f"{FEWEST_WORDS} to {MOST_WORDS} words, median {_MEDIAN_WORDS}"
    return Traffic(texts, f"made: {len(texts)} requests, log-normal, {span}, seed {seed}")


def _read_line(line: str, inputs: Sequence[str], where: str) -> tuple[float, dict[str, bytes]]:
    """Read one request and when it arrived; 0 if it doesn't say."""
    try:
        content: Any = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where} is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise BadInput(f"{where} is no JSON object. It needs {_say_fields(inputs)}.")
    at_s = content.pop("at_s", 0)
    if isinstance(at_s, bool) or not isinstance(at_s, int | float) or not (math.isfinite(at_s) and at_s >= 0):
        raise BadInput(f"{where}: 'at_s' must be seconds from 0 on; got {at_s!r}.")
    for name in content:
        if name not in inputs:
            raise BadInput(f"{where}: '{name}' is no field of this model. It needs {_say_fields(inputs)}.")
    request = {}
    for name in inputs:
        value = content.get(name)
        if not isinstance(value, str) or not value:
            raise BadInput(f"{where}: '{name}' must be a text that isn't empty.")
        request[name] = _decode(value, name, where)
    return float(at_s), request


def _decode(value: str, name: str, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if name == "image" else value.encode()
    except binascii.Error as error:
        raise BadInput(f"{where}: 'image' is no base64: {error}.") from error
    except UnicodeEncodeError as error:
        raise BadInput(f"{where}: '{name}' is no valid Unicode: {error.reason}.") from error


def _say_fields(inputs: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in inputs)


def _read_words(tokenizer_file: Path) -> list[str]:
    """Read words from a tokenizer's vocabulary: what stands alone there, whatever the tokenizer's kind."""
    vocabulary = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
    pieces = [piece if isinstance(piece, str) else piece[0] for piece in vocabulary]
    words = [piece.lstrip(_MARKS) for piece in pieces]
    return sorted({word for word in words if word.isalpha()}) or ["word"]


def _make_text(chooser: random.Random, words: Sequence[str]) -> bytes:
    count = 0
    while not FEWEST_WORDS <= count <= MOST_WORDS:
        count = round(chooser.lognormvariate(math.log(_MEDIAN_WORDS), _SPREAD))
    return " ".join(chooser.choices(words, k=count)).encode()


def _make_image(chooser: random.Random) -> bytes:
    """Make a JPEG of coarse noise, which compresses about as a photograph does."""
    from PIL import Image  # noqa: PLC0415 - texts need none

    sides = [round(chooser.lognormvariate(math.log(_MEDIAN_SIDE), 0.5)) for _ in range(2)]
    width, height = (min(max(side, _SMALLEST_SIDE), _LARGEST_SIDE) for side in sides)
    small = (max(width // 8, 1), max(height // 8, 1))
    noise = Image.frombytes("RGB", small, chooser.randbytes(small[0] * small[1] * 3))
    file = io.BytesIO()
    noise.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()
