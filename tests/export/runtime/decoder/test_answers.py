"""Deltas written as the vLLM backend's tensors: streamed or whole, merged, ended once."""

import json
import math

from export.runtime.decoder.answers import Answer, Message, Wanted
from export.runtime.decoder.choices import Delta

EVERYTHING = {
    "finish_reason": True,
    "cumulative_logprob": True,
    "logprobs": True,
    "num_input_tokens": True,
    "num_output_tokens": True,
}


def plain(text: str, finish_reason: str | None = None) -> Delta:
    """Make a delta of one token without log probabilities."""
    return Delta(text, 1, finish_reason, None)


def read(message: Message) -> dict[str, list[object]]:
    """Turn a message's tensors into lists; bytes into text."""
    return {
        name: [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]
        for name, array in message.tensors.items()
    }


def test_a_stream_tells_what_is_new() -> None:
    """Each message has the new text alone, and the last one the final flag."""
    sent: list[Message] = []
    answer = Answer(Wanted(stream=True, num_output_tokens=True), 1, 3, sent.append)
    for delta in (plain("a"), plain("b"), plain("c", "stop")):
        assert answer.add(0, delta)
        answer.send_news()
    answer.send_news()
    assert [read(message) for message in sent] == [
        {"text_output": [text], "num_output_tokens": [1]} for text in "abc"
    ]
    assert [message.is_final for message in sent] == [False, False, True]


def test_what_gathered_is_one_message() -> None:
    """Deltas that came since the last message are merged: texts joined, tokens summed, log probabilities in a row."""
    sent: list[Message] = []
    answer = Answer(Wanted(stream=True, **EVERYTHING), 2, 7, sent.append)
    entry = {5: {"logprob": -0.5, "rank": 1, "decoded_token": "a"}}
    answer.add(0, Delta("a", 1, None, [entry], -0.5))
    answer.add(0, Delta("b", 1, None, [entry], -1.0))
    answer.add(1, Delta("x", 1, "length", [entry], -0.5))
    answer.send_news()
    answer.add(0, Delta("", 1, "stop", [entry], -1.5))
    answer.send_news()
    first, last = map(read, sent)
    row = {"5": entry[5]}
    assert [json.loads(item) for item in first.pop("logprobs")] == [[row, row], [row]]
    assert first == {
        "text_output": ["ab", "x"],
        "finish_reason": ["None", "length"],
        "cumulative_logprob": [-1.0, -0.5],
        "num_input_tokens": [7],
        "num_output_tokens": [2, 1],
    }
    assert last["text_output"] == ["", ""]
    assert last["finish_reason"] == ["stop", "length"]
    assert last["num_output_tokens"] == [1, 0]
    assert json.loads(last["logprobs"][1]) == []
    assert [message.is_final for message in sent] == [False, True]
    assert answer.num_output_tokens == 4


def test_a_whole_answer_is_one_message_after_its_prompt() -> None:
    """Without a stream nothing is sent before the end; each answer begins with the prompt if it is wanted."""
    sent: list[Message] = []
    answer = Answer(Wanted(prepend="P:", **EVERYTHING), 2, 1, sent.append)
    assert not answer.add(0, plain("a"))
    answer.send_news()
    assert not answer.add(0, plain("b", "stop"))
    assert answer.add(1, plain("c", "length"))
    answer.send_news()
    assert len(sent) == 1
    message = read(sent[0])
    assert message["text_output"] == ["P:ab", "P:c"]
    assert message["finish_reason"] == ["stop", "length"]
    assert message["logprobs"] == ["null", "null"]
    assert all(math.isnan(total) for total in message["cumulative_logprob"])
    assert sent[0].is_final


def test_log_probabilities_that_nobody_asked_for_are_null() -> None:
    """Also an answer without news says "null" rather than an empty list."""
    sent: list[Message] = []
    answer = Answer(Wanted(stream=True, logprobs=True), 2, 1, sent.append)
    answer.add(0, plain("a"))
    answer.send_news()
    assert read(sent[0])["logprobs"] == ["null", "null"]


def test_an_answer_ends_once() -> None:
    """After an error deltas are dropped and so is a second error; after the end an error is dropped."""
    sent: list[Message] = []
    failed = Answer(Wanted(stream=True), 1, 1, sent.append)
    failed.add(0, plain("a"))
    assert failed.fail("broken", "INTERNAL")
    assert not failed.fail("again", "INTERNAL")
    assert not failed.add(0, plain("b"))
    failed.send_news()
    assert sent == [Message({}, is_final=True, error=("broken", "INTERNAL"))]
    whole = Answer(Wanted(), 1, 1, sent.append)
    whole.add(0, plain("a", "stop"))
    assert whole.is_ended
    assert not whole.fail("late", "CANCELLED")
