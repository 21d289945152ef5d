"""
An image's file to the pixels that transformers' image processor makes of it; pure.

Strategy: the same library (Pillow) and the same arithmetic in the same order as transformers' NumPy processors, so that
the pixels are equal to the last bit: decode, turn upright, RGB, resize, crop from the centre, scale, normalise.

What a caller sends is a stranger's file: only JPEG, PNG and WebP are tried, the size is read from the head and refused
before a pixel is unpacked (a PNG of 60 KB can hold a gigapixel), and a broken file is one row's error.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
"""What is decoded; other formats' decoders are more code for a stranger's bytes to reach."""

MAX_PIXELS = 25_000_000
"""Largest image, as sent and as scaled, in pixels: 6000 x 4000 with some room. Unpacked it takes 75 MB."""

RGB_CHANNELS = 3

Pixels = npt.NDArray[np.float32]


class ImageRefused(ValueError):
    """The file can't be used; the message says why, to follow the words "the image"."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image, with every number in it."""

    height: int | None
    """Height to resize to; None keeps the proportions, or the size."""

    width: int | None
    """Width to resize to."""

    shortest_edge: int | None
    """Length that the shorter edge is resized to, where the proportions are kept."""

    resample: int
    """Pillow's number of the resampling filter."""

    crop: tuple[int, int] | None
    """Height and width cut from the centre afterwards; None cuts nothing."""

    rescale: float | None
    """Factor on the bytes 0 to 255; None leaves them."""

    mean: tuple[float, ...] | None
    """Subtracted by channel; None normalises nothing."""

    std: tuple[float, ...] | None
    """Divided by, by channel."""

    flip_channels: bool = False
    """True gives blue, green, red."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what comes out."""
        height, width = self.crop or (self.height, self.width)
        if height is None or width is None:
            raise ValueError("images of different sizes can't share a batch: the preprocessing fixes no size")
        return RGB_CHANNELS, height, width


def read_preprocessing(settings: Mapping[str, Any]) -> Preprocessing:
    """
    Read what the exporter wrote.

    Args:
        settings: `preprocessing` of `door.json`: the fields of `Preprocessing`.

    Returns:
        The preprocessing.
    """
    tuples = {
        name: None if settings[name] is None else tuple(settings[name]) for name in ("crop", "mean", "std")
    }
    return Preprocessing(**{**settings, **tuples})


def decode(raw: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """
    Unpack an image's file.

    Args:
        raw: The file.

        max_pixels: Largest image.

    Returns:
        The image, upright, in RGB; of an animation the first picture.

    Raises:
        ImageRefused: If it isn't one of `FORMATS`, is broken, or is larger than *max_pixels*.
    """
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        _check_size(image, max_pixels)
        upright = ImageOps.exif_transpose(image)
        return upright.convert("RGB")
    except ImageRefused:
        raise
    except UnidentifiedImageError:
        raise ImageRefused(f"is none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ImageRefused(f"has too many pixels; {max_pixels} are allowed. Scale it down") from None
    # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, ValueError, struct.error, MemoryError.
    except Exception as error:
        raise ImageRefused(f"is broken: {error}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Refuse an image by what its head says, before it is unpacked."""
    if image.width * image.height > max_pixels:
        raise ImageRefused(
            f"has {image.width} x {image.height} pixels; {max_pixels} are allowed. Scale it down"
        )


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """
    Do what the model's image processor does.

    Args:
        image: In RGB.

        preprocessing: What to do.

    Returns:
        float32 array of shape (3, height, width).

    Raises:
        ImageRefused: If scaling its shorter edge would make it larger than `MAX_PIXELS`.

    Source:
        transformers 4.57, image_transforms.py: resize, center_crop, rescale, normalize.
    """
    array = np.asarray(_resize(image, preprocessing))  # (height, width, 3)
    if preprocessing.crop is not None:
        array = crop_from_centre(array, *preprocessing.crop)
    pixels: npt.NDArray[Any] = array
    if preprocessing.rescale is not None:
        # In double precision and then rounded, as transformers does: in single precision the last bit differs.
        pixels = (pixels.astype(np.float64) * preprocessing.rescale).astype(np.float32)
    pixels = pixels.astype(np.float32, copy=False)
    if preprocessing.mean is not None and preprocessing.std is not None:
        mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
        pixels = (pixels - mean) / std
    if preprocessing.flip_channels:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize to the fixed size, or by the shorter edge, or not at all."""
    if preprocessing.height is not None and preprocessing.width is not None:
        size = (preprocessing.width, preprocessing.height)
    elif preprocessing.shortest_edge is not None:
        short = min(image.size)
        size = (
            preprocessing.shortest_edge
            if image.width == short
            else int(preprocessing.shortest_edge * image.width / short),
            preprocessing.shortest_edge
            if image.height == short
            else int(preprocessing.shortest_edge * image.height / short),
        )
    else:
        return image
    # A line of 20000 x 1 pixels fits into 138 bytes, and scaled by its shorter edge takes gigabytes.
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageRefused(
            f"is too narrow: {image.width} x {image.height} pixels, scaled for the model, would be "
            f"{size[0]} x {size[1]}; {MAX_PIXELS} pixels are allowed. Crop it"
        )
    return image.resize(size, resample=Image.Resampling(preprocessing.resample))


def crop_from_centre(array: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """
    Cut a window from the centre; what lies outside the image is black.

    Args:
        array: Bytes of shape (rows, columns, 3).

        height: The window's.

        width: The window's.

    Returns:
        Bytes of shape (height, width, 3).
    """
    rows, columns = array.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    if top >= 0 and left >= 0:
        return array[top : top + height, left : left + width]
    # An image smaller than the window is first put on a black one: the rounding of both steps is transformers' own.
    above, before = (math.ceil(max(height - rows, 0) / 2), math.ceil(max(width - columns, 0) / 2))
    padded = np.zeros((max(height, rows), max(width, columns), array.shape[2]), dtype=array.dtype)
    padded[above : above + rows, before : before + columns] = array
    top, left = max(0, top + above), max(0, left + before)
    return padded[top : top + height, left : left + width]
