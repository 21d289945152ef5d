"""Small pictures for tests, made from a seed."""

import io
from typing import Any

import numpy as np
from PIL import Image


def make_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Make a picture with smooth and sharp parts, so that a wrong filter or a shifted crop shows."""
    chooser = np.random.default_rng(seed)
    coarse = chooser.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = chooser.integers(0, 256, (height, width, 3), dtype=np.uint8)
    left = np.arange(width)[None, :, None] < width // 2
    return Image.fromarray(np.where(left, smooth, noise))


def to_file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Write a picture's file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
