"""
One tensor's ``data`` in JSON to and from the bytes that travel to Triton; pure.

Numbers become NumPy arrays in C, not one by one: `msgspec` checks kind and range while it reads, so what is wrong is
refused and never wrapped round or cut off. What JSON can't hold (FP16, BF16, NaN, bytes that aren't UTF-8) has to
travel as binary data; it is refused in both directions, as Triton refuses the first two.

Source:
    https://github.com/kserve/open-inference-protocol, "Tensor Data": "In JSON representation the tensor data must be
    flattened to one-dimension array or nested arrays in row-major order".
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np
import orjson

from facade.errors import InvalidInput
from facade.triton.codec import split_elements, to_bytes_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facade.triton.interface import Tensor

SIZES: Mapping[str, int | None] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": None,
}
"""Bytes of one element by the protocol's datatype; None where each has its own length."""

MAX_RANK = 32
"""Most dimensions of a tensor, which is more than any framework computes with."""

MAX_ELEMENTS = 2**63 - 1
"""Triton counts elements in an int64."""


class _Kind(NamedTuple):
    """How a datatype's numbers are read."""

    decoder: msgspec.json.Decoder[list[Any]]
    dtype: str


def _integers(low: int, high: int | None) -> msgspec.json.Decoder[list[Any]]:
    return msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=low, le=high)]])


_KINDS: Mapping[str, _Kind] = {
    "BOOL": _Kind(msgspec.json.Decoder(list[bool]), "?"),
    "UINT8": _Kind(_integers(0, 2**8 - 1), "<u1"),
    "UINT16": _Kind(_integers(0, 2**16 - 1), "<u2"),
    "UINT32": _Kind(_integers(0, 2**32 - 1), "<u4"),
    # msgspec's bounds end at int64's; NumPy refuses what is above this one.
    "UINT64": _Kind(_integers(0, None), "<u8"),
    "INT8": _Kind(_integers(-(2**7), 2**7 - 1), "<i1"),
    "INT16": _Kind(_integers(-(2**15), 2**15 - 1), "<i2"),
    "INT32": _Kind(_integers(-(2**31), 2**31 - 1), "<i4"),
    "INT64": _Kind(_integers(-(2**63), 2**63 - 1), "<i8"),
    "FP32": _Kind(msgspec.json.Decoder(list[float]), "<f4"),
    "FP64": _Kind(msgspec.json.Decoder(list[float]), "<f8"),
}

_TEXTS = msgspec.json.Decoder(list[str])
_ANYTHING = msgspec.json.Decoder(list[Any])


def count_elements(name: str, datatype: str, shape: Sequence[int]) -> int:
    """
    Check what an input says of itself.

    Args:
        name: The input's.

        datatype: As the caller wrote it.

        shape: As the caller wrote it.

    Returns:
        How many elements there must be.

    Raises:
        InvalidInput: If there is no such datatype, or no such shape.
    """
    if datatype not in SIZES:
        raise InvalidInput(
            f"Input '{name}': there is no datatype {datatype!r}; there are {', '.join(SIZES)}."
        )
    if len(shape) > MAX_RANK:
        raise InvalidInput(
            f"Input '{name}': 'shape' has {len(shape)} dimensions; at most {MAX_RANK} make sense."
        )
    if shape and min(shape) < 0:
        raise InvalidInput(
            f"Input '{name}': 'shape' has a negative length ({min(shape)}); send the true one."
        )
    count = math.prod(shape)
    if count * (SIZES[datatype] or 1) > MAX_ELEMENTS or (shape and max(shape) > MAX_ELEMENTS):
        raise InvalidInput(f"Input '{name}': 'shape' stands for more elements than a tensor can have.")
    return count


def check_binary_size(name: str, datatype: str, count: int, size_bytes: int) -> None:
    """
    Compare the length of binary data with the shape.

    Args:
        name: The input's.

        datatype: One of `SIZES`.

        count: Elements by its shape.

        size_bytes: Its ``binary_data_size``.

    Raises:
        InvalidInput: If they don't match.
    """
    size = SIZES[datatype]
    if size is None:
        # Each element has at least its own length; Triton checks each of them.
        if size_bytes < 4 * count or (count == 0 and size_bytes):
            raise InvalidInput(
                f"Input '{name}': {count} elements of BYTES, each behind its length in four bytes, don't fit into "
                f"'binary_data_size' {size_bytes}."
            )
    elif size_bytes != size * count:
        raise InvalidInput(
            f"Input '{name}': its shape stands for {count} elements of {datatype}, {size * count} bytes; "
            f"'binary_data_size' is {size_bytes}."
        )


