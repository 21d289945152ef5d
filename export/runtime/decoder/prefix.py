"""
What the rows hold: which beginnings of prompts need not be read again.

A prompt is cut into blocks of one prefill chunk each, and each block is named by a hash of itself and all before it.
A row that has read a block holds its keys and values until the row is written anew, whether it decodes, waits or is
free. Only whole blocks count, and a prompt is always cut at the same places: what is found here was computed by the
very calls that would compute it now, so an answer is the same, bit for bit, with and without it.

Rule for later editors: a block is noted after it was written and forgotten before it is overwritten.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

DIGEST_BYTES = 16
"""Length of a block's name: 2^64 blocks before two are likely to share one."""


class Found(NamedTuple):
    """Where the longest known beginning of a prompt is."""

    row: int
    """The row that holds it."""

    blocks: int
    """How many blocks of it."""


class PrefixCache:
    """Which blocks each row holds, and which of them matter most."""

    def __init__(self, rows: int, block_tokens: int) -> None:
        """
        Begin with empty rows.

        Args:
            rows: How many there are.

            block_tokens: Tokens of a block.
        """
        self.block_tokens = block_tokens
        self._blocks: list[tuple[bytes, ...]] = [()] * rows
        self._holders: dict[bytes, set[int]] = {}
        self._used_at = [0] * rows
        self._clock = 0

    def name_blocks(self, prompt_ids: Sequence[int]) -> tuple[bytes, ...]:
        """
        Name the blocks of a prompt that can be shared.

        Args:
            prompt_ids: The prompt.

        Returns:
            A name for each whole block; the prompt's last token is never within one, since it must be read for the
            first token of the answer.
        """
        ids = np.asarray(prompt_ids, dtype=np.int64)
        names: list[bytes] = []
        name = b""
        for end in range(self.block_tokens, len(prompt_ids), self.block_tokens):
            block = ids[end - self.block_tokens : end].tobytes()
            name = hashlib.blake2b(name + block, digest_size=DIGEST_BYTES).digest()
            names.append(name)
        return tuple(names)

    def find(self, names: Sequence[bytes]) -> Found | None:
        """
        Find the row that holds most of a prompt's beginning.

        Args:
            names: The prompt's blocks.

        Returns:
            One such row; all of them are now the most recently used ones. None if no row holds the first block.
        """
        found = None
        for count, name in enumerate(names, start=1):
            holders = self._holders.get(name)
            if not holders:
                break
            # A row that holds nothing else is best: it may be gone on with where it is.
            row = min(holders, key=lambda holder: (len(self._blocks[holder]), holder))
            found = Found(row, count)
        if found is not None:
            # All of them: whichever is the last to hold it must not count as long unused.
            for holder in self._holders[names[found.blocks - 1]]:
                self.touch(holder)
        return found

    def known_tokens(self, names: Sequence[bytes]) -> int:
        """
        Count the tokens of a prompt's beginning that some row holds.

        Args:
            names: The prompt's blocks.

        Returns:
            Tokens, in whole blocks.
        """
        count = 0
        while count < len(names) and names[count] in self._holders:
            count += 1
        return count * self.block_tokens

    def held(self, row: int) -> int:
        """Count the blocks that a row holds."""
        return len(self._blocks[row])

    def note(self, row: int, names: Sequence[bytes]) -> None:
        """
        Note what a row holds now, and forget what it held before.

        Args:
            row: The row.

            names: Its blocks from the beginning on.
        """
        for name in self._blocks[row]:
            holders = self._holders[name]
            holders.discard(row)
            if not holders:
                del self._holders[name]
        self._blocks[row] = tuple(names)
        for name in names:
            self._holders.setdefault(name, set()).add(row)
        self.touch(row)

    def keep(self, row: int, blocks: int) -> None:
        """
        Forget all but a row's first blocks, since the rest is about to be overwritten.

        Args:
            row: The row.

            blocks: How many stay.
        """
        if blocks < self.held(row):
            self.note(row, self._blocks[row][:blocks])

    def copy(self, source: int, target: int, length: int) -> None:
        """
        Note that a row became a copy of another's beginning.

        Args:
            source: The row that was read.

            target: The row that was written.

            length: How many tokens were copied.
        """
        used_at = self._used_at[source]
        self.note(target, self._blocks[source][: length // self.block_tokens])
        self._used_at[target] = used_at

    def touch(self, row: int) -> None:
        """Make a row the most recently used one."""
        self._clock += 1
        self._used_at[row] = self._clock

    def is_unique(self, row: int) -> bool:
        """Tell whether a row holds a block that no other row holds."""
        blocks = self._blocks[row]
        # A name stands for all blocks before it: who holds the last one holds them all.
        return bool(blocks) and len(self._holders[blocks[-1]]) == 1

    def least_valuable(self, rows: Collection[int]) -> int:
        """
        Choose the row whose content would be missed least.

        Args:
            rows: The rows to choose from, at least one.

        Returns:
            One that holds nothing of its own if there is one, else the one that was used longest ago.
        """
        return min(rows, key=lambda row: (self.worth(row), row))

    def worth(self, row: int) -> int:
        """Tell what a row's content is worth: 0 if nothing would be missed, else more the later it was used."""
        return self._used_at[row] if self.is_unique(row) else 0
