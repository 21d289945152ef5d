"""
Does the exported model answer like the original? Nothing is published before it does.

The folders just assembled are run as Triton will run them: the door's own tokenizer file, grouping and padding, and
the core's graph in onnxruntime. The reference is sentence-transformers in PyTorch on the same texts. In this order:

1. names: the graph has the inputs the door fills and the output it reads;
2. limits: the door truncates where the original does, and counts as many tokens;
3. shapes, then finite values;
4. the task's own measure, text by text: the cosine of the two vectors, and the ratio of their lengths (which a
   cosine can't see).

Rule for later editors: tolerances are in `TOLERANCES` with their reasons; no option loosens them.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime
from sentence_transformers import SentenceTransformer

from export.artifacts import Draft, ParityPoint, ParityReport, SourceModel
from export.errors import ParityFailed
from export.original import load_original, quiet
from export.runtime.text_encoder.batching import FloatArray, pad_group, plan_groups, read_grouping, scatter
from export.runtime.text_encoder.tokenizing import TextTokenizer

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """How far an exported embedding may be from the original's."""

    min_cosine: float
    """Lowest cosine of a text's two vectors."""

    max_norm_difference: float
    """Largest relative difference of their lengths."""

    reason: str
    """Why these numbers."""


TOLERANCES = {
    "fp32": Tolerance(
        min_cosine=0.9999,
        max_norm_difference=1e-3,
        reason=(
            "Same weights, same number format; only the order of additions differs, which leaves about 1e-6. "
            "A wrong pooling, mask or truncation costs 1e-2 and more."
        ),
    ),
}
"""The tolerance of each precision."""

BATCHES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("one word", (1,)),
    ("one sentence", (12,)),
    ("pair", (3, 40)),
    ("equal lengths", (16,) * 8),
    ("mixed lengths", (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)),
    ("many mixed", tuple(1 + (7 * place) % 60 for place in range(32))),
)
"""Batches of random texts, by the number of words of each; over-long ones are added from the model's limit."""

SPECIAL_TEXTS = (
    "",
    " ",
    "  Leading, trailing and\tdouble  spaces \n",
    "ÀÉÎÕÜ straße ŒUVRE ﬁne i̇stanbul",
    "机器学习模型 の 埋め込み 한국어",
    "Привет, мир! שלום עולם مرحبا",
    "emoji 👩‍👩‍👧‍👦 flag 🇪🇺 rocket 🚀",
    "control \x00 and \u200b zero-width, non-breaking\u00a0space",
    "[CLS] [SEP] [MASK] <s> </s>",
    "x" * 3000,
    "1234567890 3.14e-7 https://example.org/a?b=c&d=%20",
)
"""Texts on which tokenizers differ when something is set up wrongly."""

_SEED = 20_240_917
_SHOWN_CHARACTERS = 60


