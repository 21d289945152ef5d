"""Whose prompt is read next, and how long running rows wait for it."""

from __future__ import annotations

from export.runtime.decoder.prompts import MAX_PASSED, Prompt, Prompts
from export.runtime.decoder.slots import Reading

CHUNK = 128


def add(prompts: Prompts, request_id: int, tokens: int, count: int = 1) -> Prompt:
    """Add a prompt of so many tokens."""
    names = (b"block",) * ((tokens - 1) // CHUNK)
    prompt = Prompt(request_id, [5] * tokens, [], Reading(names, count))
    prompts.add(prompt)
    return prompt


def choose(prompts: Prompts, *, rows_wait: bool = False) -> list[int]:
    """Choose, and name the requests."""
    return [prompt.request_id for prompt in prompts.choose(rows_wait=rows_wait)]


def test_the_least_left_goes_first() -> None:
    """A short prompt goes before a long one that came earlier."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 500)
    add(prompts, 2, 200)
    assert choose(prompts) == [2]


def test_the_oldest_is_passed_over_a_few_times() -> None:
    """The oldest prompt gets every fourth call at least."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 500)
    add(prompts, 2, 200)
    assert [choose(prompts) for _ in range(MAX_PASSED + 2)] == [[2]] * MAX_PASSED + [[1], [2]]


def test_known_tokens_are_not_left() -> None:
    """A long prompt whose beginning some row holds goes before a shorter one, and fits what is left of a turn."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 200)
    add(prompts, 2, 520).known = 512
    prompts.spend(100)
    assert choose(prompts, rows_wait=True) == [2]


def test_a_turn_is_one_chunk() -> None:
    """Running rows get their turn once a chunk's worth has been read, and not in the middle of one that fits."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 500)
    assert choose(prompts, rows_wait=True) == [1]
    prompts.spend(20)
    assert choose(prompts, rows_wait=True) == []
    prompts.end_turn()
    assert choose(prompts, rows_wait=True) == [1]


def test_no_rows_no_turns() -> None:
    """While nothing decodes, prompts are read one after the other."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 500)
    prompts.spend(CHUNK)
    assert choose(prompts) == [1]


def test_short_ones_share_a_call() -> None:
    """Short prompts of about the same length are read together, as many as fit; others wait."""
    prompts = Prompts(CHUNK)
    for number in range(10):
        add(prompts, number, 16)
    add(prompts, 10, 60)
    add(prompts, 11, 16, count=2)
    assert choose(prompts) == list(range(8))


def test_calls_of_few_tokens_count_for_more() -> None:
    """A call for one token takes a turn as much as one for 16 tokens does."""
    prompts = Prompts(CHUNK)
    add(prompts, 1, 1, count=2)
    for _ in range(8):
        assert choose(prompts, rows_wait=True) == [1]
        prompts.spend(1)
    assert choose(prompts, rows_wait=True) == []


def test_given_up_prompts_are_gone() -> None:
    """A prompt that is taken out is not chosen any more."""
    prompts = Prompts(CHUNK)
    prompt = add(prompts, 1, 16)
    assert 1 in prompts
    assert prompts.pop(1) is prompt
    assert prompts.pop(1) is None
    assert (len(prompts), choose(prompts)) == (0, [])
