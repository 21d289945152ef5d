"""When an answer ends, what of its text is given out when, and what its log probabilities look like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.runtime.decoder.choices import LOWEST_LOGPROB, Choice, Delta, SeenTokens, StopText
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.parameters import Parameters
from export.runtime.decoder.sampling import Sampled
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level

EOS_ID = 1


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """A byte-level tokenizer; `</s>` is id 1."""
    return Vocabulary(save_byte_level(tmp_path_factory.mktemp("tokenizer")), 0)


def make_choice(vocabulary: Vocabulary, **fields: object) -> Choice:
    """Begin an answer to a short prompt."""
    parameters = Parameters(**{"max_tokens": 100, **fields})
    prompt_ids = vocabulary.encode("the cat")
    return Choice(0, 0, parameters, prompt_ids, vocabulary=vocabulary, eos_token_ids=[EOS_ID])


def write(vocabulary: Vocabulary, choice: Choice, text: str, *, ends: bool = False) -> list[Delta]:
    """Let a choice accept the tokens of a text, one character a token, until it finishes."""
    ids = [token_id for character in text for token_id in vocabulary.encode(character)[1:]]
    deltas = []
    for token_id in [*ids, *([EOS_ID] if ends else [])]:
        deltas.append(choice.accept(Sampled(token_id)))
        if choice.finish_reason:
            break
    return deltas


def text_of(deltas: list[Delta]) -> str:
    """Join the deltas' texts."""
    return "".join(delta.text for delta in deltas)


def test_an_answer_ends_with_the_end_of_sequence_token(vocabulary: Vocabulary) -> None:
    """The end token finishes with "stop", counts as a token, and shows no text."""
    choice = make_choice(vocabulary)
    deltas = write(vocabulary, choice, "sat!", ends=True)
    assert text_of(deltas) == "sat!"
    assert [delta.finish_reason for delta in deltas] == [None, None, None, None, "stop"]
    assert choice.token_ids[-1] == choice.last_token == EOS_ID
    assert sum(delta.num_tokens for delta in deltas) == 5


def test_an_answer_goes_on_where_the_end_token_is_ignored(vocabulary: Vocabulary) -> None:
    """With `ignore_eos` only `max_tokens` ends the answer, and says "length"."""
    choice = make_choice(vocabulary, ignore_eos=True, max_tokens=3, skip_special_tokens=False)
    deltas = [choice.accept(Sampled(EOS_ID)) for _ in range(3)]
    assert [delta.finish_reason for delta in deltas] == [None, None, "length"]
    assert text_of(deltas) == "</s>" * 3


def test_a_stop_token_ends_without_its_text_unless_asked_for(vocabulary: Vocabulary) -> None:
    """A stop token's text is left out; `include_stop_str_in_output` keeps it."""
    bang = vocabulary.encode("!")[-1]
    assert text_of(write(vocabulary, make_choice(vocabulary, stop_token_ids=(bang,)), "sat!at")) == "sat"
    keeping = make_choice(vocabulary, stop_token_ids=(bang,), include_stop_str_in_output=True)
    assert text_of(write(vocabulary, keeping, "sat!at")) == "sat!"
    assert keeping.finish_reason == "stop"


@pytest.mark.parametrize("keeps", [False, True])
def test_a_stop_string_ends_across_token_borders(vocabulary: Vocabulary, *, keeps: bool) -> None:
    """A stop string of several tokens is found; none of its beginning was given out before."""
    choice = make_choice(vocabulary, stop=("\n\nUser:", "END"), include_stop_str_in_output=keeps)
    deltas = write(vocabulary, choice, "a\n\nUse\n\nUser: b")
    assert text_of(deltas) == "a\n\nUse" + ("\n\nUser:" if keeps else "")
    assert deltas[-1].finish_reason == "stop"
    assert [delta.text for delta in deltas[:6]] == ["a", "", "", "", "", ""]


def test_what_was_held_back_is_given_out_at_the_end(vocabulary: Vocabulary) -> None:
    """The beginning of a stop string that the answer ends with is part of the answer."""
    by_length = make_choice(vocabulary, stop=("</end>",), max_tokens=4)
    assert [delta.text for delta in write(vocabulary, by_length, "a</e")] == ["a", "", "", "</e"]
    by_token = make_choice(vocabulary, stop=("</end>",))
    assert text_of(write(vocabulary, by_token, "a</e", ends=True)) == "a</e"


