"""Files to pixels: equal to transformers' own processors, and safe with strangers' files."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from export.runtime.image_encoder.images import (
    ImageRefused,
    Preprocessing,
    crop_from_centre,
    decode,
    read_preprocessing,
    to_pixels,
)
from tests.export.runtime.image_encoder.pictures import make_picture, to_file

SIZES = [(40, 30), (30, 40), (224, 224), (7, 500), (33, 33), (5, 4), (301, 223)]


def reference(processor: Any, picture: Image.Image) -> np.ndarray:
    """What transformers makes of a picture."""
    return np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", [0, 2, 3])
def test_a_fixed_size_is_equal_to_transformers(size: tuple[int, int], resample: int) -> None:
    """ViT's way: resize to a square, scale, normalise; to the last bit, with each filter."""
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 48}, resample=resample)
    wanted = Preprocessing(32, 48, None, resample, None, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    picture = make_picture(*size)

    np.testing.assert_array_equal(to_pixels(picture, wanted), reference(processor, picture))
    assert wanted.shape == (3, 32, 48)


@pytest.mark.parametrize("size", SIZES)
def test_the_shorter_edge_and_a_crop_are_equal_to_transformers(size: tuple[int, int]) -> None:
    """CLIP's way: proportions kept, then the centre; also where the crop is larger than what is left."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for shortest, crop in ((36, (32, 32)), (20, (33, 27)), (21, (16, 40))):
        processor = transformers.CLIPImageProcessor(
            size={"shortest_edge": shortest},
            crop_size={"height": crop[0], "width": crop[1]},
            image_mean=mean,
            image_std=std,
        )
        wanted = Preprocessing(None, None, shortest, 3, crop, 1 / 255, mean, std)
        picture = make_picture(*size, seed=3)

        np.testing.assert_array_equal(to_pixels(picture, wanted), reference(processor, picture))


def test_channels_can_be_turned_round() -> None:
    """MobileViT was trained on blue, green, red."""
    processor = transformers.MobileViTImageProcessor(
        size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}
    )
    wanted = Preprocessing(None, None, 20, 2, (16, 16), 1 / 255, None, None, flip_channels=True)
    picture = make_picture(40, 30)

    np.testing.assert_array_equal(to_pixels(picture, wanted), reference(processor, picture))


def test_a_window_larger_than_the_image_is_black_around_it() -> None:
    """Nothing is stretched to fill it."""
    array = np.full((2, 3, 3), 9, dtype=np.uint8)

    window = crop_from_centre(array, 4, 5)

    assert window.shape == (4, 5, 3)
    assert int(window.sum()) == int(array.sum())


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_files_give_back_every_pixel(kind: str, options: dict[str, object]) -> None:
    """What was saved is what is read."""
    picture = make_picture(20, 10)

    np.testing.assert_array_equal(np.asarray(decode(to_file(picture, kind, **options))), np.asarray(picture))


def test_a_photograph_is_turned_upright() -> None:
    """A camera's note about its orientation is heeded, as transformers' pipelines do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = to_file(make_picture(20, 10), "JPEG", exif=exif)

    assert decode(raw).size == (10, 20)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
def test_every_kind_of_colour_becomes_rgb(mode: str) -> None:
    """Grey, palettes, transparency and print colours are all turned into three channels."""
    kind = "JPEG" if mode == "CMYK" else "PNG"

    assert decode(to_file(make_picture(8, 8).convert(mode), kind)).mode == "RGB"


def bomb(width: int, height: int, content: int = 1000) -> bytes:
    """Make a small PNG that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(content)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(50_000, 50_000), (5_001, 5_000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_by_its_head(size: tuple[int, int]) -> None:
    """Not a pixel of it is unpacked."""
    with pytest.raises(ImageRefused, match="pixels; 25000000 are allowed"):
        decode(bomb(*size))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is none of JPEG, PNG, WEBP"),
        (b"GIF89a" + bytes(50), "is none of"),
        (b"\x89PNG\r\n\x1a\n", "is none of|is broken"),
        (bomb(10, 10, content=30), "is broken"),
    ],
)
def test_what_is_no_image_is_refused(raw: bytes, reason: str) -> None:
    """With a reason that fits into a sentence."""
    with pytest.raises(ImageRefused, match=reason):
        decode(raw)


def test_a_file_that_was_cut_off_is_refused() -> None:
    """Half a photograph isn't classified."""
    raw = to_file(make_picture(64, 64), "JPEG")

    with pytest.raises(ImageRefused, match="is broken"):
        decode(raw[: len(raw) // 2])


def test_a_line_of_pixels_is_refused_before_it_is_scaled() -> None:
    """A picture of 20000 x 1 is a small file of few pixels; by its shorter edge it would take gigabytes."""
    wanted = Preprocessing(None, None, 224, 3, (224, 224), 1 / 255, None, None)
    line = decode(to_file(Image.new("RGB", (20_000, 1)), "PNG"))

    with pytest.raises(ImageRefused, match="is too narrow: 20000 x 1 pixels"):
        to_pixels(line, wanted)


def test_settings_come_back_from_json() -> None:
    """Lists become the tuples they were."""
    settings = {
        "height": None,
        "width": None,
        "shortest_edge": 9,
        "resample": 2,
        "crop": [8, 8],
        "rescale": 0.5,
        "mean": None,
        "std": [1, 2, 3],
        "flip_channels": False,
    }

    assert read_preprocessing(settings) == Preprocessing(None, None, 9, 2, (8, 8), 0.5, None, (1, 2, 3))


def test_a_preprocessing_without_a_size_is_no_use() -> None:
    """Rows of one batch must have one shape."""
    with pytest.raises(ValueError, match="different sizes"):
        _ = Preprocessing(None, None, 9, 2, None, None, None, None).shape