def check_parity(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled version with the original.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityFailed: If one of them isn't, naming the worst text.
    """
    tolerance = TOLERANCES[precision]
    door = LocalDoor(draft)
    original = load_original(source)
    if original.max_seq_length != source.max_input_tokens:
        raise ParityFailed(
            f"The original truncates at {original.max_seq_length} tokens, its files say {source.max_input_tokens}. "
            "Set max_seq_length in sentence_bert_config.json to the right one."
        )
    points: list[ParityPoint] = []
    worst_norm = 0.0
    for label, texts in make_batches(original, source.max_input_tokens):
        point, norm_difference = compare_batch(label, texts, door, original, tolerance)
        points.append(point)
        worst_norm = max(worst_norm, norm_difference)
    return ParityReport(
        points=tuple(points),
        min_cosine=min(point.min_cosine for point in points),
        max_norm_difference=worst_norm,
        required_min_cosine=tolerance.min_cosine,
    )


class LocalDoor:
    """The door of an assembled version, over onnxruntime in this process instead of Triton."""

    def __init__(self, draft: Draft) -> None:
        settings = json.loads((draft.door_folder / "door.json").read_text(encoding="utf-8"))
        self._tokenizer = TextTokenizer(draft.door_folder / "tokenizer.json", settings["max_input_tokens"])
        self._grouping = read_grouping(settings["grouping"])
        self._settings = settings
        self._session = onnxruntime.InferenceSession(
            str(draft.core_folder / draft.graph.path.name), providers=["CPUExecutionProvider"]
        )
        self._check_names()

    def encode(self, texts: Sequence[str]) -> tuple[FloatArray, list[int]]:
        """
        Answer one merged batch, as the door in Triton does.

        Args:
            texts: The texts.

        Returns:
            float32 array of shape (texts, dimension), and the tokens of each text before truncation.
        """
        tokenized = self._tokenizer.tokenize(texts)
        lengths = [len(ids) for ids in tokenized.ids]
        groups = plan_groups(lengths, self._grouping, self._settings["max_batch_size"])
        answers: list[FloatArray] = []
        for group in groups:
            input_ids, attention_mask = pad_group(tokenized.ids, group, self._settings["pad_id"])
            arrays = {"input_ids": input_ids, "attention_mask": attention_mask}
            if "token_type_ids" in self._settings["core_inputs"]:
                arrays["token_type_ids"], _ = pad_group(tokenized.type_ids, group, 0)
            answers.extend(self._session.run([self._settings["core_output"]], arrays))
        vectors, failures = scatter(groups, answers, (len(texts), self._settings["dimension"]))
        for failure in failures.values():
            raise ParityFailed(f"The graph doesn't fit the door: {failure}. Report this model.")
        return vectors, tokenized.num_input_tokens

    def _check_names(self) -> None:
        """Compare the graph's inputs and outputs with what the door fills and reads."""
        inputs = {graph_input.name for graph_input in self._session.get_inputs()}
        outputs = {output.name for output in self._session.get_outputs()}
        fillable = {"input_ids", "attention_mask", "token_type_ids"}
        if not inputs <= fillable or not {"input_ids", "attention_mask"} <= inputs:
            raise ParityFailed(
                f"The graph's inputs are {sorted(inputs)}; the door can fill {sorted(fillable)}."
            )
        if outputs != {self._settings["core_output"]}:
            raise ParityFailed(f"The graph's outputs are {sorted(outputs)}, not one sentence embedding.")


def make_batches(original: SentenceTransformer, max_input_tokens: int) -> list[tuple[str, list[str]]]:
    """
    Make the texts to compare, the same ones each time.

    Args:
        original: The original, whose vocabulary gives the words.

        max_input_tokens: Tokens after which it truncates.

    Returns:
        Batches with their labels.
    """
    vocabulary = original.tokenizer.get_vocab()
    special = set(original.tokenizer.all_special_tokens)
    stripped = {token.lstrip("#▁Ġ") for token in vocabulary if token not in special}
    words = sorted(token for token in stripped if token.isalpha()) or ["word"]
    chooser = random.Random(_SEED)  # noqa: S311 - reproducible texts, no secret

    def text_of(word_count: int) -> str:
        return " ".join(chooser.choices(words, k=word_count))

    batches = [(label, [text_of(count) for count in counts]) for label, counts in BATCHES]
    at_limit = [max_input_tokens - 3, max_input_tokens - 2, max_input_tokens - 1, max_input_tokens]
    beyond = [max_input_tokens + 1, 2 * max_input_tokens, 3]
    batches.append(("around the limit", [text_of(max(1, count)) for count in at_limit]))
    batches.append(("over-long and short", [text_of(count) for count in beyond]))
    batches.append(("special texts", list(SPECIAL_TEXTS)))
    batches.append(("over-long alone", [text_of(3 * max_input_tokens)]))
    return batches


def compare_batch(
    label: str, texts: list[str], door: LocalDoor, original: SentenceTransformer, tolerance: Tolerance
) -> tuple[ParityPoint, float]:
    """
    Compare one batch.

    Args:
        label: What kind of texts.

        texts: The texts.

        door: The assembled version.

        original: The reference.

        tolerance: How far apart they may be.

    Returns:
        The point's figures, and the largest relative difference of two vectors' lengths.

    Raises:
        ParityFailed: If they are further apart.
    """
    vectors, counts = door.encode(texts)
    with quiet():
        expected = np.asarray(original.encode(texts, batch_size=len(texts), show_progress_bar=False))
        # verbose=False: a text beyond the limit is what this asks for, not worth a warning.
        expected_ids = original.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
    for text, count, ids in zip(texts, counts, expected_ids, strict=True):
        if count != len(ids):
            raise ParityFailed(
                f"The door counts {count} tokens and the original {len(ids)} in {_shown(text)}."
            )
    if vectors.shape != expected.shape:
        raise ParityFailed(f"The vectors have shape {vectors.shape} and the original's {expected.shape}.")
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise ParityFailed(f"The vector of {_shown(texts[row])} ({label}) holds values that are not finite.")
    cosines, norm_differences = measure(vectors.astype(np.float64), expected.astype(np.float64))
    row = int(np.argmin(cosines))
    if cosines[row] < tolerance.min_cosine:
        raise ParityFailed(
            f"Cosine {cosines[row]:.6f} to the original, {tolerance.min_cosine} required; the worst text is "
            f"{_shown(texts[row])} ({counts[row]} tokens, in batch '{label}' of {len(texts)})."
        )
    row = int(np.argmax(norm_differences))
    if norm_differences[row] > tolerance.max_norm_difference:
        raise ParityFailed(
            f"The vector's length is off by {norm_differences[row]:.2%}, {tolerance.max_norm_difference:.2%} allowed; "
            f"the worst text is {_shown(texts[row])} (in batch '{label}' of {len(texts)})."
        )
    point = ParityPoint(label, len(texts), max(counts), min_cosine=float(cosines.min()))
    return point, float(norm_differences.max())


def measure(vectors: Float64Array, expected: Float64Array) -> tuple[Float64Array, Float64Array]:
    """
    Compare vectors row by row.

    Args:
        vectors: float64 array of shape (rows, dimension).

        expected: The same of the original.

    Returns:
        Two float64 arrays of shape (rows,): cosines, at most 1, and relative differences of the lengths. A zero
        vector counts as equal to a zero vector only.
    """
    norms, expected_norms = np.linalg.norm(vectors, axis=1), np.linalg.norm(expected, axis=1)
    both_zero = (norms == 0) & (expected_norms == 0)
    products = np.where(both_zero, 1.0, norms * expected_norms)
    dots = np.where(both_zero, 1.0, (vectors * expected).sum(axis=1))
    cosines = np.divide(dots, products, out=np.zeros_like(dots), where=products > 0)
    larger = np.maximum(np.maximum(norms, expected_norms), np.finfo(np.float64).tiny)
    return np.minimum(cosines, 1.0), np.abs(norms - expected_norms) / larger


def _shown(text: str) -> str:
    """Quote a text for a message, its end cut off if it is long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
