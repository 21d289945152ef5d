"""The scheduler, driven with a graph that needs no model."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.runtime.decoder.choices import Choice
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.engine import (
    Engine,
    EngineFailed,
    EngineLimits,
    Event,
    QueueFull,
    Request,
)
from export.runtime.decoder.parameters import Parameters
from tests.export.runtime.decoder.fake_graph import EOS, FakeGraph, PlainSampler, next_token
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNK = 4


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """Read a small tokenizer; what the tokens mean doesn't matter here."""
    return Vocabulary(save_byte_level(tmp_path_factory.mktemp("engine")))


@pytest.fixture
def make(vocabulary: Vocabulary) -> Callable[..., Request]:
    """Make requests: id, prompt, and the parameters."""

    def build(request_id: int, prompt_ids: Sequence[int], n: int = 1, max_tokens: int = 8) -> Request:
        parameters = Parameters(n=n, temperature=0.0, max_tokens=max_tokens)
        choices = [
            Choice(
                request_id, index, parameters, list(prompt_ids), vocabulary=vocabulary, eos_token_ids=[EOS]
            )
            for index in range(n)
        ]
        return Request(request_id, list(prompt_ids), parameters, choices)

    return build


def make_engine(slots: int = 4, max_queued: int = 1000) -> tuple[Engine, FakeGraph, PlainSampler]:
    """Make an engine with its graph and its sampler."""
    graph, sampler = FakeGraph(slots + 1), PlainSampler()
    return Engine(graph, sampler, EngineLimits(slots, CHUNK, max_queued)), graph, sampler


def expected(request: Request) -> list[int]:
    """Say what a request's answers must be, whoever else is there."""
    tokens = list(request.prompt_ids)
    for _ in range(request.parameters.max_tokens):
        tokens.append(next_token(tokens))
        if tokens[-1] == EOS:
            break
    return tokens[len(request.prompt_ids) :]


def run(engine: Engine) -> list[Event]:
    """Step until nothing is left to do."""
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def assert_empty(engine: Engine) -> None:
    """See that no slot is lost and nothing is left behind."""
    assert (engine.active, engine.queued, engine.has_work) == (0, 0, False)
    assert (engine._slots.running, engine._slots.reserved, engine._slots._readings) == (0, 0, {})


def test_answer_is_the_models(make: Callable[..., Request]) -> None:
    """A request gets the model's tokens one event at a time, the last with its finish reason."""
    engine, _, _ = make_engine()
    request = make(7, [3, 4, 5])
    engine.submit(request)
    events = run(engine)
    assert request.choices[0].token_ids == expected(request)
    assert len(events) == len(expected(request))
    assert [event.delta.finish_reason is not None for event in events if event.delta][-1:] == [True]
    assert {(event.request_id, event.index, event.error) for event in events} == {(7, 0, None)}
    assert engine.generated_tokens == len(events)
    assert_empty(engine)


