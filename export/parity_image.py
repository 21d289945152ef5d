"""
Parity of image classifiers: the pixels that the door makes, and the scores of the whole door.

The reference gets the same picture as transformers' pipelines give it to the model: decoded, upright, in RGB.
"""

import io
import json

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image, ImageOps

from export.artifacts import Draft, ParityReport, SourceModel
from export.errors import ParityFailed
from export.original import asking
from export.original_image import load_image_original
from export.parity import Comparison, Float64Array
from export.runtime.image_encoder.images import decode, read_preprocessing, to_pixels

FloatArray = npt.NDArray[np.float32]

SIZES = ((32, 32), (640, 480), (480, 640), (17, 301), (1280, 720), (224, 224), (3, 2), (511, 513))
"""Widths and heights of the pictures: smaller and larger than any window, wide, tall, odd."""

BATCHES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("small", (0,)),
    ("landscape", (1,)),
    ("wide and tall", (2, 3)),
    ("mixed sizes", (0, 1, 2, 3, 4, 5, 6, 7)),
    ("many", tuple(place % len(SIZES) for place in range(19))),
)
"""Batches of pictures, by the place of each one's size in `SIZES`."""

_SEED = 20_240_917


def compare_images(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled version with transformers.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ModelUnreadable: If the original fails by itself.

        ParityFailed: If one of them isn't, naming the worst picture.
    """
    model, processor = load_image_original(source)
    door = LocalImageDoor(draft)
    comparison = Comparison("image-classification", precision, "top1")
    for label, files in make_batches():
        names = [name for name, _ in files]
        pixels, scores = door.classify([raw for _, raw in files])
        pictures = [ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).convert("RGB") for _, raw in files]
        with asking(source), torch.no_grad():
            expected_pixels = np.stack(
                [processor(one, return_tensors="np")["pixel_values"][0] for one in pictures]
            )
            logits = model(pixel_values=torch.from_numpy(expected_pixels)).logits
            is_multi_label = model.config.problem_type == "multi_label_classification"
            expected = (torch.sigmoid(logits) if is_multi_label else torch.softmax(logits, dim=1)).numpy()
        comparison.check_values(label, names, scores, expected)
        figures = measure(pixels, expected_pixels, scores, expected)
        comparison.add(label, names, 0, figures)
    return comparison.report()


class LocalImageDoor:
    """The door of an assembled version, over onnxruntime in this process instead of Triton."""

    def __init__(self, draft: Draft) -> None:
        self._settings = json.loads((draft.door_folder / "door.json").read_text(encoding="utf-8"))
        self._preprocessing = read_preprocessing(self._settings["preprocessing"])
        if draft.core_folder is None:
            raise ParityFailed("The version has no core, which an image door needs. Report this model.")
        self._session = onnxruntime.InferenceSession(
            str(draft.graph.path), providers=["CPUExecutionProvider"]
        )
        inputs = [graph_input.name for graph_input in self._session.get_inputs()]
        outputs = [output.name for output in self._session.get_outputs()]
        if inputs != self._settings["core_inputs"] or outputs != [self._settings["core_output"]]:
            raise ParityFailed(
                f"The graph takes {inputs} and gives {outputs}, which isn't what the door expects."
            )

    def classify(self, files: list[bytes]) -> tuple[FloatArray, FloatArray]:
        """
        Answer one merged batch, as the door in Triton does.

        Args:
            files: The images' files.

        Returns:
            Pixels of shape (files, 3, height, width), and scores of shape (files, labels).
        """
        pixels = np.stack(
            [to_pixels(decode(raw, self._settings["max_pixels"]), self._preprocessing) for raw in files]
        )
        rows = self._settings["group_rows"]
        name, output = self._settings["core_inputs"][0], self._settings["core_output"]
        scores = [
            self._session.run([output], {name: pixels[start : start + rows]})[0]
            for start in range(0, len(pixels), rows)
        ]
        return pixels, np.concatenate(scores)


def make_batches() -> list[tuple[str, list[tuple[str, bytes]]]]:
    """
    Make the pictures to compare, the same ones each time.

    Returns:
        Batches with their labels; of each picture its name in words and its file.
    """
    chooser = np.random.default_rng(_SEED)
    kinds = (("PNG", "RGB"), ("JPEG", "RGB"), ("PNG", "L"), ("WEBP", "RGB"), ("PNG", "RGBA"))

    def picture(place: int, number: int) -> tuple[str, bytes]:
        width, height = SIZES[place]
        kind, mode = kinds[number % len(kinds)]
        coarse = chooser.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = chooser.integers(-20, 21, (height, width, 3))
        noisy = np.clip(np.asarray(image).astype(np.int64) + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).convert(mode).save(file, kind)
        return f"{kind} of {width} x {height} in {mode}", file.getvalue()

    return [
        (label, [picture(place, number) for number, place in enumerate(places)]) for label, places in BATCHES
    ]


def measure(
    pixels: FloatArray, expected_pixels: FloatArray, scores: FloatArray, expected: FloatArray
) -> dict[str, Float64Array]:
    """
    Compare pixels and scores picture by picture.

    Args:
        pixels: The door's, of shape (pictures, 3, height, width).

        expected_pixels: The original's.

        scores: The door's, of shape (pictures, labels).

        expected: The original's.

    Returns:
        By figure, float64 arrays of shape (pictures,).
    """
    flat = (len(pixels), -1)
    if pixels.shape != expected_pixels.shape:
        raise ParityFailed(
            f"The door makes pixels of shape {pixels.shape} and the original's processor {expected_pixels.shape}."
        )
    pixel_differences = np.abs(pixels.reshape(flat) - expected_pixels.reshape(flat)).max(axis=1)
    score_differences = np.abs(scores.astype(np.float64) - expected).max(axis=1)
    # A tie of the original's is no disagreement: the door's choice must score as high as the original's best.
    chosen = expected[np.arange(len(expected)), scores.argmax(axis=1)]
    is_agreed = chosen >= expected.max(axis=1) - np.finfo(np.float32).eps
    return {
        "max_pixel_difference": pixel_differences.astype(np.float64),
        "max_score_difference": score_differences,
        "mean_top1": is_agreed.astype(np.float64),
    }
