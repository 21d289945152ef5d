"""
The tensor contract of the task text-generation, which is that of Triton's vLLM backend; pure.

Always with ``stream``: a decoupled model can't be asked any other way, a caller who leaves stops the model at once, and
the first piece is here as early as it can be. So the prompt never comes back, and each response has what is new.

Source:
    https://github.com/triton-inference-server/vllm_backend, src/model.py and src/utils/request.py
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from facade.errors import BackendFailed, FacadeError, InvalidInput
from facade.inference.generation import Piece, Sampling, TokenLogprob
from facade.triton.interface import GENERATION_INPUTS, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH = struct.Struct("<I")


def _flag(name: str) -> Tensor:
    return Tensor(name, "BOOL", (1,), b"\x01")


_FLAGS = [
    _flag("stream"),
    _flag("exclude_input_in_output"),
    _flag("return_finish_reason"),
    _flag("return_num_input_tokens"),
    _flag("return_num_output_tokens"),
]


class _Logprob(msgspec.Struct):
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


_LOGPROBS = msgspec.json.Decoder(list[dict[str, _Logprob]] | None)


class Response(NamedTuple):
    """What one of Triton's responses brought."""

    prompt_tokens: int
    """Tokens of the prompt."""

    pieces: list[Piece]
    """What the answers grew by; one an answer that grew or ended."""


def to_inputs(prompt: bytes, sampling: Sampling) -> list[Tensor]:
    """
    Write a generation's inputs.

    Args:
        prompt: UTF-8.

        sampling: How to choose tokens.

    Returns:
        The tensors.
    """
    wanted = _text("sampling_parameters", msgspec.json.encode(sampling))
    inputs = [_text("text_input", prompt), wanted, *_FLAGS]
    if sampling.logprobs is not None:
        inputs.append(_flag("return_logprobs"))
    return inputs


def _text(name: str, text: bytes) -> Tensor:
    return Tensor(name, "BYTES", (1,), _LENGTH.pack(len(text)) + text)


def read_response(outputs: Mapping[str, bytes], *, first_index: int = 0) -> Response:
    """
    Read one of Triton's responses.

    Args:
        outputs: The elements of its tensors, by their names.

        first_index: Which of the answers the response's first element belongs to.

    Returns:
        What is new.

    Raises:
        BackendFailed: If the tensors aren't those of the contract, or if the model was told to stop by somebody else.
    """
    try:
        texts = _read_texts(outputs["text_output"])
        reasons = _read_texts(outputs["finish_reason"])
        (prompt_tokens,) = _LENGTH.unpack(outputs["num_input_tokens"])
        counts = struct.unpack(f"<{len(texts)}I", outputs["num_output_tokens"])
        logprobs = _read_texts(outputs["logprobs"]) if "logprobs" in outputs else ["null"] * len(texts)
        pieces = []
        for index, (text, reason, count, likely) in enumerate(
            zip(texts, reasons, counts, logprobs, strict=True), first_index
        ):
            if text or count or reason != "None":
                found = _read_logprobs(likely) if likely != "null" else ()
                pieces.append(Piece(index, text, None if reason == "None" else reason, count, found))
    except (KeyError, ValueError, struct.error, msgspec.MsgspecError) as error:
        raise BackendFailed("The model does not keep to text-generation's tensor contract.") from error
    if any(piece.finish_reason == "abort" for piece in pieces):
        raise BackendFailed("The model broke the answer off.")
    return Response(prompt_tokens, pieces)


def _read_texts(raw: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += 4 + length
        texts.append(str(raw[at - length : at], "utf-8"))
    return texts


def _read_logprobs(text: str) -> tuple[TokenLogprob, ...]:
    """Read what was likely at each token's place, by token id, the chosen one first: vLLM's JSON."""
    return tuple(_to_logprob(likely) for likely in _LOGPROBS.decode(text) or ())


def _to_logprob(likely: Mapping[str, _Logprob]) -> TokenLogprob:
    token_id, chosen = next(iter(likely.items()))
    top = sorted(likely.values(), key=lambda entry: -entry.logprob)
    return TokenLogprob(
        int(token_id),
        chosen.decoded_token or "",
        chosen.logprob,
        tuple((entry.decoded_token or "", entry.logprob) for entry in top),
    )


_FIELD = re.compile(r"'(?P<field>[a-z_]+)'")
"""Our decoder names the field first."""

_DECODERS_FIELDS = GENERATION_INPUTS.union(Sampling.__struct_fields__, {"image"})
"""What it can complain of."""

_TOO_LONG = re.compile(
    r"longer than the maximum model length|maximum context length|tokens; the model reads at most"
)
"""How vLLM and our decoder say that a prompt doesn't fit."""

_NO_SAMPLING = "'NoneType' object has no attribute 'lora_name'"
"""What vLLM's backend says of sampling parameters that it can't use; the reason is in Triton's log."""

_LORA = re.compile(r"LoRA .*not (enabled|supported)")

_GRAMMAR = re.compile(r"grammar|json schema|structured output|regex", re.IGNORECASE)


def explain_failure(error: FacadeError, *, param: str) -> FacadeError:
    """
    Say a model's complaint in the caller's own terms.

    Args:
        error: What a stream raised.

        param: The request's field that holds the prompt.

    Returns:
        The same error, or a better one.
    """
    if isinstance(error, InvalidInput) and error.param is None:
        return _name_field(error.message, param)
    if not isinstance(error, BackendFailed):
        return error
    # Versions exported before errors had their code in front are served and rolled back to all the same.
    unmarked = error.message.removeprefix("The model server failed: ")
    field = _FIELD.match(unmarked)
    if field is not None and field["field"] in _DECODERS_FIELDS:
        return _name_field(unmarked, param)
    # vLLM's backend gives everything the status INTERNAL.
    _, is_of_vllm, reason = error.message.partition("Error generating stream: ")
    found: FacadeError = error
    if _TOO_LONG.search(error.message):
        text = f"'{param}' is too long: {reason or error.message}"
        found = InvalidInput(text, param=param, code="context_length_exceeded")
    elif _LORA.search(error.message):
        found = InvalidInput(error.message.rpartition("failed: ")[2], param="lora_name")
    elif _NO_SAMPLING in reason:
        found = InvalidInput("The model can't use one of the sampling parameters; its log says which.")
    elif is_of_vllm and _GRAMMAR.search(reason):
        text = f"'structured_outputs' can't be used: {reason}"
        found = InvalidInput(text, param="structured_outputs")
    return found


def _name_field(message: str, param: str) -> InvalidInput:
    found = _FIELD.match(message)
    if found is None:
        return InvalidInput(message)
    field, rest = found["field"], message[found.end() :]
    if field != "text_input":
        return InvalidInput(message, param=field)
    code = "context_length_exceeded" if _TOO_LONG.search(message) else None
    return InvalidInput(f"'{param}'{rest}", param=param, code=code)