def from_json(name: str, datatype: str, count: int, data: bytes) -> bytes:
    """
    Read an input's ``data``.

    Args:
        name: The input's.

        datatype: One of `SIZES`.

        count: Elements by its shape.

        data: JSON: a list of elements, or lists of them in row-major order.

    Returns:
        The elements as in `Tensor.raw`.

    Raises:
        InvalidInput: If these aren't so many elements of this datatype.
    """
    if not data.lstrip().startswith(b"["):
        raise InvalidInput(f"Input '{name}': 'data' must be a list.")
    if datatype == "BYTES":
        texts = _read_texts(name, data)
        _check_count(name, count, len(texts))
        return to_bytes_tensor(name, texts).raw
    kind = _KINDS.get(datatype)
    if kind is None:
        raise InvalidInput(f"Input '{name}': JSON can't hold {datatype}; send it as binary data.")
    try:
        # Lists within lists are told from one another by nothing but brackets: without them all is one list.
        values = kind.decoder.decode(b"[" + data.translate(None, b"[]") + b"]")
    except msgspec.DecodeError as error:  # a ValidationError is one too
        raise InvalidInput(f"Input '{name}': 'data' isn't all {datatype}: {_explain(error)}.") from None
    _check_count(name, count, len(values))
    return _to_array(name, datatype, kind, values).tobytes()


def to_json(tensor: Tensor) -> orjson.Fragment:
    """
    Write an output's ``data``.

    Args:
        tensor: The output.

    Returns:
        JSON: one flat list, as Triton writes it.

    Raises:
        InvalidInput: If JSON can't hold it.
    """
    if tensor.datatype == "BYTES":
        elements = list(split_elements(tensor.name, tensor.raw))
        try:
            return orjson.Fragment(orjson.dumps([element.decode() for element in elements]))
        except UnicodeDecodeError:
            raise _only_binary(tensor.name, "bytes that aren't UTF-8") from None
    kind = _KINDS.get(tensor.datatype)
    if kind is None:
        raise _only_binary(tensor.name, tensor.datatype)
    array = np.frombuffer(tensor.raw, dtype=kind.dtype)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _only_binary(tensor.name, "NaN or infinity")
    return orjson.Fragment(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))


def _read_texts(name: str, data: bytes) -> list[bytes]:
    try:
        return [text.encode() for text in _TEXTS.decode(data)]
    except msgspec.DecodeError:
        pass
    except UnicodeDecodeError:  # whoever read the whole body left this part unread
        raise _not_utf8(name) from None
    try:
        values = _ANYTHING.decode(data)
    except UnicodeDecodeError:
        raise _not_utf8(name) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"Input '{name}': 'data' isn't JSON: {error}.") from None
    for _ in range(MAX_RANK):
        if not any(isinstance(value, list) for value in values):
            break
        values = list(chain.from_iterable(value if isinstance(value, list) else (value,) for value in values))
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise InvalidInput(f"Input '{name}': 'data' isn't all BYTES: element {index} is no text.")
    return [value.encode() for value in values]


def _not_utf8(name: str) -> InvalidInput:
    return InvalidInput(f"Input '{name}': 'data' isn't valid UTF-8; send bytes as binary data.")


def _to_array(name: str, datatype: str, kind: _Kind, values: list[Any]) -> np.ndarray[Any, Any]:
    try:
        if datatype != "FP32":
            array = np.array(values, dtype=kind.dtype)
        else:
            with np.errstate(over="ignore"):
                array = np.array(values, dtype="<f8").astype("<f4")
    except OverflowError:
        raise InvalidInput(f"Input '{name}': 'data' has a number that is too large for {datatype}.") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"Input '{name}': 'data' has a number that is too large for {datatype}.")
    return array


def _check_count(name: str, count: int, found: int) -> None:
    if found != count:
        raise InvalidInput(f"Input '{name}': its shape stands for {count} elements; 'data' has {found}.")


def _explain(error: msgspec.DecodeError) -> str:
    """Say where a list's element is wrong, in the caller's words and not in msgspec's."""
    reason, _, path = str(error).partition(" - at `$[")
    return f"element {path.rstrip('`').rstrip(']')}: {reason}" if path else reason


def _only_binary(name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"Output '{name}': JSON can't hold {what}; ask for it as binary data ('binary_data': true)."
    )