REQUESTS = st.lists(
    st.tuples(
        # Prompts that begin alike, so that rows share their beginnings.
        st.integers(0, 2),
        st.integers(1, 20),
        st.integers(1, 4),
        st.integers(1, 12),
        st.one_of(st.none(), st.integers(0, 30)),
        st.integers(0, 25),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=REQUESTS, slots=st.integers(4, 6))
def test_every_request_ends_once_and_alone(
    make: Callable[..., Request], plans: list[tuple[int, int, int, int, int | None, int]], slots: int
) -> None:
    """Whatever comes, when, and is cancelled when: answers are the model's own, each ends once, no slot is lost."""
    engine, _, _ = make_engine(slots)
    requests, submit_at, cancel_at = [], Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for number, (family, length, n, max_tokens, patience, come_at) in enumerate(plans):
        prompt = [(family + place * 7) % 40 + 2 for place in range(length)]
        requests.append(make(number, prompt, n=n, max_tokens=max_tokens))
        submit_at[come_at, number] = 1
        if patience is not None:
            cancel_at[come_at + patience, number] = 1
    ended: Counter[tuple[int, int]] = Counter()
    cancelled: set[int] = set()
    step = 0
    while engine.has_work or step <= 30:
        for request in requests:
            if submit_at[step, request.id]:
                engine.submit(request)
            if cancel_at[step, request.id]:
                engine.cancel(request.id)
                cancelled.add(request.id)
        events = engine.step()
        assert not cancelled & {event.request_id for event in events}
        assert all(event.delta is not None for event in events)
        ended.update((it.request_id, it.index) for it in events if it.delta and it.delta.finish_reason)
        assert engine._slots.running + engine._slots.reserved <= slots
        assert engine._slots.running == len(engine._rows)
        step += 1
    assert_empty(engine)
    for request in requests:
        assert_exact(request, ended, is_whole=request.id not in cancelled)


def assert_exact(request: Request, ended: Counter[tuple[int, int]], *, is_whole: bool) -> None:
    """See that a request's answers are the model's, whole and ended once, or as far as they came."""
    answer = expected(request)
    for choice in request.choices:
        times = ended[request.id, choice.index]
        assert choice.token_ids == answer[: len(choice.token_ids)]
        assert times <= 1
        assert not is_whole or (times == 1 and choice.token_ids == answer)


def test_400_requests_half_cancelled(make: Callable[..., Request]) -> None:
    """Of 400 requests, half of them cancelled at random steps, every survivor is exact and no slot is lost."""
    engine, _, _ = make_engine(slots=8)
    chance = random.Random(1)
    made = [
        make(number, [2 + number % 40] * chance.randint(1, 30), n=1 + number % 2) for number in range(400)
    ]
    for request in made:
        engine.submit(request)
    doomed = {request.id for request in made if request.id % 4 < 2}
    left = list(doomed)
    chance.shuffle(left)
    while engine.has_work:
        if left and chance.random() < 0.3:
            engine.cancel(left.pop())
        engine.step()
    assert_empty(engine)
    for request in made:
        if request.id not in doomed:
            assert all(choice.token_ids == expected(request) for choice in request.choices)


def test_short_prompts_are_read_together(make: Callable[..., Request]) -> None:
    """Short prompts of about the same length that wait at the same time are read in one call, within a turn."""
    engine, graph, _ = make_engine()
    requests = [make(1, [4]), make(2, [5, 6]), make(3, [7, 8]), make(4, [9, 9, 9, 9, 9])]
    for request in requests:
        engine.submit(request)
    run(engine)
    assert graph.calls[0] == ("prefill", 2 * 2)
    assert all(request.choices[0].token_ids == expected(request) for request in requests)
    assert engine.prompt_tokens == 10


def test_running_rows_wait_for_one_chunk_at_most(make: Callable[..., Request]) -> None:
    """However many prompts come, between two tokens of a running row no more than one chunk of tokens is read."""
    engine, graph, _ = make_engine(slots=8)
    lasting = next(it for token in range(2, 50) if len(expected(it := make(0, [token], max_tokens=60))) == 60)
    engine.submit(lasting)
    engine.step()
    for number in range(1, 8):
        engine.submit(make(number, [number + 2] * (2 + 5 * number), max_tokens=2))
    run(engine)
    between = 0
    for kind, tokens in graph.calls[1:]:
        between = between + tokens if kind == "prefill" else 0
        assert between <= CHUNK
    assert sum(kind == "decode" for kind, _ in graph.calls) == 59


def test_answers_share_one_reading(make: Callable[..., Request]) -> None:
    """Several answers to one prompt read it once."""
    engine, graph, _ = make_engine()
    request = make(1, [5, 6, 7, 8, 9, 10], n=3)
    engine.submit(request)
    run(engine)
    assert sum(tokens for kind, tokens in graph.calls if kind == "prefill") == 6
    assert all(choice.token_ids == expected(request) for choice in request.choices)
    assert engine.prompt_tokens == 6


def test_short_prompt_overtakes_long_one(make: Callable[..., Request]) -> None:
    """A short prompt doesn't wait until a long one before it has been read."""
    engine, _, _ = make_engine()
    engine.submit(make(1, [9] * 50))
    engine.step()
    engine.submit(make(2, [3, 4]))
    first = next(event for _ in range(20) for event in engine.step())
    assert first.request_id == 2


def test_long_prompt_is_not_starved(make: Callable[..., Request]) -> None:
    """A long prompt is read though shorter ones never stop coming."""
    engine, _, _ = make_engine()
    engine.submit(make(0, [9] * 40))
    for number in range(1, 1000):
        engine.submit(make(number, [number % 40 + 2, number // 40 + 2], max_tokens=1))
        if any(event.request_id == 0 for event in engine.step()):
            break
    assert number < 100


def test_slots_are_given_in_order(make: Callable[..., Request]) -> None:
    """A request that needs all slots gets them before later ones that need one each."""
    engine, _, _ = make_engine(slots=4)
    engine.submit(make(0, [3], max_tokens=20))
    engine.step()
    engine.submit(make(1, [4], n=4))
    for number in range(2, 6):
        engine.submit(make(number, [number + 3]))
    order = list(dict.fromkeys(event.request_id for event in run(engine)))
    assert order[:2] == [0, 1]


def test_shared_beginning_is_read_once(make: Callable[..., Request]) -> None:
    """Prompts that begin alike read their beginning once, also when they come at the same time."""
    engine, graph, _ = make_engine()
    shared = list(range(10, 10 + 4 * CHUNK))
    requests = [make(number, [*shared, 3 + number]) for number in range(6)]
    for request in requests:
        engine.submit(request)
    run(engine)
    assert sum(tokens for kind, tokens in graph.calls if kind == "prefill") == len(shared) + len(requests)
    assert engine.prefix_hit_tokens == 5 * len(shared)
    assert engine.prefix_queried_tokens == 6 * (len(shared) + 1)
    assert all(request.choices[0].token_ids == expected(request) for request in requests)


def test_shared_beginning_outlives_other_prompts(make: Callable[..., Request]) -> None:
    """A beginning that keeps coming back stays while prompts that come once pass through all rows."""
    engine, _, _ = make_engine(slots=2)
    shared = [20] * (2 * CHUNK)
    for number in range(20):
        before = engine.prefix_hit_tokens
        engine.submit(make(2 * number, [*shared, 3 + number]))
        run(engine)
        assert number == 0 or engine.prefix_hit_tokens - before == len(shared)
        engine.submit(make(2 * number + 1, [21 + number] * (2 * CHUNK + 1)))
        run(engine)


def test_whole_prompt_known_reads_the_last_block(make: Callable[..., Request]) -> None:
    """A prompt that some row holds to its end still reads its last block: the answer begins with its last token."""
    engine, graph, _ = make_engine()
    for number in range(2):
        engine.submit(make(number, [30] * (3 * CHUNK)))
        run(engine)
    assert engine.prefix_hit_tokens == 2 * CHUNK
    assert [tokens for kind, tokens in graph.calls if kind == "prefill"] == [CHUNK] * 4


@pytest.mark.parametrize("steps", [0, 1, 5, 9])
def test_cancelled_at_every_stage(make: Callable[..., Request], steps: int) -> None:
    """Waiting, half read or decoding, a cancelled request is gone at once and its neighbours' answers stay exact."""
    engine, _, _ = make_engine(slots=2)
    others = [make(1, [4] * 9, max_tokens=12), make(3, [6] * 9, max_tokens=12)]
    doomed = make(2, [5] * 13, n=1, max_tokens=12)
    for request in (others[0], doomed, others[1]):
        engine.submit(request)
    for _ in range(steps):
        engine.step()
    engine.cancel(2)
    engine.cancel(2)
    assert engine._slots.running + engine._slots.reserved <= 1
    assert all(event.request_id != 2 for event in run(engine))
    assert all(request.choices[0].token_ids == expected(request) for request in others)
    assert_empty(engine)


def test_queue_is_bounded(make: Callable[..., Request]) -> None:
    """A request beyond the bound is refused, and the others are answered."""
    engine, _, _ = make_engine(slots=1, max_queued=2)
    engine.submit(make(0, [2]))
    engine.submit(make(1, [3]))
    with pytest.raises(QueueFull, match=r"2 requests wait already"):
        engine.submit(make(2, [4]))
    assert engine.queued == 2
    assert {event.request_id for event in run(engine)} == {0, 1}


def test_impossible_requests_are_refused(make: Callable[..., Request]) -> None:
    """What could never be answered is refused in words, before it waits."""
    engine, graph, _ = make_engine(slots=2)
    with pytest.raises(ValueError, match=r"come to 8 tokens"):
        engine.submit(make(1, []))
    with pytest.raises(ValueError, match=r"prompt of 60 tokens and its answer come to 68"):
        engine.submit(make(1, [3] * (graph.max_model_len - 4)))
    with pytest.raises(ValueError, match=r"1 to 2 answers, not 3"):
        engine.submit(make(1, [3], n=3))
    engine.submit(make(1, [3]))
    with pytest.raises(ValueError, match=r"under way already"):
        engine.submit(make(1, [3]))
    engine.step()
    with pytest.raises(ValueError, match=r"under way already"):
        engine.submit(make(1, [3]))


def test_failed_row_ends_its_request_alone(make: Callable[..., Request]) -> None:
    """A row that can't be sampled ends its request with one error; its neighbours go on."""
    engine, _, sampler = make_engine()
    neighbour, broken = make(1, [4, 5], max_tokens=12), make(2, [6, 7], n=2, max_tokens=12)
    engine.submit(neighbour)
    engine.submit(broken)
    for _ in range(4):
        engine.step()
    sampler.fails_at = {2}
    events = run(engine)
    assert [event.error for event in events if event.request_id == 2] == ["nothing left to say"]
    assert neighbour.choices[0].token_ids == expected(neighbour)
    assert_empty(engine)


def test_failed_choice_ends_its_request_alone(
    make: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that can't take its token ends its request with one error; its neighbours go on."""
    engine, _, _ = make_engine()
    neighbour, broken = make(1, [4, 5]), make(2, [6, 7])
    accept = Choice.accept

    def refuse(choice: Choice, sampled: object) -> object:
        if choice.request_id == 2:
            raise RuntimeError("no such text")
        return accept(choice, sampled)  # type: ignore[arg-type]

    monkeypatch.setattr(Choice, "accept", refuse)
    engine.submit(neighbour)
    engine.submit(broken)
    assert [event.error for event in run(engine) if event.request_id == 2] == ["no such text"]
    assert neighbour.choices[0].token_ids == expected(neighbour)
    assert_empty(engine)


def test_broken_sampler_ends_those_it_was_asked_for(make: Callable[..., Request]) -> None:
    """A sampler that breaks down ends what it was sampling; the engine serves the next request."""
    engine, _, sampler = make_engine()
    engine.submit(make(1, [4, 5]))
    sampler.breaks = True
    assert [event.error for event in run(engine)] == ["The next token can't be chosen: no dice"]
    sampler.breaks = False
    later = make(2, [4, 5])
    engine.submit(later)
    run(engine)
    assert later.choices[0].token_ids == expected(later)


def test_failed_graph_ends_the_engine(make: Callable[..., Request]) -> None:
    """A graph that fails is the end: the step says why, nothing is left, and later requests are told."""
    engine, graph, _ = make_engine(slots=1)
    engine.submit(make(1, [4, 5]))
    engine.submit(make(2, [4, 5]))
    engine.step()
    graph.fails = True
    with pytest.raises(EngineFailed, match=r"The model failed: the graph is broken"):
        engine.step()
    assert not engine.has_work
    with pytest.raises(EngineFailed, match=r"broken"):
        engine.step()
    with pytest.raises(EngineFailed, match=r"broken"):
        engine.submit(make(3, [4]))


def test_a_lone_request_is_never_copied(make: Callable[..., Request]) -> None:
    """A request with the machine to itself decodes where its prompt was read."""
    engine, graph, _ = make_engine()
    engine.submit(make(1, [4] * 9))
    run(engine)
    assert graph.copies == 0
