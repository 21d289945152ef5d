"""Pieces of text that joined are the whole, and none of them half a character."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.runtime.decoder.detokenizing import MAX_HELD_TOKENS, REPLACEMENT, Detokenizer, Vocabulary
from tests.export.runtime.decoder.tiny_tokenizers import METASPACE_CAT_ID, save_byte_level, save_metaspace

UNKNOWN_ID = 5000


@pytest.fixture(scope="module", params=[save_byte_level, save_metaspace])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """Each of the two kinds of tokenizers."""
    make = request.param
    return Vocabulary(make(tmp_path_factory.mktemp("tokenizer")), 0 if make is save_byte_level else 1)


def pieces_of(
    vocabulary: Vocabulary, prompt_ids: list[int], ids: list[int], *, skips: bool = True
) -> list[str]:
    """Detokenize *ids* one by one after a prompt; the last piece is what was held back."""
    detokenizer = Detokenizer(vocabulary, prompt_ids, skip_special_tokens=skips)
    return [*(detokenizer.add(token_id) for token_id in ids), detokenizer.flush()]


@settings(deadline=None)
@given(
    st.text(alphabet='the cat äÄ世界😀\n"{}!', max_size=20),
    st.text(alphabet='the cat äÄ世界😀é́\u200d"{}!', max_size=40),
)
def test_pieces_are_whole_characters_and_joined_the_text(
    vocabulary: Vocabulary, prompt: str, text: str
) -> None:
    """Whatever the text and the prompt before it, the pieces hold no U+FFFD and join to what follows the prompt."""
    prompt_ids = vocabulary.encode(prompt)
    ids = vocabulary.encode(prompt + text)[len(prompt_ids) :]
    whole = vocabulary.decode([*vocabulary.encode(prompt)[1:], *ids])
    pieces = pieces_of(vocabulary, prompt_ids, ids)
    if vocabulary.encode(prompt + text)[: len(prompt_ids)] == prompt_ids:
        assert "".join(pieces) == whole[len(vocabulary.decode(prompt_ids[1:])) :]
        assert not any(REPLACEMENT in piece for piece in pieces)


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=273), max_size=30))
def test_any_tokens_join_to_what_the_tokenizer_decodes(vocabulary: Vocabulary, ids: list[int]) -> None:
    """Tokens in any order, special ones too, join to the tokenizer's text but for how many U+FFFD it has."""
    for skips in (True, False):
        shown = [i for i in ids if not vocabulary.is_silent(i, skip_special_tokens=skips)]
        joined = "".join(pieces_of(vocabulary, [], ids, skips=skips))
        whole = vocabulary.decode(shown)
        if REPLACEMENT not in joined + whole:
            assert joined == whole
        assert [c for c in whole if c != REPLACEMENT] == [
            c for c in joined if c != REPLACEMENT
        ] or REPLACEMENT in joined


def test_a_character_of_several_tokens_comes_at_once(vocabulary: Vocabulary) -> None:
    """An emoji of four byte tokens is one piece, at its last token."""
    ids = vocabulary.encode("a\U0001f9ff")[1:]
    pieces = pieces_of(vocabulary, vocabulary.encode("the"), ids)
    assert [piece for piece in pieces if piece][-1] == "\U0001f9ff"
    assert pieces[-1] == ""
    assert len(pieces) > 4


def test_a_character_that_stays_incomplete_is_told_at_the_end(vocabulary: Vocabulary) -> None:
    """An answer cut within a character ends with U+FFFD, as the tokenizer decodes it."""
    ids = vocabulary.encode("a\U0001f9ff")[1:-1]
    pieces = pieces_of(vocabulary, [], ids)
    assert pieces[-1].startswith(REPLACEMENT)
    assert "".join(pieces) == vocabulary.decode(ids)


def test_the_space_between_prompt_and_answer_is_kept(tmp_path: Path) -> None:
    """SentencePiece drops the first word's space; after a prompt it isn't the first word."""
    vocabulary = Vocabulary(save_metaspace(tmp_path))
    cat = METASPACE_CAT_ID
    assert pieces_of(vocabulary, vocabulary.encode("the"), [cat, cat]) == [" cat", " cat", ""]
    assert pieces_of(vocabulary, [], [cat, cat]) == ["cat", " cat", ""]


def test_special_and_unknown_tokens_are_silent(vocabulary: Vocabulary) -> None:
    """Control tokens are left out unless asked for; ids beyond the tokenizer have no text at all."""
    end = max(vocabulary.special_ids)
    word = vocabulary.encode("the cat")[-1]
    assert "".join(pieces_of(vocabulary, [], [UNKNOWN_ID, word, end])) == vocabulary.decode([word])
    assert "".join(pieces_of(vocabulary, [], [word, end], skips=False)).endswith("</s>")


def test_bytes_that_are_no_text_are_not_held_for_ever(vocabulary: Vocabulary) -> None:
    """A model that writes only broken bytes is shown as it is after a while, so that a token's cost stays bounded."""
    broken = vocabulary.encode("\U0001f9ff")[-1]
    pieces = pieces_of(vocabulary, [], [broken] * (3 * MAX_HELD_TOKENS))
    assert sum(bool(piece) for piece in pieces) >= 2


def test_a_prompt_that_brings_its_bos_gets_no_second_one(vocabulary: Vocabulary) -> None:
    """A rendered chat template that begins with the BOS text has one BOS token; other prompts get theirs."""
    plain, rendered = vocabulary.encode("the cat"), vocabulary.encode("<s>the cat")
    assert rendered[0] == plain[0]
    assert rendered.count(plain[0]) == 1
    assert vocabulary.decode(rendered).count("<s>") == 1
