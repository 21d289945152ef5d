"""The door of an assembled version, run here as Triton will run it: its own tokenizer, grouping, padding and graph."""

import json
from collections.abc import Sequence

import onnxruntime

from export.artifacts import Draft
from export.errors import ParityFailed
from export.parity import shown
from export.runtime.text_encoder.batching import (
    FloatArray,
    Int64Array,
    pad_group,
    plan_groups,
    read_grouping,
    scatter,
)
from export.runtime.text_encoder.tokenizing import Row, TextTokenizer


class LocalDoor:
    """The door of an assembled version, over onnxruntime in this process instead of Triton."""

    def __init__(self, draft: Draft) -> None:
        settings = json.loads((draft.door_folder / "door.json").read_text(encoding="utf-8"))
        self._tokenizer = TextTokenizer(
            draft.door_folder / "tokenizer.json", settings["max_input_tokens"], settings["truncation_side"]
        )
        self._grouping = read_grouping(settings["grouping"])
        self._settings = settings
        if draft.core_folder is None:
            raise ParityFailed("The version has no core, which a text door needs. Report this model.")
        self._session = onnxruntime.InferenceSession(
            str(draft.graph.path), providers=["CPUExecutionProvider"]
        )
        self._check_names()

    def encode(self, texts: Sequence[Row]) -> tuple[FloatArray, list[int]]:
        """
        Answer one merged batch, as the door in Triton does.

        Args:
            texts: The texts, or pairs of them.

        Returns:
            float32 array of shape (texts, width), and the tokens of each text before truncation.
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
            answers.append(self._run(arrays, shown(" + ".join(_parts(texts[group.rows[-1]])))))
        results, failures = scatter(groups, answers, (len(texts), self._settings["width"]))
        for failure in failures.values():
            raise ParityFailed(f"The graph doesn't fit the door: {failure}. Report this model.")
        return results, tokenized.num_input_tokens

    def _run(self, arrays: dict[str, Int64Array], longest: str) -> FloatArray:
        """Run one group, whose longest input is *longest* in words for a message."""
        try:
            answer: FloatArray = self._session.run([self._settings["core_output"]], arrays)[0]
        # onnxruntime has a class of its own for each status code, and RuntimeError for some.
        except Exception as error:
            reason = str(error).splitlines()[0].rpartition("Status Message: ")[2]
            length = arrays["input_ids"].shape[1]
            raise ParityFailed(
                f"The graph fails on {longest} ({length} tokens): {reason}. If that many are too many, set "
                "model_max_length in tokenizer_config.json to what the model can take."
            ) from error
        return answer

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
            raise ParityFailed(f"The graph's outputs are {sorted(outputs)}; the door reads one.")


def _parts(row: Row) -> tuple[str, ...]:
    """Return the texts of a row."""
    return (row,) if isinstance(row, str) else row
