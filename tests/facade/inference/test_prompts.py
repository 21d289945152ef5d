"""Conversations become the prompts that transformers would make of them, and templates can do no harm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from facade.errors import InvalidInput
from facade.inference import prompts
from facade.inference.catalogue import ModelCard
from facade.inference.prompts import find_template, render_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = """\
{%- if tools %}{{ "<|im_start|>system\\n# Tools" }}{% for tool in tools %}{{ "\\n" }}{{ tool | tojson }}{% endfor %}
{{- "<|im_end|>\\n" }}{% endif %}
{% for message in messages %}
    {% if loop.index0 > 3 %}{% break %}{% endif %}
    {{- "<|im_start|>" + message["role"] + "\\n" + message["content"] | trim + "<|im_end|>\\n" }}
{% endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""

LLAMA_3 = """\
{{- bos_token }}
{%- if messages[0]["role"] == "system" %}{% set first = messages[0]["content"] %}{% set messages = messages[1:] %}
{%- else %}{% set first = "" %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + strftime_now("%Y") + "\\n" + first + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception("one call at once") }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}{{ "}" }}
    {%- else %}
        {{- "<|start_header_id|>" + message.role + "<|end_header_id|>\\n\\n" + message.content + "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}"""

MISTRAL_LIKE = """\
{{ bos_token }}{% for message in messages %}
{% if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
{{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
{% endif %}
{% if message["role"] == "user" %}{{ " [INST] " ~ message["content"] ~ " [/INST]" }}
{% else %}{% generation %}{{ message["content"] + eos_token }}{% endgeneration %}{% endif %}
{% endfor %}"""

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Grüße <b>&amp;</b> 'quotes' {{ 1 }}\n"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": " b "},
        {"role": "user", "content": ""},
    ],
]

TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "<ü>", "parameters": {"type": "object"}}}
]


def render(template: str, messages: Sequence[Any] = CONVERSATIONS[0], **options: Any) -> str:
    """Render with a model's card."""
    card = ModelCard(
        task="text-generation",
        chat_template=template,
        special_tokens=TOKENS,
        adds_bos=options.pop("adds_bos", False),
    )
    options = {"max_bytes": 100_000, **options}
    return render_prompt(find_template(card, "chat"), card, messages, **options)


def render_with_transformers(template: str, messages: Sequence[Any], tools: Any) -> str:
    """Render as a tokenizer's ``apply_chat_template`` does."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    (rendered,), _ = utils.render_jinja_template(
        [messages], chat_template=template, tools=tools, add_generation_prompt=True, **TOKENS
    )
    return str(rendered)


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, MISTRAL_LIKE])
@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_prompts_are_transformers_own(template: str, messages: Any, tools: Any) -> None:
    """To the letter: blocks trimmed, JSON as it is, tags for training ignored."""
    expected = render_with_transformers(template, messages, tools)

    assert render(template, messages, tools=tools or ()) == expected


def test_calls_are_written_as_transformers_writes_them() -> None:
    """Arguments are objects, which the template makes JSON of."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"city": "Zürich"}}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]

    found = render(LLAMA_3, messages)
    assert found == render_with_transformers(LLAMA_3, messages, None)
    assert found.endswith('{"name": "f", "parameters": {"city": "Zürich"}}')


def test_there_is_one_bos() -> None:
    """The template's goes where the tokenizer adds its own, once and only at the start."""
    assert render(MISTRAL_LIKE).startswith("<s> [INST]")
    assert render(MISTRAL_LIKE, adds_bos=True).startswith(" [INST]")
    assert render("{{ bos_token }}{{ bos_token }}x", adds_bos=True) == "<s>x"
    assert render("x{{ bos_token }}", adds_bos=True) == "x<s>"


def test_developers_are_the_system_to_older_templates() -> None:
    """OpenAI's newer word is kept for templates that know it."""
    said = [{"role": "developer", "content": "be kind"}]

    assert render("{{ messages[0].role }}", said) == "system"
    assert render("{{ messages[0].role }}{# developer #}", said) == "developer"


def test_callers_variables_reach_the_template() -> None:
    """Such as Qwen 3's ``enable_thinking``."""
    assert render("{{ enable_thinking }}", variables={"enable_thinking": False}) == "False"


def test_the_templates_own_words_explain_a_refusal() -> None:
    """Which roles may follow one another is its own matter."""
    with pytest.raises(InvalidInput, match="must alternate") as refused:
        render(MISTRAL_LIKE, [{"role": "assistant", "content": "a"}])
    assert refused.value.param == "messages"


@pytest.mark.parametrize("template", [None, "", "{% if %}", "{{ 'a' | no_such_filter }}"])
def test_a_model_without_a_usable_template_can_not_chat(template: str | None) -> None:
    """And the answer says why."""
    card = ModelCard(task="text-generation", chat_template=template)
    with pytest.raises(InvalidInput, match="template") as refused:
        find_template(card, "chat")
    assert refused.value.param == "model"


def test_a_prompt_is_bounded() -> None:
    """While it is written, not when it is whole."""
    with pytest.raises(InvalidInput, match="more than 100 bytes") as refused:
        render("{{ messages[0].content }}", [{"role": "user", "content": "é" * 51}], max_bytes=100)
    assert refused.value.code == "context_length_exceeded"
    assert render("{{ messages[0].content }}", [{"role": "user", "content": "é" * 50}], max_bytes=100)


NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [
        NESTED,
        f"{{% macro m() %}}{NESTED}{{% endmacro %}}{{{{ m() }}}}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [1] * 999999999 }}",
        "{{ 9 ** 999999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ {} | tojson(indent=999999999) }}",
        "{{ range(999999999) | list }}",
        "{% set ns = namespace(s='aa') %}{% for i in range(27) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0].content.no.such.thing }}",
        "{{ 1 / 0 }}",
        "{% include 'x' %}",
    ],
)
def test_templates_can_do_no_harm(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless loops, endless texts, ways out of the sandbox and plain mistakes end in a refusal."""
    monkeypatch.setattr(prompts, "MAX_ROUNDS", 1_000)
    with pytest.raises(InvalidInput):
        render(template)


def test_time_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few rounds take long."""
    monkeypatch.setattr(prompts, "MAX_RENDER_S", -1.0)
    with pytest.raises(InvalidInput, match="go through"):
        render(CHATML)


def test_formats_and_products_within_bounds_are_made() -> None:
    """As Python makes them."""
    assert render("{{ '%s-%d' % ('a', 3) }}{{ '%s' | format(4) }}{{ '{}!'.format(5) }}") == "a-345!"
    assert render("{{ 7 % 3 }}{{ 2 ** 3 }}{{ 'ab' * 2 }}{{ 2 * 1.5 }}") == "18abab3.0"
    assert render("{{ strftime_now('%Y') }}") == time.strftime("%Y")
