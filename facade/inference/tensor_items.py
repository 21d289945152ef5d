"""
Requests in the V2 protocol's tensors that are one of our tasks' plain requests, as items; and answers back; pure.

Plain means: exactly the inputs of the task's contract, as BYTES of shape (batch, 1), and no output that isn't its.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facade.errors import InvalidInput
from facade.inference.contracts import CONTRACTS, COUNT_OUTPUT, pack_pair
from facade.inference.encode import check_number, encode_texts
from facade.triton.codec import split_elements
from facade.triton.interface import Outputs, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facade.inference.contracts import Answer
    from facade.inference.runner import Limits

INPUTS: Mapping[str, tuple[str, ...]] = {
    "embedding": ("text",),
    "text-classification": ("text",),
    "reranking": ("query", "document"),
    "image-classification": ("image",),
}
"""Names of a door's inputs, by task."""


def find_items(
    task: str, inputs: Sequence[Tensor], outputs: Sequence[str], limits: Limits
) -> list[bytes] | None:
    """
    Read a request as its task's items.

    Args:
        task: Of the model's card.

        inputs: All inputs.

        outputs: Names of the outputs wanted; none for all.

        limits: How many items, and how large.

    Returns:
        The items as the task's contract takes them; None if the request isn't a plain one.

    Raises:
        InvalidInput: If it is one, and an item can't be used.
    """
    names = INPUTS.get(task)
    by_name = {tensor.name: tensor for tensor in inputs}
    if names is None or by_name.keys() != set(names) or not set(outputs) <= set(CONTRACTS[task].outputs):
        return None
    rows = inputs[0].shape[0] if inputs[0].shape else 0
    if not rows or any(tensor.datatype != "BYTES" or tensor.shape != (rows, 1) for tensor in inputs):
        return None
    check_number(range(rows), limits=limits, param=names[0], kind="element")
    columns = [_read_column(by_name[name], rows, limits) for name in names]
    return [pack_pair(*pair) for pair in zip(*columns, strict=True)] if len(columns) > 1 else columns[0]


def to_outputs(task: str, answers: Sequence[Answer], outputs: Sequence[str]) -> Outputs:
    """
    Write answers as the outputs of the task's door.

    Args:
        task: Of the model's card.

        answers: One an item.

        outputs: Names of the outputs wanted; none for all.

    Returns:
        The outputs, in the order in which they were wanted.
    """
    contract, rows = CONTRACTS[task], len(answers)
    found = Outputs()
    for name in outputs or contract.outputs:
        if name == COUNT_OUTPUT:
            counts = np.array([answer.num_input_tokens for answer in answers], dtype="<u4")
            found[name] = Tensor(name, "UINT32", (rows, 1), counts.tobytes())
        else:
            values = b"".join(answer.values for answer in answers)
            found[name] = Tensor(name, "FP32", (rows, len(values) // (4 * rows)), values)
    return found


def _read_column(tensor: Tensor, rows: int, limits: Limits) -> list[bytes]:
    """Read one input's elements."""
    elements = list(split_elements(tensor.name, tensor.raw))
    if len(elements) != rows:
        raise InvalidInput(
            f"Input '{tensor.name}': its shape stands for {rows} elements; its bytes are {len(elements)}."
        )
    if tensor.name == "image":
        for index, element in enumerate(elements):
            if len(element) > limits.max_image_bytes:
                raise InvalidInput(
                    f"'image[{index}]' has {len(element)} bytes; one image may have {limits.max_image_bytes}."
                )
        return elements
    texts = []
    for index, element in enumerate(elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"'{tensor.name}[{index}]' isn't UTF-8: byte {error.start} is wrong; send text as UTF-8."
            ) from None
    return encode_texts(texts, limits=limits, param=tensor.name)
