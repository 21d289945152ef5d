"""An image classifier through the whole pipeline, and then in the real Triton, against transformers' own answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from deploy.local.triton import CHECKOUT, TritonServer
from export import config_pbtxt, pipeline
from export.errors import ModelUnreadable
from export.from_hub import find_model
from export.options import ExportOptions
from export.original_image import load_image_original
from export.progress import Progress
from tests.export.runtime.image_encoder.pictures import make_picture, to_file
from tests.export.tiny_vit import LABELS, make_tiny_vit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from export.artifacts import Publication, SourceModel


@pytest.fixture(scope="module", name="options")
def _options(tmp_path_factory: pytest.TempPathFactory) -> ExportOptions:
    """An export of a tiny ViT."""
    folder = make_tiny_vit(tmp_path_factory.mktemp("vit") / "tiny-vit")
    return ExportOptions(model=str(folder), name="pets", repository=folder.parent / "repository")


@pytest.fixture(scope="module", name="source")
def _source(options: ExportOptions) -> SourceModel:
    """The tiny ViT, found."""
    return find_model(options)


@pytest.fixture(scope="module", name="published")
def _published(options: ExportOptions) -> Publication:
    """The tiny ViT, exported and published."""
    return pipeline.run_export(options, Progress(None))


def original_scores(source: SourceModel, pictures: list[Image.Image]) -> np.ndarray:
    """Ask transformers."""
    model, processor = load_image_original(source)
    pixels = processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return np.asarray(torch.softmax(model(pixel_values=pixels).logits, dim=1))


def test_the_task_is_found_from_the_files(source: SourceModel) -> None:
    """Nobody has to say that a ViT classifies images."""
    assert source.task == "image-classification"


def test_a_version_says_what_it_is(published: Publication) -> None:
    """Labels in the card, exact pixels and close scores in the manifest."""
    config = config_pbtxt.read_config(published.repository / "pets")
    assert config is not None
    card = config_pbtxt.read_card(config)

    assert card is not None
    assert card["labels"] == LABELS
    assert [(spec.name, list(spec.dims)) for spec in config.input] == [("image", [1])]
    assert [(spec.name, list(spec.dims)) for spec in config.output] == [("scores", [len(LABELS)])]
    parity = published.manifest["parity"]
    assert parity["max_pixel_difference"] == 0
    assert parity["mean_top1"] == 1
    assert len(parity["points"]) == 5


def test_a_processor_that_the_door_cannot_repeat_is_refused(tmp_path: Path) -> None:
    """No version is published that would see other pixels."""
    folder = make_tiny_vit(tmp_path / "odd", do_resize=False)
    options = ExportOptions(model=str(folder), name="odd", repository=tmp_path / "repository")

    with pytest.raises(ModelUnreadable, match="can't be repeated in the door"):
        pipeline.run_export(options, Progress(None))

    assert not (tmp_path / "repository" / "odd").exists()


def test_a_processor_that_fails_by_itself_is_unreadable(options: ExportOptions, tmp_path: Path) -> None:
    """A ViT's processor takes no shortest edge; transformers only says so when it is used."""
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    folder = make_tiny_vit(tmp_path / "odd", size={"shortest_edge": 32}, **crop)
    odd = replace(options, model=str(folder), repository=tmp_path / "repository")
    with pytest.raises(ModelUnreadable, match=r"fails by itself, so nothing can be compared.*height.*width"):
        pipeline.run_export(odd, Progress(None))
    assert [path.name for path in odd.repository.iterdir()] == [".lock"]


def test_a_model_without_its_processor_is_refused(options: ExportOptions, tmp_path: Path) -> None:
    """The file that is missing is named."""
    folder = make_tiny_vit(tmp_path / "bare")
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(ModelUnreadable, match=r"no preprocessor_config\.json"):
        find_model(replace(options, model=str(folder)))


@pytest.fixture(scope="module", name="client")
def _client(published: Publication) -> Iterator[InferenceServerClient]:
    """The real Triton with the exported model."""
    if not (CHECKOUT / ".triton" / "backends" / "onnxruntime" / "model.py").exists():
        pytest.skip("Triton is not installed: run `make install`")
    with TritonServer(published.repository) as server, InferenceServerClient(server.grpc_url) as client:
        yield client


def classify(client: InferenceServerClient, files: list[bytes]) -> np.ndarray:
    """Ask Triton."""
    tensor = InferInput("image", [len(files), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[file] for file in files], dtype=np.object_))
    return np.asarray(client.infer("pets", [tensor]).as_numpy("scores"))


@pytest.mark.e2e
def test_triton_answers_as_transformers(client: InferenceServerClient, source: SourceModel) -> None:
    """Several sizes and formats in one batch, more than one group of the core."""
    pictures = [make_picture(20 + 13 * seed, 64 - seed, seed) for seed in range(11)]

    scores = classify(client, [to_file(picture) for picture in pictures])

    np.testing.assert_allclose(scores, original_scores(source, pictures), atol=1e-5)


@pytest.mark.e2e
@pytest.mark.parametrize(("file", "reason"), [(b"no image", "is none of JPEG"), (b"", "is none of JPEG")])
def test_a_broken_file_is_its_own_requests_error(
    client: InferenceServerClient, file: bytes, reason: str
) -> None:
    """INVALID_ARGUMENT, with the row; the next request is answered."""
    with pytest.raises(InferenceServerException, match=f"row 1 of 'image' {reason}") as caught:
        classify(client, [to_file(make_picture(8, 8)), file])

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert classify(client, [to_file(make_picture(8, 8))]).shape == (1, len(LABELS))
