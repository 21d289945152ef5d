"""
Which row is for whom: rows that decode, rows into which prompts are read, and free ones that hold what was read.

Rows 0 to `running` - 1 decode together. A prompt is read into any other row, from the longest beginning that some row
holds, and then joins them; where it must move, it is copied. A row that ends leaves a hole, which the last running
row fills. What is about to be overwritten and is held nowhere else moves to the free row that is worth least.

Rules for later editors:

1. Running and reserved rows together never exceed `slots`, so one row at least is always free.
2. Rows are copied here and nowhere else, and the prefix cache is told each time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .graph import DecoderGraph
from .prefix import Found, PrefixCache


@dataclass(slots=True, eq=False)
class Reading:
    """A prompt that is being read."""

    names: tuple[bytes, ...]
    """Its blocks, as the prefix cache calls them."""

    count: int
    """Rows that are reserved for its answers."""

    row: int | None = None
    """The row that it is read into, which may change; None until reading begins."""

    read: int = 0
    """Tokens that have been read."""


class Slots:
    """The rows of one graph."""

    def __init__(self, graph: DecoderGraph, slots: int, cache: PrefixCache) -> None:
        """
        Begin with free rows.

        Args:
            graph: Whose rows they are; it has more than *slots*.

            slots: How many may decode together.

            cache: What the rows hold.

        Raises:
            ValueError: If the graph has no spare row.
        """
        if graph.rows <= slots:
            raise ValueError(f"{slots} slots need a graph with {slots + 1} rows, not {graph.rows}.")
        self.slots = slots
        self.running = 0
        """Rows that decode: the first ones."""
        self.reserved = 0
        """Rows that prompts under way will need."""
        self._graph = graph
        self._cache = cache
        self._readings: dict[int, Reading] = {}
        """Prompts under way by the rows that they are read into."""

    def reserve(self, count: int) -> bool:
        """
        Keep rows for a prompt's answers.

        Args:
            count: How many rows.

        Returns:
            Whether there are so many.
        """
        if self.running + self.reserved + count > self.slots:
            return False
        self.reserved += count
        return True

    def release(self, reading: Reading) -> None:
        """
        Give back what a prompt had that won't be answered.

        Args:
            reading: The prompt.
        """
        self.reserved -= reading.count
        if reading.row is not None:
            del self._readings[reading.row]

    def place(self, reading: Reading) -> tuple[int, int]:
        """
        Find a row to read a prompt into, and take over what some row holds of it.

        Args:
            reading: The prompt; asked again before each chunk, since another one may have been faster.

        Returns:
            The row, and how many tokens needn't be read any more thanks to another row.
        """
        found = self._cache.find(reading.names)
        known = found.blocks * self._cache.block_tokens if found is not None else 0
        row = reading.row
        if row is None:
            row = reading.row = self._choose(found)
            self._readings[row] = reading
            if found is None or found.row != row:
                self._cache.keep(row, 0)
        gained = max(0, known - reading.read)
        if found is not None and gained:
            if found.row == row:
                self._cache.keep(row, found.blocks)
            else:
                self._copy(found.row, row, known)
            reading.read = known
        return row, gained

    def place_together(self, readings: Sequence[Reading]) -> int:
        """
        Find rows to read several short prompts into at once: the next ones to decode.

        Args:
            readings: The prompts, none of them begun, one reserved row each.

        Returns:
            The first one's row; the others' follow.
        """
        targets = range(self.running, self.running + len(readings))
        for row in targets:
            self._make_way(row, targets)
        for row, reading in zip(targets, readings, strict=True):
            self._cache.keep(row, 0)
            self._readings[row] = reading
            reading.row = row
        return self.running

    def advance(self, reading: Reading, tokens: int) -> None:
        """
        Note that a chunk of a prompt was read.

        Args:
            reading: The prompt, which has a row.

            tokens: Length of the chunk.
        """
        reading.read += tokens
        blocks = min(reading.read // self._cache.block_tokens, len(reading.names))
        if reading.row is not None and blocks > self._cache.held(reading.row):
            self._cache.note(reading.row, reading.names[:blocks])

    def start(self, reading: Reading, count: int) -> None:
        """
        Let a prompt's answers decode, in the rows after those that do.

        Args:
            reading: The prompt, read to its end.

            count: How many answers go on; 0 if all ended with their first token.
        """
        source = reading.row
        if source is None:
            raise ValueError("A prompt must be read before its answers decode.")
        targets = range(self.running, self.running + count)
        wanted = [row for row in targets if row != source]
        for row in wanted:
            self._make_way(row, {*targets, source})
        for row in wanted:
            self._copy(source, row, reading.read)
        self.release(reading)
        self.running += count

    def retire(self, row: int, last_length: int) -> None:
        """
        End a running row; the last running row takes its place.

        Args:
            row: The row that ends.

            last_length: Tokens of the last running row.
        """
        last = self.running - 1
        if row != last:
            self._make_way(row, {row, last})
            self._copy(last, row, last_length)
        self.running = last

    def _choose(self, found: Found | None) -> int:
        """Choose the row for a new prompt: its source itself if that loses nothing, else the least valuable."""
        free = self._free()
        if found is not None and found.row in free:
            others = [row for row in free if row != found.row]
            if not others or self._cache.held(found.row) == found.blocks:
                return found.row
            free = others
        return self._cache.least_valuable(free)

    def _free(self) -> list[int]:
        """List the rows that neither decode nor are read into."""
        return [row for row in range(self.running, self._graph.rows) if row not in self._readings]

    def _make_way(self, row: int, taken: Collection[int]) -> None:
        """Save what *row* holds before it is overwritten: always if a prompt is read into it, else if worth it."""
        others = [other for other in self._free() if other not in taken]
        reading = self._readings.get(row)
        if reading is not None:
            target = self._cache.least_valuable(others)
            self._copy(row, target, reading.read)
            del self._readings[row]
            self._readings[target] = reading
            reading.row = target
        elif others:
            target = self._cache.least_valuable(others)
            if self._cache.worth(row) > self._cache.worth(target):
                self._copy(row, target, self._cache.held(row) * self._cache.block_tokens)

    def _copy(self, source: int, target: int, length: int) -> None:
        """Copy a row's beginning."""
        self._cache.keep(target, 0)
        self._graph.copy_row(source, target, length)
        self._cache.copy(source, target, length)
