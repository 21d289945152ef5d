"""
The decoder of an assembled version in this process instead of Triton: the runtime's own tokenizer, engine and graph.

`write` goes the way of a request; `read` is what no request can ask for, a given text token by token.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.errors import ParityFailed
from export.runtime.decoder.choices import Choice
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.engine import Engine, EngineLimits, Request
from export.runtime.decoder.graph import OnnxGraph, read_graph_settings
from export.runtime.decoder.parameters import Parameters
from export.runtime.decoder.sampling import Sampler

SLOTS = 5
"""Rows that decode together here: fewer than there are prompts, so that rows are freed and taken again."""


class WrittenText(NamedTuple):
    """What the decoder wrote after one prompt."""

    token_ids: list[int]
    """The tokens, the one that ended it included."""

    text: str
    """Its text, as callers get it."""


class LocalDecoder:
    """The decoder of an assembled version."""

    def __init__(self, folder: Path) -> None:
        """
        Read a version's folder.

        Args:
            folder: The folder, with `decoder.json`, the tokenizer and the graph.
        """
        self._folder = folder
        # Fewer rows than in Triton: nobody waits here, and the memory is needed for the original as well.
        found = json.loads((folder / "decoder.json").read_text(encoding="utf-8"))
        self._settings = found | {"slots": min(SLOTS, found["slots"])}
        self.max_model_len: int = found["max_model_len"]
        """Prompt and answer of one row, in tokens."""
        self.eos_token_ids: tuple[int, ...] = tuple(found["eos_token_ids"])
        """Tokens that end an answer."""
        self.vocabulary = Vocabulary(folder / "tokenizer.json", found["bos_token_id"])
        """The tokenizer."""

    def write(self, prompts: Sequence[list[int]], count: int) -> list[WrittenText]:
        """
        Write after several prompts at once, always the likeliest token.

        Args:
            prompts: Token ids of each.

            count: Tokens at most.

        Returns:
            What was written after each.

        Raises:
            ParityFailed: If the decoder gives an error instead.
        """
        limits = EngineLimits(
            slots=self._settings["slots"],
            prefill_chunk=self._settings["prefill_chunk"],
            max_queued=len(prompts),
        )
        engine = Engine(self._load_graph(), Sampler(self._settings["vocab_size"]), limits)
        parameters = Parameters(temperature=0.0, max_tokens=count)
        choices = []
        for place, prompt in enumerate(prompts):
            choice = Choice(
                place,
                0,
                parameters,
                prompt,
                vocabulary=self.vocabulary,
                eos_token_ids=self.eos_token_ids,
            )
            choices.append(choice)
            engine.submit(Request(place, prompt, parameters, [choice]))
        texts = ["" for _ in prompts]
        while engine.has_work:
            for event in engine.step():
                if event.delta is None:
                    raise ParityFailed(
                        f"The decoder can't answer a prompt of {len(prompts[event.request_id])} tokens: {event.error}. "
                        "Report this model."
                    )
                texts[event.request_id] += event.delta.text
        return [WrittenText(choice.token_ids, text) for choice, text in zip(choices, texts, strict=True)]

    def read(self, rows: Sequence[Sequence[int]], start: int) -> list[npt.NDArray[np.float32]]:
        """
        Feed given tokens to several rows at once, and tell what the decoder expects next.

        Args:
            rows: Token ids of each row, all of the same number; at most as many rows as there are slots.

            start: How many tokens are read at once, as a prompt; the others come one by one.

        Returns:
            For each row the logits from the prompt's last token on, but for the row's last token: float32 array of
            shape (tokens - start, vocab_size).
        """
        graph = self._load_graph()
        seen = [[graph.prefill(place, 0, row[:start])[0].copy()] for place, row in enumerate(rows)]
        for position in range(start, len(rows[0]) - 1):
            logits = graph.decode([row[position] for row in rows], [position] * len(rows))
            for place, row_logits in enumerate(logits.copy()):
                seen[place].append(row_logits)
        return [np.stack(logits) for logits in seen]

    def _load_graph(self) -> OnnxGraph:
        settings = read_graph_settings(self._settings)
        return OnnxGraph(self._folder / self._settings["graph"], settings)