def test_a_stop_string_before_min_tokens_does_not_stop(vocabulary: Vocabulary) -> None:
    """Within `min_tokens` a stop string is text like any other."""
    choice = make_choice(vocabulary, stop=("ab",), min_tokens=4)
    deltas = write(vocabulary, choice, "abababab")
    assert text_of(deltas) == "abab"
    assert len(deltas) == 6


def test_half_a_character_is_held_back(vocabulary: Vocabulary) -> None:
    """A character of several tokens comes whole, and as U+FFFD where the answer is cut within it."""
    ids = vocabulary.encode("\U0001f9ff")[1:]
    choice = make_choice(vocabulary, max_tokens=len(ids))
    assert [choice.accept(Sampled(token_id)).text for token_id in ids][-1] == "\U0001f9ff"
    cut = make_choice(vocabulary, max_tokens=len(ids) - 1)
    assert "\N{REPLACEMENT CHARACTER}" in [cut.accept(Sampled(token_id)).text for token_id in ids[:-1]][-1]


def test_log_probabilities_have_vllm_s_shape(vocabulary: Vocabulary) -> None:
    """Each token tells itself and its alternatives by id; infinity becomes a number that JSON has."""
    choice = make_choice(vocabulary, logprobs=2)
    cat, mat = vocabulary.encode(" cat")[-1], vocabulary.encode("!")[-1]
    first = choice.accept(Sampled(cat, -0.5, 2, ((mat, -0.25), (cat, -0.5))))
    assert first.logprobs == [
        {
            cat: {"logprob": -0.5, "rank": 2, "decoded_token": vocabulary.token_text(cat)},
            mat: {"logprob": -0.25, "rank": 1, "decoded_token": "!"},
        }
    ]
    second = choice.accept(Sampled(cat, -np.inf, 400, ()))
    assert second.logprobs == [
        {cat: {"logprob": LOWEST_LOGPROB, "rank": 400, "decoded_token": vocabulary.token_text(cat)}}
    ]
    assert second.cumulative_logprob == LOWEST_LOGPROB - 0.5
    assert make_choice(vocabulary).accept(Sampled(cat)).logprobs is None


def test_a_seed_decides_every_draw(vocabulary: Vocabulary) -> None:
    """Choices of one seed and place draw alike, those of other places or without a seed differ."""
    draws = [
        [choice.draw() for _ in range(5)]
        for choice in (
            make_choice(vocabulary, seed=-7),
            make_choice(vocabulary, seed=-7),
            make_choice(vocabulary, seed=8),
            make_choice(vocabulary),
            make_choice(vocabulary),
        )
    ]
    assert draws[0] == draws[1]
    assert len({tuple(row) for row in draws}) == 4
    assert all(0 <= number < 1 for row in draws for number in row)


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=300)), st.lists(st.integers(min_value=0, max_value=300)))
def test_seen_tokens_are_counted(prompt_ids: list[int], answer_ids: list[int]) -> None:
    """Each token of prompt and answer has one entry, with its count in the answer."""
    seen = SeenTokens(prompt_ids)
    for token_id in answer_ids:
        seen.add(token_id)
    counted = dict(zip(seen.ids[: seen.size].tolist(), seen.counts[: seen.size].tolist(), strict=True))
    assert counted == {token_id: answer_ids.count(token_id) for token_id in {*prompt_ids, *answer_ids}}


def cut_slowly(text: str, stops: list[str], border: int, *, keeps: bool) -> str:
    """Cut a text at the first stop string that ends after *border*, the obvious way."""
    ends = [
        (start, start + len(stop))
        for stop in stops
        for start in range(len(text))
        if text.startswith(stop, start) and start + len(stop) > border
    ]
    first_end = min((end for _, end in ends), default=None)
    if first_end is None:
        return text
    start, end = min(span for span in ends if span[1] == first_end)
    return text[: end if keeps else start]


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet="ab", min_size=1, max_size=1), max_size=30),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(min_value=0, max_value=6),
    st.booleans(),
)
def test_stop_strings_cut_as_the_obvious_way_does(
    pieces: list[str],
    stops: list[str],
    min_pieces: int,
    keeps: bool,  # noqa: FBT001
) -> None:
    """Whatever the stop strings, the given text is that of a plain search, and never more than it meanwhile."""
    wanted = cut_slowly("".join(pieces), stops, len("".join(pieces[:min_pieces])), keeps=keeps)
    stop_text = StopText(stops, keeps_stop=keeps)
    given_out = ""
    for count, piece in enumerate(pieces, start=1):
        text, was_stopped = stop_text.add(piece, may_stop=count > min_pieces)
        given_out += text
        assert wanted.startswith(given_out)
        if was_stopped:
            break
    assert given_out + stop_text.flush() == wanted
