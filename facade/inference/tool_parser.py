"""
Finds calls of tools in the text of an answer while it comes; pure.

What comes before and after calls is text and goes on at once; what may be a call is held back until it is whole, and
what turns out to be none comes back as the text that it is. Rules a later editor must keep:

* How the answer was cut into pieces changes nothing: decisions depend on the text from an answer's start alone.
* Each character is looked at a bounded number of times, whatever a caller makes the model say.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from facade.inference.tools import read_calls

if TYPE_CHECKING:
    from collections.abc import Collection

    from facade.inference.tools import Call, CallFormat

MAX_HELD_CHARACTERS = 64 * 1024
"""Longest call, in characters. From a longer one on, all is text."""

_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')


class ToolParser:
    """
    Finds calls that the model may make.

    Args:
        call_format: How it writes them.

        names: What it may call; a call of anything else is text.
    """

    def __init__(self, call_format: CallFormat, names: Collection[str]) -> None:
        self._format = call_format
        self._names = names
        self._held = ""
        self._may_be_bare = call_format.is_bare
        self._follows_call = False
        self._gave_up = False
        self._block: _Block | None = None

    def feed(self, text: str) -> list[str | Call]:
        """Take the next piece; see `AnswerParser`."""
        if self._gave_up or (text and not self._held and self._is_plain(text)):
            return [text] if text else []
        self._held += text
        return self._advance(is_end=False)

    def finish(self) -> list[str | Call]:
        """Say that nothing follows; see `AnswerParser`."""
        found = [] if self._gave_up else self._advance(is_end=True)
        rest, self._held = self._held, ""
        if rest and not (self._follows_call and not self._strip(rest)):
            found.append(rest)
        return found

    def _is_plain(self, text: str) -> bool:
        """Say quickly that a piece is text and nothing else: most are, and most answers have no calls."""
        is_open = self._block is not None or self._may_be_bare or self._follows_call
        return not (is_open or text[-1].isspace() or self._format.opening[0] in text)

    def _advance(self, *, is_end: bool) -> list[str | Call]:
        found: list[str | Call] = []
        while not self._gave_up:
            if self._block is None and not self._begin_block(found):
                return found
            assert self._block is not None  # noqa: S101  # begun above
            end = self._block.find_end(self._held, is_end=is_end)
            if end is None and not is_end and len(self._held) <= MAX_HELD_CHARACTERS:
                return found
            self._end_block(end, found)
        return found

    def _begin_block(self, found: list[str | Call]) -> bool:
        """Let go of what is certainly text; say whether what may be a call follows."""
        if self._follows_call:
            self._held = self._strip(self._held)
        start = re.match(r"\s*", self._held).end()  # type: ignore[union-attr]  # it always matches
        if start == len(self._held):
            return False
        opening = self._format.opening
        if self._may_be_bare and self._held[start] in "{[" and not self._held.startswith(opening, start):
            if opening.startswith(self._held[start:]):
                return False
            self._block = _Block(start, self._format.closing)
            return True
        at = self._held.find(opening)
        if at < 0:
            keep = self._find_undecided()
            if keep > start:
                # Not white space alone, and not the opening's beginning: the answer has begun, with text.
                self._may_be_bare = self._follows_call = False
            if keep:
                found.append(self._held[:keep])
            self._held = self._held[keep:]
            return False
        before = len(self._held[:at].rstrip())
        if before:
            found.append(self._held[:before])
            self._follows_call = False
            self._held = self._held[before:]
        self._block = _Block(at - before + len(opening), self._format.closing)
        return True

    def _find_undecided(self) -> int:
        """Find where the text's end begins that may be the beginning of an opening, or the space before one."""
        held, opening = self._held, self._format.opening
        length = next(
            (n for n in range(min(len(opening) - 1, len(held)), 0, -1) if held.endswith(opening[:n])), 0
        )
        return len(held[: len(held) - length].rstrip())

    def _end_block(self, end: int | None, found: list[str | Call]) -> None:
        """Make calls of what is held, or text."""
        block, self._block = self._block, None
        assert block is not None  # noqa: S101  # only called with one
        if end is None or end > MAX_HELD_CHARACTERS:
            self._gave_up = True
            found.append(self._held)
            self._held = ""
            return
        calls = block.read_calls(self._held, self._names)
        self._follows_call = self._may_be_bare = bool(calls)
        self._may_be_bare &= self._format.is_bare
        found.extend(calls or [self._held[:end]])
        self._held = self._held[end:]

    def _strip(self, text: str) -> str:
        """Drop what stands between calls."""
        return text.lstrip(string.whitespace + self._format.separators)


class _Block:
    """
    What may be a call: finds its end while it grows.

    Args:
        json_start: Where its JSON starts in the held text, or white space before it.

        closing: What follows its JSON; may be empty.
    """

    def __init__(self, json_start: int, closing: str) -> None:
        self._json_start = json_start
        self._json_end: int | None = None
        self._closing = closing
        self._at = json_start
        self._depth = 0
        self._in_string = False
        self._is_broken = False

    def find_end(self, held: str, *, is_end: bool) -> int | None:
        """Say where the block ends, whether it is a call or not; None if that isn't known yet."""
        if self._json_end is None:
            if self._depth == 0:
                self._at = len(held) - len(held[self._at :].lstrip())
                if self._at < len(held) and held[self._at] not in "{[":
                    self._is_broken = True
                    return self._at
            self._json_end = self._scan(held)
        if self._json_end is None or not self._closing:
            return self._json_end
        rest = held[self._json_end :].lstrip()
        if rest.startswith(self._closing):
            return len(held) - len(rest) + len(self._closing)
        if self._closing.startswith(rest):
            return len(held) if is_end else None
        self._is_broken = True
        return self._json_end

    def read_calls(self, held: str, names: Collection[str]) -> list[Call]:
        """Read the whole block; nothing if it is no call, or not only calls."""
        if self._is_broken or self._json_end is None:
            return []
        return read_calls(held[self._json_start : self._json_end], names)

    def _scan(self, held: str) -> int | None:
        """Go on to where the brackets are balanced."""
        while True:
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(held, self._at)
            if found is None:
                self._at = len(held)
                return None
            mark = found[0]
            if mark == "\\":
                if found.end() == len(held):
                    self._at = found.start()
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if mark == '"':
                self._in_string = not self._in_string
                continue
            self._depth += 1 if mark in "{[" else -1
            if self._depth == 0:
                return self._at
