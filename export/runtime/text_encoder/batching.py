"""
Length-aware batching: which rows run together, how they are padded, where their results go back to.

Pure functions over lengths and arrays; no Triton, no tokenizer. Triton's own batcher merges requests without
looking at their lengths, so a batch holds short and long texts; padding all of them to the longest would waste
most of the work. `plan_groups` cuts the merged batch into groups of similar length in one of two ways:

1. `PaddedTokens`: sort by length, cut where it costs least. For a CPU, where every shape runs equally well.
2. `Edges`: pad to the next of a few fixed lengths. For a GPU, where few shapes matter.

Rule for later editors: every row is in exactly one group, whatever the lengths; the tests hold you to it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PaddedTokens:
    """Cut where padding costs more than one more call does, and where a group has enough padded tokens."""

    limit_tokens: int
    """Most padded tokens (rows x longest) of a group; a single longer row is a group of its own."""

    call_tokens: float
    """What a call costs beyond its tokens, in tokens."""


@dataclass(frozen=True)
class Edges:
    """Pad every row to the next edge; rows of one edge run together."""

    edges: tuple[int, ...]
    """Padded lengths in tokens, ascending."""


Grouping = PaddedTokens | Edges


@dataclass(frozen=True)
class Group:
    """Rows that run as one batch of the core."""

    rows: tuple[int, ...]
    """Their places in the merged batch."""

    padded_length: int
    """Tokens that each of them is padded to."""


def read_grouping(settings: Mapping[str, Any]) -> Grouping:
    """
    Read a grouping rule from the door's settings.

    Args:
        settings: The `grouping` object of `door.json`.

    Returns:
        The rule.

    Raises:
        ValueError: If its `kind` is unknown.
    """
    kind = settings["kind"]
    if kind == "padded_tokens":
        return PaddedTokens(settings["limit_tokens"], settings["call_tokens"])
    if kind == "edges":
        return Edges(tuple(sorted(settings["edges"])))
    raise ValueError(f"door.json asks for grouping {kind!r}; known are 'padded_tokens' and 'edges'.")


def plan_groups(lengths: Sequence[int], grouping: Grouping, max_rows: int) -> list[Group]:
    """
    Cut a merged batch into groups of similar length.

    Args:
        lengths: Tokens of each row.

        grouping: How to cut.

        max_rows: Most rows of one group: the core's `max_batch_size`.

    Returns:
        Groups that hold every row exactly once, shortest rows first.
    """
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    if isinstance(grouping, Edges):
        return _plan_by_edges(by_length, lengths, grouping, max_rows)
    return _plan_by_padded_tokens(by_length, lengths, grouping, max_rows)


def _plan_by_padded_tokens(
    by_length: list[int], lengths: Sequence[int], grouping: PaddedTokens, max_rows: int
) -> list[Group]:
    """
    Find the cheapest cut of the rows, sorted by length, into runs.

    A run costs its padded tokens and one call. The cheapest cut of the first *end* rows is the cheapest, over all
    starts of the last run, of that run and the cheapest cut of what is before it: each is computed once.
    """
    cheapest = [0.0]  # of the first 0, 1, 2, … rows
    last_start: list[int] = []  # where the last run of each of them starts
    for end, row in enumerate(by_length, start=1):
        longest = lengths[row]
        start, cost = end - 1, cheapest[end - 1] + grouping.call_tokens + longest
        for earlier in range(end - 2, max(end - 1 - max_rows, -1), -1):
            padded_tokens = (end - earlier) * longest
            if padded_tokens > grouping.limit_tokens:
                break
            candidate = cheapest[earlier] + grouping.call_tokens + padded_tokens
            if candidate < cost:
                start, cost = earlier, candidate
        cheapest.append(cost)
        last_start.append(start)
    groups: list[Group] = []
    end = len(by_length)
    while end:
        start = last_start[end - 1]
        groups.append(Group(tuple(by_length[start:end]), lengths[by_length[end - 1]]))
        end = start
    return groups[::-1]


def _plan_by_edges(
    by_length: list[int], lengths: Sequence[int], grouping: Edges, max_rows: int
) -> list[Group]:
    """Collect the rows of each edge, at most *max_rows* together; above the last edge, by their own length."""
    rows_of: dict[int, list[int]] = {}
    for row in by_length:
        place = bisect_left(grouping.edges, lengths[row])
        padded_length = grouping.edges[place] if place < len(grouping.edges) else lengths[row]
        rows_of.setdefault(padded_length, []).append(row)
    return [
        Group(tuple(rows[start : start + max_rows]), padded_length)
        for padded_length, rows in rows_of.items()
        for start in range(0, len(rows), max_rows)
    ]


def pad_group(token_ids: Sequence[Sequence[int]], group: Group, pad_id: int) -> tuple[Int64Array, Int64Array]:
    """
    Build the arrays of one group.

    Args:
        token_ids: Token ids of every row of the merged batch.

        group: The rows to take, and their padded length.

        pad_id: Token id that fills the rest.

    Returns:
        Two int64 arrays of shape (rows, padded_length): ids, and the mask (1 keeps, 0 is padding).
    """
    shape = (len(group.rows), group.padded_length)
    padded = np.full(shape, pad_id, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(group.rows):
        ids = token_ids[row]
        padded[place, : len(ids)] = ids
        mask[place, : len(ids)] = 1
    return padded, mask


def scatter(
    groups: Sequence[Group], answers: Sequence[FloatArray | Exception], shape: tuple[int, int]
) -> tuple[FloatArray, dict[int, Exception]]:
    """
    Put the groups' results back to the places of their rows.

    Args:
        groups: Groups that hold every row exactly once.

        answers: For each group its array of shape (rows of the group, width), in the group's order, or why
            there is none.

        shape: (rows of the merged batch, width).

    Returns:
        float32 array of *shape*, and for each row that has no result the reason; its own is zero. An answer of
        the wrong shape is a reason too: better no answer than a neighbour's.
    """
    merged = np.zeros(shape, dtype=np.float32)
    failures: dict[int, Exception] = {}
    for group, answer in zip(groups, answers, strict=True):
        expected = (len(group.rows), shape[1])
        if isinstance(answer, Exception):
            failures.update(dict.fromkeys(group.rows, answer))
        elif answer.shape != expected:
            reason = ValueError(f"the core gave an array of shape {answer.shape} instead of {expected}")
            failures.update(dict.fromkeys(group.rows, reason))
        else:
            merged[list(group.rows)] = answer
    return merged, failures
