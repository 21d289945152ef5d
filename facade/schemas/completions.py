"""``POST /v1/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from facade.errors import InvalidInput
from facade.schemas import decode
from facade.schemas.generation import GenerationRequest, Refusal, check_fields, to_constraint, to_sampling

if TYPE_CHECKING:
    from facade.inference.catalogue import ModelCard
    from facade.inference.generation import Sampling

MAX_CHOICES = 128
"""Most answers to all prompts of one request together; each takes a place in the model's queue."""


class CompletionsRequest(GenerationRequest, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/completions``."""

    prompt: str | list[Any]
    """One text or several. Token ids are not taken: the tokenizer lives in Triton."""

    logprobs: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How many of the likeliest tokens to report at each place."""

    echo: bool | None = None
    """Whether the answer begins with its prompt."""

    suffix: Any = None
    """Refused."""

    best_of: Any = None
    """Refused, but for 1."""


REFUSALS = {
    "suffix": Refusal(("",), "write the model's own fill-in-the-middle tokens into the prompt"),
    "best_of": Refusal((1,), "ask for 'n' answers with 'logprobs' and choose one"),
}

_DECODER = msgspec.json.Decoder(CompletionsRequest)


def read_completions(body: bytes) -> CompletionsRequest:
    """
    Read a body.

    Args:
        body: JSON.

    Returns:
        The request, checked as far as that needs no model.

    Raises:
        InvalidInput: If there is anything wrong with it; names the field.
    """
    wanted = decode(_DECODER, body)
    check_fields(wanted, REFUSALS)
    if wanted.echo and wanted.logprobs is not None:
        raise InvalidInput(
            "'echo' with 'logprobs' asks for the prompt's log probabilities, which are not kept; send one of them.",
            param="echo",
        )
    return wanted


def list_prompts(wanted: CompletionsRequest) -> list[str]:
    """
    List a request's prompts.

    Args:
        wanted: The request.

    Returns:
        The texts.

    Raises:
        InvalidInput: If there is none, if they are token ids, or if they want too many answers.
    """
    if isinstance(wanted.prompt, str):
        return [wanted.prompt]
    for index, prompt in enumerate(wanted.prompt):
        if not isinstance(prompt, str):
            raise InvalidInput(
                f"'prompt[{index}]' is no text. Token ids are not taken: send the text, the model's own tokenizer "
                "reads it.",
                param=f"prompt[{index}]",
            )
    if not wanted.prompt:
        raise InvalidInput("'prompt' must not be empty; send at least one text.", param="prompt")
    if len(wanted.prompt) * (wanted.n or 1) > MAX_CHOICES:
        raise InvalidInput(
            f"'prompt' has {len(wanted.prompt)} texts with {wanted.n or 1} answers each; one request may ask for "
            f"{MAX_CHOICES} answers.",
            param="prompt",
        )
    return wanted.prompt


def completions_sampling(wanted: CompletionsRequest, card: ModelCard) -> Sampling:
    """
    Say how tokens are to be chosen.

    Args:
        wanted: The request.

        card: The model's.

    Returns:
        The sampling parameters; 16 tokens where nobody says, as in OpenAI's API.

    Raises:
        InvalidInput: If one of them can't be used.
    """
    return to_sampling(
        wanted, card, {"logprobs": wanted.logprobs, "structured_outputs": to_constraint(wanted)}
    )
