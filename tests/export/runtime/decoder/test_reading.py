"""Requests in the vLLM backend's tensors: defaults, refusals, and what fits the context."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.runtime.decoder.answers import Wanted
from export.runtime.decoder.constraints import ConstraintCompiler
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.parameters import Limits, Parameters
from export.runtime.decoder.reading import SLOW_CHARACTERS, RequestReader, is_slow
from export.runtime.decoder.service import Admission
from export.runtime.decoder.values import InvalidParameter
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level, save_metaspace

CONTEXT = 40


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> RequestReader:
    """A reader of a model whose context is 40 tokens."""
    path = save_byte_level(tmp_path_factory.mktemp("tokenizer"))
    return RequestReader(
        Vocabulary(path, 0), ConstraintCompiler(path, 400, [1]), Limits(400, CONTEXT, 4, 5), (1,)
    )


def tensors_of(**inputs: Any) -> dict[str, np.ndarray]:
    """Turn values into arrays as Triton hands them over; a dict becomes JSON."""
    arrays = {}
    for name, value in inputs.items():
        if isinstance(value, bool):
            arrays[name] = np.array([value])
            continue
        text = json.dumps(value) if isinstance(value, dict) else value
        arrays[name] = np.array([text.encode() if isinstance(text, str) else text], dtype=np.object_)
    return arrays


def read(reader: RequestReader, request_parameters: str = "{}", **inputs: Any) -> Admission:
    """Read a request."""
    return reader.read(tensors_of(**inputs).get, lambda: request_parameters)


def parameters_of(admission: Admission) -> Parameters:
    """Look at the parameters that a request ends up with."""
    return admission.build(1).parameters


def test_a_bare_prompt_has_the_backend_s_defaults(reader: RequestReader) -> None:
    """The whole answer after its prompt, 16 tokens, temperature 1, nothing told besides."""
    admission = read(reader, text_input="the cat")
    assert admission.wanted == Wanted(stream=False, prepend="the cat")
    request = admission.build(7)
    assert request.parameters == Parameters()
    assert request.id == 7
    assert admission.num_input_tokens == len(request.prompt_ids)
    assert [choice.index for choice in request.choices] == [0]


def test_inputs_say_what_is_told(reader: RequestReader) -> None:
    """Each flag is read; a stream has no prompt in it, nor has an answer without its input."""
    told = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
    flags = dict.fromkeys((f"return_{name}" for name in told), True)
    everything = Wanted(True, "", True, True, True, True, True)  # noqa: FBT003 - all of its flags
    assert read(reader, text_input="a", stream=True, **flags).wanted == everything
    assert read(reader, text_input="a", stream=True, exclude_input_in_output=True).wanted.prepend == ""
    assert read(reader, text_input="a", exclude_input_in_output=True).wanted.prepend == ""
    assert read(reader, text_input="a", exclude_input_in_output=False).wanted.prepend == "a"


def test_the_request_s_own_parameters_count_where_there_is_no_tensor(reader: RequestReader) -> None:
    """Request parameters are read if `sampling_parameters` are absent, and only then."""
    assert parameters_of(read(reader, '{"max_tokens": 3}', text_input="a")).max_tokens == 3
    both = read(reader, '{"max_tokens": 3}', text_input="a", sampling_parameters={"max_tokens": 4})
    assert parameters_of(both).max_tokens == 4


def test_max_tokens_is_cut_to_the_context(reader: RequestReader) -> None:
    """A prompt and its answer never need more than the context; a prompt may fill all of it but one token."""
    admission = read(reader, text_input="a" * 9, sampling_parameters={"max_tokens": 1000})
    assert admission.num_input_tokens == 10
    assert parameters_of(admission).max_tokens == CONTEXT - 10
    longest = read(reader, text_input="a" * (CONTEXT - 2))
    assert parameters_of(longest).max_tokens == 1


def test_a_prompt_too_long_is_refused_with_both_numbers(reader: RequestReader) -> None:
    """The refusal says how many tokens there are and how many are read, `min_tokens` considered."""
    with pytest.raises(InvalidParameter, match=r"^'text_input' has 40 tokens; the model reads at most 39 \("):
        read(reader, text_input="a" * (CONTEXT - 1))
    with pytest.raises(InvalidParameter, match=r"^'text_input' has 31 tokens; the model reads at most 30 to"):
        read(reader, text_input="a" * 30, sampling_parameters={"min_tokens": 10})
    with pytest.raises(InvalidParameter, match=r"^'text_input' has 2 tokens; the model reads at most 0 "):
        read(reader, text_input="a", sampling_parameters={"min_tokens": 99, "max_tokens": 99})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'text_input' is missing"),
        ({"text_input": b"\xff"}, "'text_input' is not UTF-8: invalid start byte at byte 0"),
        ({"text_input": "a", "image": "aGk="}, "'image' can't be used: this model reads text only"),
        ({"text_input": "a", "sampling_parameters": {"top_p": 7}}, "'top_p' must be a number above 0"),
        ({"text_input": "a", "sampling_parameters": b"\xff"}, "'sampling_parameters' is not UTF-8"),
        (
            {"text_input": "a", "stream": True, "exclude_input_in_output": False},
            "'exclude_input_in_output' must",
        ),
        (
            {"text_input": "a", "sampling_parameters": {"structured_outputs": {"regex": "["}}},
            "'structured_outputs' has an unusable regex: ",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(
    reader: RequestReader, inputs: dict[str, Any], message: str
) -> None:
    """A missing, broken or contradictory input is refused by its name."""
    with pytest.raises(InvalidParameter) as caught:
        read(reader, **inputs)
    assert str(caught.value).startswith(message)


def test_a_prompt_without_tokens_is_refused(tmp_path: Path) -> None:
    """A model can't go on from nothing."""
    path = save_metaspace(tmp_path)
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"post_processor": None}))
    reader = RequestReader(Vocabulary(path), ConstraintCompiler(path, 300, [2]), Limits(300, 40, 1, 0), (2,))
    with pytest.raises(InvalidParameter, match=r"^'text_input' has no tokens"):
        read(reader, text_input="")


def test_every_answer_has_a_constraint_of_its_own(reader: RequestReader) -> None:
    """The answers to one prompt don't move each other's form."""
    asked = {"n": 2, "structured_outputs": {"choice": ["a", "b"]}}
    choices = read(reader, text_input="a", sampling_parameters=asked).build(1).choices
    assert len({id(choice.constraint) for choice in choices}) == 2
    assert all(choice.constraint is not None for choice in choices)


def test_what_takes_long_to_read_is_known_beforehand() -> None:
    """A constraint or a very long prompt is slow; anything else is not."""
    assert not is_slow(tensors_of(text_input="a", sampling_parameters={"n": 2}).get)
    assert not is_slow(tensors_of().get)
    assert is_slow(tensors_of(text_input="a" * (SLOW_CHARACTERS + 1)).get)
    for name in ("structured_outputs", "guided_decoding"):
        assert is_slow(tensors_of(text_input="a", sampling_parameters={name: {"regex": "a"}}).get)
