"""
One Triton request read and checked: tensors in, an admission out.

The inputs, their defaults and their meaning are those of Triton's vLLM backend (`src/utils/request.py` of
triton-inference-server/vllm_backend). What can't be answered is refused here, before it takes a place anywhere.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .answers import Wanted
from .choices import Choice
from .constraints import ConstraintCompiler
from .detokenizing import Vocabulary
from .engine import Request
from .parameters import Limits, Parameters, parse_parameters
from .service import Admission
from .values import InvalidParameter

SLOW_CHARACTERS = 50_000
"""A prompt longer than this is tokenized apart, so that it delays no other request: about 20 ms of work."""

STOP_PARAMETER = "stop_request"
"""The parameter that makes a request one to stop another: it is the other's id (its `id` in the V2 protocol)."""

Tensors = Callable[[str], npt.NDArray[Any] | None]
"""Gives an input tensor's array by name; None if the request doesn't have it."""


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Reads the requests of one model."""

    vocabulary: Vocabulary
    """The model's tokenizer."""

    constraints: ConstraintCompiler
    """Compiles `structured_outputs`."""

    limits: Limits
    """What the model allows."""

    eos_token_ids: tuple[int, ...]
    """Tokens with which the model ends an answer."""

    def read(self, tensors: Tensors, request_parameters: Callable[[], str]) -> Admission:
        """
        Read and check a request.

        Args:
            tensors: The request's inputs.

            request_parameters: Gives the request's own parameters as JSON; read if there are no
                `sampling_parameters`.

        Returns:
            The request, ready for the engine.

        Raises:
            InvalidParameter: If it can't be answered; names the input or the parameter.
        """
        if (image := tensors("image")) is not None and image.size:
            raise InvalidParameter("image", "can't be used: this model reads text only.")
        text = _read_text(tensors, "text_input")
        if text is None:
            raise InvalidParameter("text_input", "is missing: it is the prompt.")
        wanted = _read_wanted(tensors, text)
        asked = _read_text(tensors, "sampling_parameters")
        parameters = parse_parameters(request_parameters() if asked is None else asked, self.limits)
        prompt_ids = self.vocabulary.encode(text)
        parameters = self._fit(parameters, len(prompt_ids))
        return Admission(wanted, parameters.n, len(prompt_ids), self._builder(parameters, prompt_ids))

    def _fit(self, parameters: Parameters, prompt_tokens: int) -> Parameters:
        """Refuse a prompt that leaves no room for an answer; cut `max_tokens` to the room that there is."""
        if not prompt_tokens:
            raise InvalidParameter("text_input", "has no tokens; give at least one character.")
        room = self.limits.max_model_len
        longest = room - max(1, parameters.min_tokens)
        if prompt_tokens > longest:
            reason = (
                f" together with 'min_tokens' {parameters.min_tokens}" if parameters.min_tokens > 1 else ""
            )
            raise InvalidParameter(
                "text_input",
                f"has {prompt_tokens} tokens; the model reads at most {max(longest, 0)}{reason}"
                f" (its context holds {room}, the answer included).",
            )
        return replace(parameters, max_tokens=min(parameters.max_tokens, room - prompt_tokens))

    def _builder(self, parameters: Parameters, prompt_ids: list[int]) -> Callable[[int], Request]:
        """Compile the constraint now; make the request's choices once its id is known."""
        form = None if parameters.constraint is None else self.constraints.compile(parameters.constraint)

        def build(request_id: int) -> Request:
            choices = [
                Choice(
                    request_id,
                    index,
                    parameters,
                    prompt_ids,
                    vocabulary=self.vocabulary,
                    eos_token_ids=self.eos_token_ids,
                    constraint=None if form is None else form.fork(),
                )
                for index in range(parameters.n)
            ]
            return Request(request_id, prompt_ids, parameters, choices)

        return build


def read_stop(parameters: str) -> str | None:
    """
    Tell whether a request is no request for an answer but wants another one stopped.

    Callers may also cancel their calls, which not every Triton survives (24.10 does not).

    Args:
        parameters: The request's own parameters, JSON.

    Returns:
        The id of the other; None if it is a request as others are.
    """
    if STOP_PARAMETER not in parameters:
        return None
    name = json.loads(parameters).get(STOP_PARAMETER)
    return name if isinstance(name, str) and name else None


def is_slow(tensors: Tensors) -> bool:
    """
    Tell whether reading a request takes so long that others should not wait for it.

    Args:
        tensors: The request's inputs.

    Returns:
        True if it may have a constraint to compile or a very long text.
    """
    asked = tensors("sampling_parameters")
    if asked is not None and asked.size:
        raw = asked.reshape(-1)[0]
        if b"structured_outputs" in raw or b"guided_decoding" in raw:
            return True
    text = tensors("text_input")
    return text is not None and text.size > 0 and len(text.reshape(-1)[0]) > SLOW_CHARACTERS


def _read_text(tensors: Tensors, name: str) -> str | None:
    """Read a text input; None if the request doesn't have it."""
    array = tensors(name)
    if array is None or not array.size:
        return None
    raw: bytes = array.reshape(-1)[0]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidParameter(name, f"is not UTF-8: {error.reason} at byte {error.start}.") from error


def _read_flag(tensors: Tensors, name: str) -> bool | None:
    """Read a BOOL input; None if the request doesn't have it."""
    array = tensors(name)
    return None if array is None or not array.size else bool(np.reshape(array, -1)[0])


def _read_wanted(tensors: Tensors, prompt: str) -> Wanted:
    """Read what the caller wants to be told."""
    stream = bool(_read_flag(tensors, "stream"))
    excludes_input = _read_flag(tensors, "exclude_input_in_output")
    if stream and excludes_input is False:
        raise InvalidParameter(
            "exclude_input_in_output", "must be true or left out with 'stream': a stream has new text only."
        )
    return Wanted(
        stream=stream,
        prepend="" if stream or excludes_input else prompt,
        finish_reason=bool(_read_flag(tensors, "return_finish_reason")),
        cumulative_logprob=bool(_read_flag(tensors, "return_cumulative_logprob")),
        logprobs=bool(_read_flag(tensors, "return_logprobs")),
        num_input_tokens=bool(_read_flag(tensors, "return_num_input_tokens")),
        num_output_tokens=bool(_read_flag(tensors, "return_num_output_tokens")),
    )
