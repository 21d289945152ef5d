"""``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from facade.errors import InvalidInput
from facade.schemas import decode
from facade.schemas.generation import GenerationRequest, Refusal, check_fields, to_sampling

if TYPE_CHECKING:
    from facade.inference.catalogue import ModelCard
    from facade.inference.generation import Sampling

MAX_TOOLS = 128
"""Most tools of one request; OpenAI's bound."""

MORE_THAN_ANY_MODEL = 2**31 - 1
"""What `max_tokens` is where neither the caller nor the card says: the model's own length ends the answer."""


class Function(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``tools[].function``."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    """What the model calls it."""

    description: str | None = None
    """What it does."""

    parameters: dict[str, Any] | None = None
    """JSON schema of its arguments; none take no arguments."""

    strict: bool | None = None
    """Accepted; forced calls keep to the schema either way."""


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    """One tool."""

    type: Literal["function"]
    """OpenAI's word; its custom tools are not supported."""

    function: Function
    """What can be called."""


class FunctionName(msgspec.Struct):
    """``tool_choice.function``."""

    name: str
    """Which of the tools."""


class NamedChoice(msgspec.Struct):
    """``tool_choice`` that names one tool."""

    type: Literal["function"]
    """OpenAI's word; its allowed_tools and custom are not supported."""

    function: FunctionName
    """Which of the tools."""


class ChatRequest(GenerationRequest, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    """The conversation; see `facade.schemas.messages`."""

    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Most tokens of one answer; the newer name of ``max_tokens``."""

    logprobs: bool | None = None
    """Whether to report how likely each token was."""

    top_logprobs: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How many of the likeliest tokens to report at each place."""

    tools: list[dict[str, Any]] | None = None
    """What the model may call; each a `Tool`."""

    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    """Whether it may, or must, call them."""

    parallel_tool_calls: bool | None = None
    """Whether one answer may have several calls."""

    reasoning_effort: str | None = None
    """Handed to the chat template, which may know what to do with it."""

    # vLLM's...

    chat_template_kwargs: dict[str, Any] | None = None
    """Further variables for the chat template, such as ``enable_thinking``."""

    add_generation_prompt: bool | None = None
    """Whether the prompt ends where the assistant's answer begins; true if left out."""

    # Accepted and not used...

    metadata: Any = None
    """Not used."""

    moderation: Any = None
    """Not used."""

    prediction: Any = None
    """Not used: a hint that makes some answers faster."""

    prompt_cache_key: Any = None
    """Not used: prefixes are found by their content."""

    prompt_cache_options: Any = None
    """Not used."""

    prompt_cache_retention: Any = None
    """Not used."""

    safety_identifier: Any = None
    """Not used."""

    service_tier: Any = None
    """Not used: the key has a tier."""

    store: Any = None
    """Not used: nothing is stored but the cache."""

    # Refused...

    audio: Any = None
    """Refused."""

    chat_template: Any = None
    """Refused: the model's own is used."""

    function_call: Any = None
    """Refused; ``tool_choice`` took its place."""

    functions: Any = None
    """Refused; ``tools`` took its place."""

    modalities: Any = None
    """Refused, but for text."""

    verbosity: Any = None
    """Refused, but for medium, which is OpenAI's default."""

    web_search_options: Any = None
    """Refused."""


REFUSALS = {
    "audio": Refusal((), "answers are text"),
    "chat_template": Refusal((), "the model's own is used; render yours yourself and ask /v1/completions"),
    "function_call": Refusal(("none", "auto"), "send 'tool_choice'"),
    "functions": Refusal(([],), "send 'tools'"),
    "modalities": Refusal((["text"],), "answers are text"),
    "verbosity": Refusal(("medium",), "say in a message how long the answer should be"),
    "web_search_options": Refusal(
        (), "search yourself and send what you found, or offer it as one of 'tools'"
    ),
}

_DECODER = msgspec.json.Decoder(ChatRequest)


def read_chat(body: bytes) -> ChatRequest:
    """
    Read a body.

    Args:
        body: JSON.

    Returns:
        The request, checked as far as that needs neither the model nor the messages.

    Raises:
        InvalidInput: If there is anything wrong with it; names the field.
    """
    wanted = decode(_DECODER, body)
    check_fields(wanted, REFUSALS)
    if wanted.top_logprobs is not None and not wanted.logprobs:
        raise InvalidInput("'top_logprobs' is only for 'logprobs': true.", param="top_logprobs")
    if (
        wanted.max_tokens is not None
        and wanted.max_completion_tokens is not None
        and wanted.max_tokens != wanted.max_completion_tokens
    ):
        raise InvalidInput(
            "'max_tokens' and 'max_completion_tokens' are two names of one thing and differ; send one.",
            param="max_tokens",
        )
    if not wanted.tools and wanted.tool_choice not in (None, "none", "auto"):
        raise InvalidInput("'tool_choice' is only for requests with 'tools'.", param="tool_choice")
    return wanted


def read_tools(wanted: ChatRequest) -> dict[str, Function]:
    """
    Check a request's tools.

    Args:
        wanted: The request.

    Returns:
        What the model may call, by name; nothing where it may call nothing.

    Raises:
        InvalidInput: If one can't be read, or if the choice names another; names the field.
    """
    raw = wanted.tools or []
    if len(raw) > MAX_TOOLS:
        raise InvalidInput(f"'tools' has {len(raw)}; at most {MAX_TOOLS} are read.", param="tools")
    functions: dict[str, Function] = {}
    for index, item in enumerate(raw):
        try:
            function = msgspec.convert(item, Tool).function
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            param = f"tools[{index}]{path.rstrip('`')}"
            raise InvalidInput(f"'{param}': {reason}.", param=param) from None
        if function.name in functions:
            param = f"tools[{index}].function.name"
            raise InvalidInput(f"'{param}' is {function.name!r} again; names must differ.", param=param)
        functions[function.name] = function
    choice = wanted.tool_choice
    if isinstance(choice, NamedChoice) and choice.function.name not in functions:
        raise InvalidInput(
            f"'tool_choice' names {choice.function.name!r}; 'tools' has {', '.join(functions)}.",
            param="tool_choice",
        )
    return {} if choice == "none" else functions


def chat_sampling(
    wanted: ChatRequest, card: ModelCard, *, constraint: str | None, skip_special_tokens: bool
) -> Sampling:
    """
    Say how tokens are to be chosen.

    Args:
        wanted: The request.

        card: The model's.

        constraint: ``structured_outputs``, whatever it comes from.

        skip_special_tokens: Whether the answer comes without its special tokens.

    Returns:
        The sampling parameters; as many tokens as the model has room for where nobody says.

    Raises:
        InvalidInput: If one of them can't be used.
    """
    most = wanted.max_completion_tokens or wanted.max_tokens or card.default_sampling.get("max_tokens")
    return to_sampling(
        wanted,
        card,
        {
            "max_tokens": most or card.max_model_len or MORE_THAN_ANY_MODEL,
            "logprobs": (wanted.top_logprobs or 0) if wanted.logprobs else None,
            "structured_outputs": constraint,
            "skip_special_tokens": skip_special_tokens,
        },
    )
