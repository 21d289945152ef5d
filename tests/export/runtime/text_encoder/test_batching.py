"""Grouping, padding and putting back: every text gets its own vector, whatever the merging, order or failure."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.runtime.text_encoder.batching import (
    Edges,
    Group,
    Grouping,
    PaddedTokens,
    pad_group,
    plan_groups,
    read_grouping,
    scatter,
)

LENGTHS = st.lists(st.integers(1, 512), max_size=80)
PADDED_TOKENS = st.builds(PaddedTokens, st.integers(1, 4096), st.floats(0, 100))
EDGES = st.builds(lambda edges: Edges(tuple(sorted(edges))), st.sets(st.integers(1, 600), min_size=1))
GROUPINGS = PADDED_TOKENS | EDGES
MAX_ROWS = st.integers(1, 64)


@given(LENGTHS, GROUPINGS, MAX_ROWS)
def test_every_row_is_in_exactly_one_group(lengths: list[int], grouping: Grouping, max_rows: int) -> None:
    """Groups hold every row once, none more than the core takes, each padded to at least its longest row."""
    groups = plan_groups(lengths, grouping, max_rows)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(lengths)))
    assert all(1 <= len(group.rows) <= max_rows for group in groups)
    assert all(lengths[row] <= group.padded_length for group in groups for row in group.rows)


@given(LENGTHS, PADDED_TOKENS, MAX_ROWS)
def test_no_group_is_larger_than_the_limit(lengths: list[int], grouping: PaddedTokens, max_rows: int) -> None:
    """No group of several rows has more padded tokens than allowed, and none is padded beyond its longest row."""
    for group in plan_groups(lengths, grouping, max_rows):
        assert group.padded_length == max(lengths[row] for row in group.rows)
        assert len(group.rows) == 1 or len(group.rows) * group.padded_length <= grouping.limit_tokens


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), PADDED_TOKENS, st.integers(1, 8))
def test_no_other_cut_is_cheaper(lengths: list[int], grouping: PaddedTokens, max_rows: int) -> None:
    """Of all ways to cut the sorted rows, the one that is found costs least in padded tokens and calls."""
    ordered = sorted(lengths)
    costs = []
    for cuts in product([False, True], repeat=len(ordered) - 1):
        starts = [0, *(place for place, is_cut in enumerate(cuts, start=1) if is_cut), len(ordered)]
        runs = [ordered[start:end] for start, end in pairwise(starts)]
        if all(
            len(run) == 1 or (len(run) <= max_rows and len(run) * run[-1] <= grouping.limit_tokens)
            for run in runs
        ):
            costs.append(sum(grouping.call_tokens + len(run) * run[-1] for run in runs))
    found = sum(
        grouping.call_tokens + len(group.rows) * group.padded_length
        for group in plan_groups(lengths, grouping, max_rows)
    )
    assert found == pytest.approx(min(costs))


@given(LENGTHS, EDGES, MAX_ROWS)
def test_edges_give_few_shapes(lengths: list[int], grouping: Edges, max_rows: int) -> None:
    """Every padded length is an edge, but for rows longer than the last one."""
    for group in plan_groups(lengths, grouping, max_rows):
        is_beyond = group.padded_length > grouping.edges[-1]
        assert group.padded_length in grouping.edges or is_beyond


@given(st.data(), GROUPINGS, MAX_ROWS)
def test_every_text_gets_its_own_vector(data: st.DataObject, grouping: Grouping, max_rows: int) -> None:
    """Rows come back to their places whatever their lengths, and a failed group leaves only its rows empty."""
    token_ids = data.draw(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=40), max_size=40))
    groups = plan_groups([len(ids) for ids in token_ids], grouping, max_rows)
    fails = data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups)))
    answers: list[np.ndarray | Exception] = []
    for group, is_failed in zip(groups, fails, strict=True):
        padded, mask = pad_group(token_ids, group, pad_id=0)
        # A stand-in for the core that depends on the row's own tokens only: their sum and their count.
        answer = np.stack([(padded * mask).sum(axis=1), mask.sum(axis=1)], axis=1).astype(np.float32)
        answers.append(RuntimeError("core") if is_failed else answer)
    merged, failures = scatter(groups, answers, (len(token_ids), 2))
    lost = {row for group, is_failed in zip(groups, fails, strict=True) if is_failed for row in group.rows}
    assert set(failures) == lost
    for row, ids in enumerate(token_ids):
        assert merged[row].tolist() == ([0, 0] if row in lost else [sum(ids), len(ids)])


def test_padding_uses_the_pad_id_and_masks_it() -> None:
    """A short row is filled with the model's pad id, which the mask drops."""
    padded, mask = pad_group([[5, 6, 7], [8]], Group((1, 0), 4), pad_id=1)
    assert padded.tolist() == [[8, 1, 1, 1], [5, 6, 7, 1]]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert padded.dtype == mask.dtype == np.int64


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (3, 3), (2,)])
def test_a_wrong_shape_is_nobodys_answer(shape: tuple[int, ...]) -> None:
    """An array of another shape than asked for fails its rows instead of reaching a neighbour's."""
    merged, failures = scatter([Group((0, 2), 4)], [np.ones(shape, dtype=np.float32)], (3, 3))
    assert set(failures) == {0, 2}
    assert not merged.any()


def test_similar_lengths_share_a_group() -> None:
    """A batch of two lengths, far apart, runs as two groups, and neither pads."""
    groups = plan_groups([10, 100, 11, 101, 10], PaddedTokens(512, 24), 64)
    assert groups == [Group((0, 4, 2), 11), Group((1, 3), 101)]


def test_grouping_is_read_from_settings() -> None:
    """Both kinds of grouping are read from door.json, edges sorted."""
    rule = {"kind": "padded_tokens", "limit_tokens": 512, "call_tokens": 24}
    assert read_grouping(rule) == PaddedTokens(512, 24)
    assert read_grouping({"kind": "edges", "edges": [64, 16]}) == Edges((16, 64))


def test_unknown_grouping_is_refused() -> None:
    """A kind that this door doesn't know is named in the error."""
    with pytest.raises(ValueError, match="'magic'"):
        read_grouping({"kind": "magic"})
