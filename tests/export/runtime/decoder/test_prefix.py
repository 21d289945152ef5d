"""What the prefix cache knows of the rows, and what it forgets first."""

from __future__ import annotations

from export.runtime.decoder.prefix import Found, PrefixCache


def make_cache() -> PrefixCache:
    """Make a cache of four rows and blocks of two tokens."""
    return PrefixCache(4, 2)


def test_last_token_is_in_no_block() -> None:
    """Only whole blocks before the last token are shared: that one must be read for the answer's first token."""
    cache = make_cache()
    assert [len(cache.name_blocks([5] * length)) for length in range(1, 8)] == [0, 0, 1, 1, 2, 2, 3]


def test_name_covers_all_before() -> None:
    """A block is named by itself and all before it, so the same tokens after another beginning are another block."""
    cache = make_cache()
    first, second = cache.name_blocks([1, 2, 3, 4, 0]), cache.name_blocks([9, 9, 3, 4, 0])
    assert not set(first) & set(second)
    assert cache.name_blocks([1, 2, 7, 7, 0])[0] == first[0]


def test_longest_beginning_is_found() -> None:
    """The row with most of the beginning is found, and the one without other blocks among equals."""
    cache = make_cache()
    names = cache.name_blocks([1, 2, 3, 4, 5, 6, 0])
    cache.note(0, names[:1])
    cache.note(1, names)
    cache.note(2, names[:2])
    assert (cache.known_tokens(names), cache.known_tokens(names[:2])) == (6, 4)
    assert cache.find(names[:2]) == Found(2, 2)
    assert cache.find(names) == Found(1, 3)
    assert cache.find(cache.name_blocks([1, 2, 9, 9, 9])) == Found(0, 1)
    assert cache.find(cache.name_blocks([8, 8, 8])) is None


def test_overwritten_row_is_forgotten() -> None:
    """What a row held before is not found any more once it holds something else, or less."""
    cache = make_cache()
    names = cache.name_blocks([1, 2, 3, 4, 0])
    cache.note(0, names)
    cache.keep(0, 1)
    assert cache.find(names) == Found(0, 1)
    cache.note(0, cache.name_blocks([7, 7, 7]))
    assert cache.find(names) is None


def test_least_valuable_is_what_nobody_misses() -> None:
    """Empty rows go first, then copies, then the row that was used longest ago."""
    cache = make_cache()
    names = [cache.name_blocks([token, token, 0]) for token in range(4)]
    for row in range(3):
        cache.note(row, names[row])
    assert cache.least_valuable(range(4)) == 3
    cache.copy(2, 3, 2)
    assert cache.least_valuable(range(4)) == 2
    cache.note(3, names[3])
    cache.find(names[0])
    assert cache.least_valuable(range(4)) == 1


def test_copy_holds_whole_blocks_only() -> None:
    """A copy of a row's beginning holds the blocks that are whole in it, as old as they were."""
    cache = make_cache()
    cache.note(0, cache.name_blocks([1, 2, 3, 4, 5, 6, 0]))
    cache.copy(0, 1, 5)
    assert (cache.held(0), cache.held(1)) == (3, 2)
    cache.keep(0, 0)
    assert cache.worth(1) == 1
