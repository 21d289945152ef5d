"""
The original image classifier and its image processor, as its authors meant them to be run.

The door repeats what the processor does, from numbers that are read off the processor itself: nothing is guessed from
its file, where half of the settings may be left to the class's defaults.
"""

from typing import Any

from transformers import AutoImageProcessor, AutoModelForImageClassification

from export.artifacts import SourceModel
from export.errors import ModelUnreadable
from export.original import quiet
from export.runtime.image_encoder.images import Preprocessing

KNOWN_STEPS = frozenset(
    {
        "do_resize",
        "do_center_crop",
        "do_rescale",
        "do_normalize",
        "do_convert_rgb",
        "do_flip_channel_order",
        "do_reduce_labels",
        "do_pad",
    }
)
"""Switches of transformers' image processors that `read_preprocessing` knows what to do about."""

CONVNEXT_WHOLE_EDGE = 384
"""From this size on a ConvNeXT processor stretches the whole image instead of cutting its centre."""


def load_image_original(source: SourceModel) -> tuple[Any, Any]:
    """
    Load an image classifier on the CPU, in fp32, and its processor.

    Args:
        source: The model's files.

    Returns:
        The model, in evaluation mode, and the processor.

    Raises:
        ModelUnreadable: If its files are damaged, or not what transformers knows.
    """
    with quiet():
        try:
            model = AutoModelForImageClassification.from_pretrained(
                source.folder, trust_remote_code=source.trust_remote_code, local_files_only=True
            )
            processor = AutoImageProcessor.from_pretrained(
                source.folder,
                # The fast ones need torchvision and round differently; this is the one that papers' figures are from.
                use_fast=False,
                trust_remote_code=source.trust_remote_code,
                local_files_only=True,
            )
        # Every layer below raises its own: OSError, ValueError, KeyError, RuntimeError, SafetensorError.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ModelUnreadable(
                f"'{source.model_id}' can't be loaded: {reason}. Download it again, or check its files."
            ) from error
    return model.float().eval(), processor


def read_preprocessing(source: SourceModel, processor: Any) -> Preprocessing:
    """
    Read off an image processor what the door has to do.

    Args:
        source: The model's files, for messages.

        processor: transformers' processor.

    Returns:
        The same, in numbers.

    Raises:
        ModelUnreadable: If it does something that the door can't, or leaves images at different sizes.
    """
    kind = type(processor).__name__
    switches = {name for name in vars(processor) if name.startswith("do_") and getattr(processor, name)}
    unknown = switches - KNOWN_STEPS | (switches & {"do_pad", "do_reduce_labels"})
    if unknown:
        raise ModelUnreadable(
            f"The image processor of '{source.model_id}' ({kind}) does {', '.join(sorted(unknown))}, "
            "which the door doesn't do."
        )
    size = dict(processor.size or {}) if "do_resize" in switches else {}
    crop = _read_crop(processor) if "do_center_crop" in switches else None
    if "do_resize" in switches and getattr(processor, "crop_pct", None) is not None:
        size, crop = _read_convnext(size, float(processor.crop_pct), crop)
    try:
        preprocessing = Preprocessing(
            height=size.get("height"),
            width=size.get("width"),
            shortest_edge=size.get("shortest_edge"),
            resample=int(processor.resample),
            crop=crop,
            rescale=float(processor.rescale_factor) if "do_rescale" in switches else None,
            mean=_channels(processor.image_mean) if "do_normalize" in switches else None,
            std=_channels(processor.image_std) if "do_normalize" in switches else None,
            flip_channels="do_flip_channel_order" in switches,
        )
        _ = preprocessing.shape
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelUnreadable(
            f"The image processor of '{source.model_id}' ({kind}) can't be repeated in the door: {error}."
        ) from error
    return preprocessing


def _read_crop(processor: Any) -> tuple[int, int]:
    """Return height and width of the window; some processors keep one number for both."""
    crop = processor.crop_size
    if isinstance(crop, int):
        return crop, crop
    return int(crop["height"]), int(crop["width"])


def _read_convnext(
    size: dict[str, int], crop_pct: float, crop: tuple[int, int] | None
) -> tuple[dict[str, int], tuple[int, int] | None]:
    """Spell out ConvNeXT's rule: a small window is the centre of a larger image, a large one is the whole image."""
    edge = size.get("shortest_edge")
    if edge is None or crop is not None:
        raise ModelUnreadable(
            "An image processor with crop_pct and a crop of its own isn't known to the door."
        )
    if edge >= CONVNEXT_WHOLE_EDGE:
        return {"height": edge, "width": edge}, None
    return {"shortest_edge": int(edge / crop_pct)}, (edge, edge)


def _channels(values: Any) -> tuple[float, ...]:
    """Return one number a channel."""
    return (
        (float(values),) * 3 if isinstance(values, int | float) else tuple(float(value) for value in values)
    )
