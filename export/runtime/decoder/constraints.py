"""
Answers of a given form: JSON schema, regex, choice and grammar, by way of llguidance.

A constraint is compiled once, in the thread that admits its request and never in the engine's: a large schema takes
half a second. Compiled ones are kept, and each answer gets a copy. In the engine a step costs a mask of the tokens
that may come, about 0.1 ms, which llguidance's own limits on work bound for the worst grammar.

Rule for later editors: the engine's thread sees `RowRefused` and nothing else of what can go wrong in here.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from .parameters import Constraint
from .sampling import RowRefused
from .values import InvalidParameter

FIELD = "structured_outputs"

KEPT_CONSTRAINTS = 128
"""Compiled constraints that are kept. One of a usual schema takes some 100 kB."""

MAX_REASON_CHARACTERS = 300
"""Longest part of the parser's own words that a message repeats."""

WHITESPACE = r"[ \t\r\n]{1,40}"
"""Whitespace that JSON may have between two tokens: enough to be indented. Without a bound a small model that
likes spaces writes nothing else."""


class ConstraintState:
    """How far one answer is in its constraint; owned by the engine's thread."""

    __slots__ = ("_mask", "_matcher", "_vocab_size")

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._mask = allocate_token_bitmask(1, vocab_size)

    @property
    def is_finished(self) -> bool:
        """Whether the form is complete and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def allowed_tokens(self) -> npt.NDArray[np.bool_]:
        """
        Tell which tokens may come next.

        Returns:
            Array of shape (vocab_size,).

        Raises:
            RowRefused: If the constraint is beyond llguidance's limits in this state.
        """
        fill_next_token_bitmask(self._matcher, self._mask)
        self._check()
        bits = np.unpackbits(self._mask.view(np.uint8)[0], count=self._vocab_size, bitorder="little")
        return bits.astype(np.bool_)

    def accept(self, token_id: int) -> None:
        """
        Go on by the token that was chosen.

        Args:
            token_id: One of the allowed tokens.

        Raises:
            RowRefused: If it was not allowed.
        """
        self._matcher.consume_token(token_id)
        self._check()

    def fork(self) -> "ConstraintState":
        """Copy the state for another answer."""
        return ConstraintState(self._matcher.deep_copy(), self._vocab_size)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RowRefused(f"'{FIELD}' has a form that failed: {_shorten(self._matcher.get_error())}")


class ConstraintCompiler:
    """Compiles the constraints of one model's callers, and keeps the latest; several threads may ask at once."""

    def __init__(self, tokenizer_file: Path, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        self._vocab_size = vocab_size
        self._kept: OrderedDict[Constraint, ConstraintState] = OrderedDict()
        self._lock = threading.Lock()
        self._limits = LLParserLimits(verbose_errors=False)
        self._tokenizer: LLTokenizer | None = None
        self._unsupported = ""
        try:
            self._tokenizer = LLTokenizer(
                tokenizer_file.read_text(encoding="utf-8"), n_vocab=vocab_size, eos_token=list(eos_token_ids)
            )
        except Exception as error:  # noqa: BLE001 - its bindings raise what they like; the model serves without it
            self._unsupported = _shorten(str(error))

    def compile(self, constraint: Constraint) -> ConstraintState:
        """
        Compile a constraint, or find it compiled.

        Args:
            constraint: What a caller asked for.

        Returns:
            A state of its own, at its beginning.

        Raises:
            InvalidParameter: If it can't be used; with the parser's own words.
        """
        with self._lock:
            kept = self._kept.get(constraint)
            if kept is not None:
                self._kept.move_to_end(constraint)
                return kept.fork()
        compiled = self._compile(constraint)
        with self._lock:
            self._kept[constraint] = compiled
            if len(self._kept) > KEPT_CONSTRAINTS:
                self._kept.popitem(last=False)
            return compiled.fork()

    def _compile(self, constraint: Constraint) -> ConstraintState:
        if self._tokenizer is None:
            raise InvalidParameter(
                FIELD,
                f"can't be used with this model, whose tokenizer is not supported: {self._unsupported}.",
            )
        try:
            grammar = _to_grammar(constraint)
        except ValueError as error:  # a schema nested more deeply than its parser goes
            raise InvalidParameter(FIELD, f"has an unusable {constraint.kind}: {error}.") from error
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        reason = matcher.get_error() if matcher.is_error() else ""
        if not reason:
            # Some constraints show only now that no text fits them, or that they are too large.
            state = ConstraintState(matcher, self._vocab_size)
            try:
                if state.allowed_tokens().any():
                    return state
                reason = "no text fits it"
            except RowRefused:
                reason = f"no text fits it, or it is too complex ({_shorten(matcher.get_error())})"
        raise InvalidParameter(FIELD, f"has an unusable {constraint.kind}: {_shorten(reason)}.")


def _to_grammar(constraint: Constraint) -> str:
    """Say a constraint as llguidance's grammar; most faults in it show when the grammar is compiled."""
    if constraint.kind == "regex":
        return LLMatcher.grammar_from_regex(constraint.value)
    if constraint.kind == "grammar":
        return LLMatcher.grammar_from_lark(constraint.value)
    if constraint.kind == "choice":
        # Lark's string literals are JSON's. As one terminal they become an automaton: as alternatives of a rule, more
        # than 2,000 of them would be beyond the parser's limits, which shows only when an answer is under way.
        literals = (json.dumps(text, ensure_ascii=False) for text in json.loads(constraint.value))
        return LLMatcher.grammar_from_lark("start: CHOICE\nCHOICE: " + " | ".join(literals))
    schema = '{"type": "object"}' if constraint.kind == "json_object" else constraint.value
    return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": WHITESPACE})


def _shorten(reason: str) -> str:
    """Take the first lines of the parser's words, as one line."""
    line = " ".join(reason.split("<state>", maxsplit=1)[0].split()).rstrip(".")
    return line if len(line) <= MAX_REASON_CHARACTERS else f"{line[:MAX_REASON_CHARACTERS]}…"
