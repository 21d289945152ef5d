"""Calls are found in answers' texts, however those are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.inference.tool_parser import MAX_HELD_CHARACTERS, ToolParser
from facade.inference.tools import HERMES, LLAMA, MISTRAL, Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.inference.tools import AnswerParser, CallFormat

NAMES = ("get_weather", "get_time")
PARIS = Call("get_weather", '{"city":"Paris"}')
LIMA = Call("get_time", '{"city":"Lima"}')


def parse(parser: AnswerParser, pieces: Sequence[str]) -> list[str | Call]:
    """Feed an answer in pieces, and join texts that came in several."""
    found: list[str | Call] = []
    for event in [event for piece in pieces for event in parser.feed(piece)] + parser.finish():
        if isinstance(event, str) and found and isinstance(found[-1], str):
            found[-1] += event
        else:
            found.append(event)
    return found


def parse_whole(call_format: CallFormat, text: str) -> list[str | Call]:
    """Parse an answer that came at once."""
    return parse(ToolParser(call_format, NAMES), [text])


def hermes(call: Call) -> str:
    """Write a call as Qwen does."""
    return f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>'


def llama(call: Call) -> str:
    """Write a call as Llama 3 does."""
    return f'{{"name": "{call.name}", "parameters": {call.arguments}}}'


@pytest.mark.parametrize(
    ("call_format", "text", "expected"),
    [
        (HERMES, hermes(PARIS), [PARIS]),
        (HERMES, f"{hermes(PARIS)}\n{hermes(LIMA)}\n", [PARIS, LIMA]),
        (HERMES, f"Let me see.\n\n{hermes(PARIS)} Done.", ["Let me see.", PARIS, "Done."]),
        (HERMES, hermes(PARIS).removesuffix("</tool_call>"), [PARIS]),
        (LLAMA, llama(PARIS), [PARIS]),
        (LLAMA, f"<|python_tag|>{llama(PARIS)}; {llama(LIMA)}", [PARIS, LIMA]),
        (LLAMA, f"\n{llama(PARIS)}\n{llama(LIMA)}", [PARIS, LIMA]),
        (MISTRAL, f"[TOOL_CALLS] [{llama(PARIS)}, {llama(LIMA)}]", [PARIS, LIMA]),
        (MISTRAL, f"[{llama(PARIS)}]", [PARIS]),
        (MISTRAL, f"Well.[TOOL_CALLS][{llama(PARIS)}]", ["Well.", PARIS]),
    ],
)
def test_calls_are_found(call_format: CallFormat, text: str, expected: list[str | Call]) -> None:
    """Each family's own way of writing them; white space around them is no part of the answer."""
    assert parse_whole(call_format, text) == expected


@pytest.mark.parametrize(
    ("call_format", "text"),
    [
        (HERMES, "plain words, and a < sign, and <tool_cal"),
        (HERMES, "<tool_call>\nno JSON\n</tool_call>"),
        (HERMES, '<tool_call>{"name": "launch", "arguments": {}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "get_time", "arguments": [1]}</tool_call>'),
        (HERMES, '<tool_call>{"name": "get_time", "argu'),
        (HERMES, '<tool_call>{"name": "get_time", "arguments": {"a": "\\ud800"}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "get_time"} and so on'),
        (LLAMA, '{"answer": 42}'),
        (LLAMA, f"The JSON is {llama(PARIS)}"),
        (LLAMA, '<|python_tag|>search.call(query="x")'),
        (MISTRAL, f"[TOOL_CALLS][{llama(PARIS)}, 7]"),
        (MISTRAL, "  [1, 2, 3]  "),
        (HERMES, ""),
        (HERMES, " \n"),
    ],
)
def test_what_is_no_call_stays_text(call_format: CallFormat, text: str) -> None:
    """To the last character: malformed calls, unknown tools, answers that were cut off."""
    assert parse_whole(call_format, text) == ([text] if text else [])


FRAGMENTS = [
    *(
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "<tool",
        "[",
        "]",
        "{",
        "}",
        ";",
        '"',
        "\\",
    ),
    *(hermes(PARIS), llama(LIMA), f"[{llama(PARIS)}]", " ", "\n", "words", "é😀"),
]


@given(
    call_format=st.sampled_from([HERMES, LLAMA, MISTRAL]),
    fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=12),
    data=st.data(),
)
def test_cuts_change_nothing(call_format: CallFormat, fragments: list[str], data: st.DataObject) -> None:
    """Whole, letter by letter, or cut anywhere: the same texts and calls."""
    text = "".join(fragments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = parse_whole(call_format, text)

    assert parse(ToolParser(call_format, NAMES), pieces) == whole
    assert parse(ToolParser(call_format, NAMES), list(text)) == whole


@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=12))
def test_nothing_but_calls_and_space_is_lost(fragments: list[str]) -> None:
    """What isn't a call comes back as text."""
    text = "".join(fragments)
    found = parse_whole(HERMES, text)

    if not any(isinstance(event, Call) for event in found):
        assert "".join(str(event) for event in found) == text


def test_text_is_not_held_back() -> None:
    """Only what may be a call's beginning waits."""
    parser = ToolParser(HERMES, NAMES)

    assert parser.feed("one two") == ["one two"]
    assert parser.feed(" <") == []
    assert parser.feed("b>") == [" <b>"]


def test_an_endless_call_becomes_text() -> None:
    """And what follows it, so that nothing waits for ever."""
    text = '<tool_call>{"name": "' + "x" * MAX_HELD_CHARACTERS + '"}</tool_call>' + hermes(PARIS)

    assert parse_whole(HERMES, text) == [text]
    assert parse(ToolParser(HERMES, NAMES), [text[:70_000], text[70_000:]]) == [text]
