"""
Whose prompt is read next: the order among those that have slots, and how much is read before running rows go on.

Running rows get their next token after a turn of reading, which is one chunk at most: of one prompt, or of several
short ones. The prompt with the least left goes first, so that a short one does not wait for a long one; the oldest is
passed over a few times only, so that a long one is not starved by short ones. Prompts that are short and of about the
same length are read in one call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .choices import Choice
from .slots import Reading

MAX_PASSED = 3
"""Calls for other prompts that the oldest one lets pass: it gets every fourth at least."""

CALL_TOKENS = 16
"""
What a call counts in a turn at least, in tokens: reading all weights takes about as long as 16 tokens' arithmetic, on
two cores for a model of 100 million parameters in fp32.
"""

MAX_PADDING = 2
"""Prompts are read together if none is more than so many times as long as another: the rest would be padding."""


@dataclass(slots=True, eq=False)
class Prompt:
    """A request whose prompt is being read."""

    request_id: int
    """Whose prompt."""

    prompt_ids: Sequence[int]
    """Token ids, at least one."""

    choices: Sequence[Choice]
    """The answers that wait for it."""

    reading: Reading
    """Where it is read to, and how far."""

    known: int = 0
    """Tokens that some row holds, so that they needn't be read."""

    passed: int = 0
    """Calls for others since its own last one, while it was the oldest."""

    is_counted: bool = False
    """Whether its tokens are in the engine's counters."""

    @property
    def left(self) -> int:
        """Tokens that remain to be read."""
        return len(self.prompt_ids) - max(self.reading.read, self.known)

    @property
    def is_short(self) -> bool:
        """Whether it is less than a block, not begun, and asks for one answer."""
        return self.reading.row is None and self.reading.count == 1 and not self.reading.names


class Prompts:
    """The prompts that are being read, in the order in which they got their slots."""

    def __init__(self, chunk_tokens: int) -> None:
        """
        Begin with none.

        Args:
            chunk_tokens: Most tokens of a call, and of a turn.
        """
        self._chunk = chunk_tokens
        self._prompts: dict[int, Prompt] = {}
        self._left = chunk_tokens
        """Tokens that may be read before running rows go on."""

    def __len__(self) -> int:
        return len(self._prompts)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._prompts

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts.values())

    def add(self, prompt: Prompt) -> None:
        """Take a prompt that got its slots."""
        self._prompts[prompt.request_id] = prompt

    def pop(self, request_id: int) -> Prompt | None:
        """Let go of a prompt that was read to its end or given up; None if there is none of that request."""
        return self._prompts.pop(request_id, None)

    def choose(self, *, rows_wait: bool) -> list[Prompt]:
        """
        Choose what the next call reads.

        Args:
            rows_wait: Whether there are running rows, which wait meanwhile.

        Returns:
            One prompt, of which a chunk is read; or several that are read whole; or none if it is the rows' turn.
        """
        if not self._prompts:
            return []
        oldest = next(iter(self._prompts.values()))
        first = oldest
        if oldest.passed < MAX_PASSED:
            first = min(self._prompts.values(), key=lambda prompt: prompt.left)
        budget = self._left if rows_wait else self._chunk
        if max(min(self._chunk, first.left), min(CALL_TOKENS, self._chunk)) > budget:
            return []
        group = self._gather(first, budget)
        oldest.passed = 0 if first is oldest else oldest.passed + 1
        return group

    def spend(self, tokens: int) -> None:
        """Count tokens of a call, padding included, to the turn."""
        self._left -= max(tokens, CALL_TOKENS)

    def end_turn(self) -> None:
        """Begin a new turn, since the running rows went on."""
        self._left = self._chunk

    def _gather(self, first: Prompt, budget: int) -> list[Prompt]:
        """Gather what can be read in one call with a prompt, within a budget in tokens."""
        group = [first]
        if not first.is_short:
            return group
        longest = MAX_PADDING * max(first.left, CALL_TOKENS // 2)
        others = [it for it in self._prompts.values() if it is not first and it.is_short]
        for other in sorted(others, key=lambda it: it.left):
            if first.left <= other.left <= longest and (len(group) + 1) * other.left <= budget:
                group.append(other)
        return group
