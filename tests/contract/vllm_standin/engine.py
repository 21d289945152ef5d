"""
What stands for vLLM's engine: answers made from the prompt's bytes alone, and vLLM's rules for everything around them.

Its tokens are the words of a text. Of several answers, each message has one, as vLLM's engine since V1 has it
(``vllm/v1/engine/parallel_sampling.py``).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_MODEL_LEN = 256
NATURAL_TOKENS = 48
STEP_S = 0.002
WORDS = ("ein", "Baum", "steht", "größer", "als", "日本", "und", "🌳", "rauscht", "im", "Wind", "leise")


@dataclass
class SamplingParams:
    """The fields of vLLM's own that the façade sends, with its defaults and its checks."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    max_tokens: int = 16
    min_tokens: int = 0
    logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    structured_outputs: dict[str, Any] | None = None
    lora_name: str | None = None

    def __post_init__(self) -> None:
        """Check a few values as vLLM does."""
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}.")
        if self.temperature < 0.0:
            raise ValueError(f"temperature must be non-negative, got {self.temperature}.")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}.")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")

    @staticmethod
    def from_dict(text: str) -> SamplingParams | None:
        """Read JSON; None for whatever is wrong with it, as the backend's own ``from_dict`` has it."""
        try:
            given = json.loads(text)
            if "structured_outputs" in given:
                given["structured_outputs"] = json.loads(given["structured_outputs"])
            kinds = {one.name: one.type for one in fields(SamplingParams)}
            convert = {"int": int, "float": float, "bool": bool}
            for name, value in given.items():
                if kinds.get(name) in convert:
                    given[name] = convert[str(kinds[name])](value)
            return SamplingParams(**given)
        except Exception:  # noqa: BLE001  # it logs whatever it is, and goes on with None
            return None


@dataclass
class Logprob:
    """One token that was likely."""

    logprob: float
    rank: int
    decoded_token: str


@dataclass
class CompletionOutput:
    """One of the answers so far."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    cumulative_logprob: float
    logprobs: list[dict[int, Logprob]] | None


@dataclass
class RequestOutput:
    """A request's state after a step."""

    prompt: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool


class Engine:
    """Runs requests side by side."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._aborted: set[str] = set()

    async def abort(self, request_id: str) -> None:
        """Stop a request."""
        self._aborted.add(request_id)
        self.running.discard(request_id)

    async def generate(
        self, prompt: str, params: SamplingParams, request_id: str
    ) -> AsyncIterator[RequestOutput]:
        """Yield a request's state after each step, cumulative."""
        prompt_ids = [_token_id(word) for word in prompt.split()]
        if len(prompt_ids) >= MAX_MODEL_LEN:
            raise ValueError(
                f"The decoder prompt (length {len(prompt_ids)}) is longer than the maximum model length of "
                f"{MAX_MODEL_LEN}. Make sure that `max_model_len` is no smaller than the number of text tokens."
            )
        self.running.add(request_id)
        try:
            answers = [_Answer(index, prompt, params, len(prompt_ids)) for index in range(params.n)]
            while unfinished := [answer for answer in answers if answer.finish_reason is None]:
                await asyncio.sleep(STEP_S)
                if request_id in self._aborted:
                    return
                for answer in unfinished:
                    answer.step()
                    finished = all(one.finish_reason for one in answers)
                    yield RequestOutput(prompt, prompt_ids, [answer.output()], finished)
        finally:
            self.running.discard(request_id)
            self._aborted.discard(request_id)


class _Answer:
    def __init__(self, index: int, prompt: str, params: SamplingParams, prompt_tokens: int) -> None:
        self.finish_reason: str | None = None
        self._index = index
        self._params = params
        self._text = ""
        self._ids: list[int] = []
        self._logprobs: list[dict[int, Logprob]] = []
        self._room = min(params.max_tokens, MAX_MODEL_LEN - prompt_tokens)
        seed = "" if params.temperature == 0 else f"{params.seed}/{index}"
        if params.temperature > 0 and params.seed is None:
            seed = str(random.random())
        digest = hashlib.sha256(f"{prompt}|{seed}".encode()).digest()
        self._random = random.Random(digest)
        choice = (params.structured_outputs or {}).get("choice")
        self._forced = re.findall(r"\S+\s*", choice[0]) if choice else None

    def step(self) -> None:
        """Add a token, and see whether it was the last."""
        params = self._params
        at = len(self._ids)
        word = self._forced[at] if self._forced else f" {self._random.choice(WORDS)}"
        self._ids.append(_token_id(word))
        self._text += word
        if params.logprobs is not None:
            likely = {_token_id(word): Logprob(-0.25, 1, word)}
            others = [f" {other}" for other in WORDS if f" {other}" != word]
            for rank, other in enumerate(others[: max(params.logprobs - 1, 0)], 2):
                likely[_token_id(other)] = Logprob(-float(rank), rank, other)
            self._logprobs.append(likely)
        stop = next((text for text in params.stop if text in self._text), None)
        if stop is not None:
            self._text = self._text[: self._text.index(stop)]
            self.finish_reason = "stop"
        elif self._forced and at + 1 == len(self._forced):
            self.finish_reason = "stop"
        elif at + 1 >= self._room:
            self.finish_reason = "length"
        elif at + 1 >= max(NATURAL_TOKENS, params.min_tokens) and not params.ignore_eos:
            self.finish_reason = "stop"

    def output(self) -> CompletionOutput:
        """Give the state, with text held back that could be the beginning of a stop string."""
        text = self._text
        if self.finish_reason is None and self._params.stop:
            text = text[: len(text) - max(map(len, self._params.stop)) + 1] if text else text
        logprobs = self._logprobs if self._params.logprobs is not None else None
        sure = -0.25 * len(self._ids)
        return CompletionOutput(self._index, text, list(self._ids), self.finish_reason, sure, logprobs)


def _token_id(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.strip().encode()).digest()[:3], "little")
