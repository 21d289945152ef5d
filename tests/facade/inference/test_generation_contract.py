"""The vLLM backend's tensors, written and read, and what its complaints mean to a caller."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from facade.errors import BackendFailed, BackendUnavailable, FacadeError, InvalidInput
from facade.inference.generation import Piece, Sampling
from facade.inference.generation_contract import explain_failure, read_response, to_inputs
from facade.triton.interface import Tensor


def texts(*elements: str) -> bytes:
    """A BYTES tensor's elements."""
    encoded = [element.encode() for element in elements]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def counts(*elements: int) -> bytes:
    """A UINT32 tensor's elements."""
    return struct.pack(f"<{len(elements)}I", *elements)


def response(**changed: bytes) -> dict[str, bytes]:
    """One of Triton's responses."""
    whole = {
        "text_output": texts("größer", ""),
        "finish_reason": texts("None", "stop"),
        "num_input_tokens": counts(9),
        "num_output_tokens": counts(2, 0),
    }
    return whole | changed


def test_an_older_decoders_complaint_is_the_callers_fault_too() -> None:
    """It names the field, without a code in front; what only looks like it is a failure."""
    error = BackendFailed("The model server failed: 'text_input' has 90 tokens; the model reads at most 9.")
    found = explain_failure(error, param="messages")
    assert isinstance(found, InvalidInput)
    assert (found.param, found.code) == ("messages", "context_length_exceeded")

    error = BackendFailed("The model server failed: 'top_p' must be a number.")
    assert explain_failure(error, param="prompt").param == "top_p"
    error = BackendFailed("The model server failed: 'int' object has no attribute 'n'")
    assert explain_failure(error, param="prompt") is error


def test_a_prompt_becomes_the_contracts_inputs() -> None:
    """Always streamed, never with the prompt in front, and with the counts."""
    inputs = {
        tensor.name: tensor for tensor in to_inputs("ä".encode(), Sampling(temperature=0.0, logprobs=2))
    }

    assert inputs["text_input"] == Tensor("text_input", "BYTES", (1,), b"\x02\0\0\0" + "ä".encode())
    assert json.loads(inputs["sampling_parameters"].raw[4:]) == {"temperature": 0.0, "logprobs": 2}
    flags = {name for name, tensor in inputs.items() if tensor.datatype == "BOOL" and tensor.raw == b"\x01"}
    assert flags == {
        "stream",
        "exclude_input_in_output",
        "return_finish_reason",
        "return_num_input_tokens",
        "return_num_output_tokens",
        "return_logprobs",
    }


def test_a_response_is_what_each_answer_grew_by() -> None:
    """An answer that neither grew nor ended has no piece."""
    assert read_response(response()).pieces == [Piece(0, "größer", None, 2), Piece(1, "", "stop", 0)]
    quiet = response(finish_reason=texts("None", "None"))
    assert [piece.index for piece in read_response(quiet, first_index=4).pieces] == [4]
    assert read_response(quiet).prompt_tokens == 9


def test_logprobs_are_read_with_the_chosen_one_first() -> None:
    """The others are sorted by likelihood."""
    likely = {
        "5": {"logprob": -2.0, "rank": 3, "decoded_token": "a"},
        "6": {"logprob": -0.5, "decoded_token": "b"},
    }
    outputs = response(logprobs=texts(json.dumps([likely]), "null"))
    (logprob,) = read_response(outputs).pieces[0].logprobs

    assert (logprob.token_id, logprob.token, logprob.logprob) == (5, "a", -2.0)
    assert logprob.top == (("b", -0.5), ("a", -2.0))


@pytest.mark.parametrize(
    "changed",
    [
        {"finish_reason": texts("None")},
        {"num_output_tokens": counts(1)},
        {"num_input_tokens": counts()},
        {"text_output": b"\xff"},
        {"text_output": b"\x01\0\0\0\xff\0\0\0\0"},
        {"logprobs": texts("{", "null")},
        {"finish_reason": texts("None", "abort")},
    ],
)
def test_anything_else_is_the_models_failure(changed: dict[str, Any]) -> None:
    """A model that doesn't keep to the contract is no caller's fault."""
    with pytest.raises(BackendFailed):
        read_response(response(**changed))
    incomplete = response()
    del incomplete["finish_reason"]
    with pytest.raises(BackendFailed):
        read_response(incomplete)


TOO_LONG = (
    "The model server failed: Error generating stream: The decoder prompt (length 9) is longer than the maximum model "
    "length of 8. Make sure …"
)


@pytest.mark.parametrize(
    ("error", "param", "code"),
    [
        (
            InvalidInput("'text_input' has 9 tokens; the model reads at most 8"),
            "messages",
            "context_length_exceeded",
        ),
        (InvalidInput("'text_input' is not UTF-8"), "messages", None),
        (InvalidInput("'top_p' must be at most 1"), "top_p", None),
        (InvalidInput("something"), None, None),
        (BackendFailed(TOO_LONG), "messages", "context_length_exceeded"),
        (
            BackendFailed("… Error generating stream: 'NoneType' object has no attribute 'lora_name'"),
            None,
            None,
        ),
        (BackendFailed("The model server failed: LoRA feature is not enabled."), "lora_name", None),
        (BackendFailed("The model server failed: LoRA x is not supported, we …"), "lora_name", None),
        (
            BackendFailed("… Error generating stream: Failed to compile the grammar"),
            "structured_outputs",
            None,
        ),
    ],
)
def test_complaints_are_said_in_the_callers_terms(
    error: FacadeError, param: str | None, code: str | None
) -> None:
    """The caller's field, and a code that programs know."""
    found = explain_failure(error, param="messages")

    assert isinstance(found, InvalidInput)
    assert (found.param, found.code) == (param, code)
    assert "text_input" not in found.message


@pytest.mark.parametrize("error", [BackendFailed("stub crashed"), BackendUnavailable("away")])
def test_other_failures_stay_what_they_are(error: FacadeError) -> None:
    """They are no caller's fault."""
    assert explain_failure(error, param="prompt") is error
