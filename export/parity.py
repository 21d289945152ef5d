"""
Does the exported model answer like the original? Nothing is published before it does.

The folders just assembled are run as Triton will run them (`parity_door`), and the reference is the original in
PyTorch on the same inputs (`parity_texts`). Each task's own comparison gives figures row by row; here they are
judged, and collected into the report. In this order:

1. names: the graph has the inputs the door fills and the output it reads;
2. limits: the door truncates where the original does, and counts as many tokens;
3. shapes, then finite values;
4. the task's own figures, as `tolerances` asks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from export.artifacts import ParityPoint, ParityReport
from export.errors import ParityFailed
from export.tolerances import FIGURES, TOLERANCES, is_within

Float64Array = npt.NDArray[np.float64]

_SHOWN_CHARACTERS = 60


class Comparison:
    """The figures of one version against the original, judged while they come in."""

    def __init__(self, task: str, precision: str, measure: str) -> None:
        self._tolerance = TOLERANCES[task, precision]
        self._measure = measure
        self._points: list[ParityPoint] = []
        self._rows: dict[str, list[Float64Array]] = {name: [] for name in self._tolerance.bounds}
        self._inputs: list[str] = []

    def check_values(
        self,
        label: str,
        inputs: Sequence[str],
        answers: npt.NDArray[np.float32],
        expected: npt.NDArray[np.float32],
    ) -> None:
        """
        Compare shapes, and refuse values that are not finite.

        Args:
            label: What kind of inputs.

            inputs: The inputs, in words for a message.

            answers: The door's, of shape (inputs, width).

            expected: The original's.

        Raises:
            ParityFailed: If the shapes differ or a value is not finite.
        """
        if answers.shape != expected.shape:
            raise ParityFailed(
                f"The answers have shape {answers.shape} and the original's {expected.shape}. Report this model."
            )
        is_finite = np.isfinite(answers).all(axis=1)
        if not is_finite.all():
            worst = shown(inputs[int(np.argmin(is_finite))])
            raise ParityFailed(f"The answer to {worst} ({label}) holds values that are not finite.")

    def add(
        self, label: str, inputs: Sequence[str], max_tokens: int, figures: Mapping[str, Float64Array]
    ) -> None:
        """
        Judge one batch, and keep its figures.

        Args:
            label: What kind of inputs.

            inputs: The inputs, in words for a message.

            max_tokens: Tokens of the longest, before truncation; 0 for images.

            figures: By name, what the table asks for: float64 array of shape (inputs,).

        Raises:
            ParityFailed: If one of them isn't within the tolerance.
        """
        worst: dict[str, float] = {}
        for name, bound in self._tolerance.bounds.items():
            rows = figures[name]
            self._rows[name].append(rows)
            worst[name] = _reduce(name, rows)
            if not name.startswith("mean_") and not is_within(name, worst[name], bound):
                raise ParityFailed(
                    f"{_tell(name, worst[name], bound)} The worst input is {shown(inputs[_worst_row(name, rows)])} "
                    f"(in batch '{label}' of {len(inputs)}, longest {max_tokens} tokens)."
                )
        self._inputs.extend(inputs)
        self._points.append(ParityPoint(label, len(inputs), max_tokens, worst))

    def report(self) -> ParityReport:
        """
        Judge what counts over all inputs, and sum up.

        Returns:
            The report of a version that passed.

        Raises:
            ParityFailed: If a mean isn't within the tolerance.
        """
        figures: dict[str, float] = {}
        for name, bound in self._tolerance.bounds.items():
            rows = np.concatenate(self._rows[name])
            figures[name] = _reduce(name, rows)
            if not is_within(name, figures[name], bound):
                worst = shown(self._inputs[_worst_row(name, rows)])
                raise ParityFailed(f"{_tell(name, figures[name], bound)} The worst input is {worst}.")
        return ParityReport(self._measure, tuple(self._points), figures, dict(self._tolerance.bounds))


def shown(text: str) -> str:
    """
    Quote a text for a message.

    Args:
        text: The text.

    Returns:
        It in quotes, its end cut off if it is long.
    """
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


def _reduce(name: str, rows: Float64Array) -> float:
    """Sum a figure's rows up to the one number that is judged."""
    if name.startswith("mean_"):
        return float(rows.mean())
    return float(rows.max() if name.startswith("max_") else rows.min())


def _worst_row(name: str, rows: Float64Array) -> int:
    """Find the row that is furthest off."""
    return int(np.argmax(rows) if name.startswith("max_") else np.argmin(rows))


def _tell(name: str, value: float, bound: float) -> str:
    """Say in a sentence which bound was missed and by how much."""
    kind, side = name.split("_", 1)[0], "most" if name.startswith("max_") else "least"
    kinds = {"min": "lowest", "max": "highest", "mean": "mean"}
    return f"The {kinds[kind]} {FIGURES[name]} is {value:.6g} and must be at {side} {bound:g}."
