"""``POST /v1/chat/completions``, as OpenAI's API reference describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from facade.errors import InvalidInput
from facade.inference.prompts import RESERVED, find_template, render_prompt
from facade.inference.tool_parser import ToolParser
from facade.inference.tools import ForcedParser, find_format, force_calls
from facade.routes.chat_answer import ChatAnswer, Voice
from facade.routes.direct import Documented, EventStream
from facade.routes.openai_generation import start_generation
from facade.schemas.chat import ChatRequest, NamedChoice, chat_sampling, read_chat, read_tools
from facade.schemas.generation import to_constraint, write_constraint
from facade.schemas.messages import read_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.generate import Generate
    from facade.inference.generation import Sampling
    from facade.inference.prompts import ChatTemplate
    from facade.routes.direct import Endpoint
    from facade.schemas.chat import Function


class _Plan(NamedTuple):
    """What a request comes to."""

    prompt: str
    """What the model reads."""

    sampling: Sampling
    """How it chooses tokens."""

    voice: Voice
    """How its text is to be read."""

    renamed: Mapping[str, str]
    """Sampling parameters under the names that the caller gave them."""


DOCUMENTED = Documented("/v1/chat/completions", "openai", ChatRequest, "Answer a conversation.")


def build_endpoint(generate: Generate, *, max_prompt_bytes: int) -> Endpoint:
    """
    Make the endpoint.

    Args:
        generate: The use case.

        max_prompt_bytes: Longest prompt that a conversation may become.

    Returns:
        What answers ``POST /v1/chat/completions``.
    """

    async def create_chat_completion(context: RequestContext, body: bytes) -> bytes | EventStream:
        wanted = read_chat(body)
        model = generate.find(wanted.model, context)
        plan = _make_plan(wanted, model, max_prompt_bytes)
        generation = await start_generation(
            generate,
            model.name,
            plan.prompt,
            plan.sampling,
            context,
            param="messages",
            renamed=plan.renamed,
        )
        answer = ChatAnswer(generation, plan.sampling, plan.voice)
        if wanted.stream:
            options = wanted.stream_options
            return EventStream(answer.frames(include_usage=bool(options and options.include_usage)))
        return await answer.whole()

    return create_chat_completion


def _make_plan(wanted: ChatRequest, model: ServedModel, max_prompt_bytes: int) -> _Plan:
    """Check all that can be checked before the model is asked."""
    card = model.card
    chat = find_template(card, model.name)
    messages = read_messages(wanted.messages)
    functions = read_tools(wanted)
    if functions and "tools" not in chat.names:
        raise InvalidInput(
            f"The chat template of the model {model.name!r} knows no tools; send none.", param="tools"
        )
    constraint, source = _find_constraint(wanted, functions)
    voice = _find_voice(wanted, chat, functions)
    sampling = chat_sampling(
        wanted,
        card,
        constraint=constraint,
        skip_special_tokens=voice.call_format.skip_special_tokens or not functions,
    )
    prompt = render_prompt(
        chat,
        card,
        messages,
        tools=(wanted.tools or ()) if functions else (),
        variables=_read_variables(wanted),
        add_generation_prompt=wanted.add_generation_prompt is not False,
        max_bytes=max_prompt_bytes,
    )
    renamed = {"logprobs": "top_logprobs", "structured_outputs": source}
    if wanted.max_completion_tokens is not None:
        renamed["max_tokens"] = "max_completion_tokens"
    return _Plan(prompt, sampling, voice, renamed)


def _find_constraint(wanted: ChatRequest, functions: Mapping[str, Function]) -> tuple[str | None, str]:
    """Give the form that the answer must have, and the field that asks for it."""
    constraint = to_constraint(wanted)
    source = "response_format" if wanted.structured_outputs is None else "structured_outputs"
    if not functions:
        return constraint, source
    if constraint is not None:
        raise InvalidInput(
            f"'{source}' leaves no room for calls; send it without 'tools', or with 'tool_choice': \"none\".",
            param=source,
        )
    if wanted.tool_choice in (None, "auto"):
        return None, source
    schemas = {name: function.parameters for name, function in functions.items()}
    single = wanted.parallel_tool_calls is False
    try:
        schema = force_calls(schemas, _named(wanted), single=single)
    except RecursionError:
        raise InvalidInput("'tools' has parameters that are nested too deeply.", param="tools") from None
    return write_constraint({"json": schema}, "tools"), "tools"


def _find_voice(wanted: ChatRequest, chat: ChatTemplate, functions: Mapping[str, Function]) -> Voice:
    """Say how the answer's text is to be read."""
    call_format = find_format(chat.source)
    single = wanted.parallel_tool_calls is False
    if not functions:
        return Voice(lambda: None, call_format, single)
    names = frozenset(functions)
    if wanted.tool_choice in (None, "auto"):
        return Voice(lambda: ToolParser(call_format, names), call_format, single)
    name = _named(wanted)
    return Voice(lambda: ForcedParser(names, name), call_format, single)


def _named(wanted: ChatRequest) -> str | None:
    """Give the tool that must be called, where that is one."""
    return wanted.tool_choice.function.name if isinstance(wanted.tool_choice, NamedChoice) else None


def _read_variables(wanted: ChatRequest) -> dict[str, Any]:
    """Gather what the caller gives the template beside the conversation."""
    variables = dict(wanted.chat_template_kwargs or {})
    for name in variables:
        if name in RESERVED:
            param = f"chat_template_kwargs.{name}"
            raise InvalidInput(f"'{param}' has a name that the template's own variables have.", param=param)
    if wanted.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", wanted.reasoning_effort)
    return variables
