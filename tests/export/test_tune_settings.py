"""The settings: read from a version's files, and written into copies of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from export.artifacts import Publication
from export.errors import RepositoryError
from export.transition import Folders
from export.tune_settings import (
    Served,
    make_space,
    read_served,
    read_settings,
    suggest_settings,
    write_settings,
)


@pytest.fixture
def served(published: Publication) -> Served:
    """The published tiny model's files."""
    return read_served(Folders(published.repository, "tiny"), 1)


def on_gpu(served: Served, **settings: object) -> Served:
    """The same on a GPU, with fixed lengths."""
    moved = write_settings(served, {})
    moved.core_config.instance_group[0].kind = type(moved.core_config.instance_group[0]).KIND_GPU
    moved.core_config.parameters["intra_op_thread_count"].string_value = "0"
    moved.core_config.model_warmup.add(name="triton_export_largest_batch", batch_size=64)
    grouping = {"kind": "edges", "edges": [10, 24]}
    return replace(moved, door_settings=moved.door_settings | {"grouping": grouping} | settings)


def test_what_is_written_is_read_again(served: Served) -> None:
    """Every setting of every place, and the original stays as it was."""
    before = read_settings(served)
    wanted = {
        "door_instances": 3,
        "core_instances": 1,
        "core_threads": 2,
        "max_batch_size": 16,
        "queue_delay_us": 500,
        "limit_tokens": 1024,
        "call_tokens": 12,
    }

    changed = write_settings(served, wanted)

    assert read_settings(changed) == wanted
    assert changed.core_config.max_batch_size == changed.door_settings["max_batch_size"] == 16
    assert read_settings(served) == before != wanted


def test_the_present_settings_change_nothing(served: Served) -> None:
    """Not even an edge that this module would choose otherwise."""
    assert write_settings(served, read_settings(served)) == served
    gpu = on_gpu(served)
    assert write_settings(gpu, read_settings(gpu)) == gpu


def test_on_a_gpu_there_are_edges_and_no_threads(served: Served) -> None:
    """Edges are the longest length and its halves; the largest warm-up goes with the batch."""
    gpu = on_gpu(served)
    assert "core_threads" not in read_settings(gpu)

    changed = write_settings(gpu, read_settings(gpu) | {"edges": 3, "max_batch_size": 128})

    assert changed.door_settings["grouping"]["edges"] == [12, 24]  # 6 tokens are too few for an edge
    assert [warmup.batch_size for warmup in changed.core_config.model_warmup] == [1, 128]
    assert suggest_settings(gpu, make_space(gpu, 2, keeps_batch=False), 2) == []


def test_a_plan_keeps_its_shapes(served: Served) -> None:
    """TensorRT was built for them."""
    gpu = on_gpu(served)
    gpu.core_config.backend = "tensorrt"
    space = make_space(gpu, 2, keeps_batch=False)
    assert space.choices["edges"] == (2,)
    assert space.choices["max_batch_size"] == (64,)


def test_more_threads_than_cores_are_never_tried(served: Served) -> None:
    """And the largest batch stays where two versions are to be served side by side."""
    space = make_space(served, 4, keeps_batch=True)

    assert space.choices["max_batch_size"] == (64,)
    assert space.is_possible({"core_instances": 2, "core_threads": 2})
    assert not space.is_possible({"core_instances": 4, "core_threads": 2})
    assert suggest_settings(served, space, 4)[0]["core_instances"] == 4


def test_an_images_group_is_never_larger_than_its_batch(served: Served) -> None:
    """A door for images has rows in a group instead of lengths."""
    settings = {name: value for name, value in served.door_settings.items() if name != "grouping"}
    images = replace(served, door_settings=settings | {"group_rows": 8})
    assert {"limit_tokens", "edges"}.isdisjoint(read_settings(images))

    changed = write_settings(images, {"max_batch_size": 4, "group_rows": 16})

    assert changed.door_settings["group_rows"] == 4


def test_a_version_without_its_files_is_told(tmp_path: Path) -> None:
    """With the file that is missing."""
    with pytest.raises(RepositoryError, match="lacks a file that says how it is served"):
        read_served(Folders(tmp_path, "tiny"), 1)
