"""What each engine needs in a core's config."""

from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from export.artifacts import Graph, TensorSpec
from export.config_core import core_config
from export.config_pbtxt import from_text, is_own_core, to_text
from export.engines import (
    TENSORRT_KEYS,
    CoreEngine,
    plan_file,
    shape_ranges,
    whole_range,
)
from export.profiles import cpu_profile, profile_for
from export.targets import TARGETS
from tests.export.small_graphs import PIXELS

TEXT_INPUTS = tuple(TensorSpec(name, "INT64", (-1,)) for name in ("input_ids", "attention_mask"))
PIXEL_INPUTS = (TensorSpec("pixel_values", "FP32", (3, PIXELS, PIXELS)),)
GPUS = [name for name, target in TARGETS.items() if target.is_gpu]


@pytest.fixture(name="graph")
def _graph(tmp_path: Any) -> Graph:
    """A text encoder's graph in fp16."""
    return Graph(tmp_path / "model.onnx", TEXT_INPUTS, "vector", 384, 18, "fp16")


def accelerator_of(config: Any) -> dict[str, str]:
    """Read the keys of the one accelerator."""
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    return dict(accelerator.parameters)


def test_ranges_meet_and_cover_every_shape() -> None:
    """From one row of one token to the largest batch of the longest text, each length is in exactly one range."""
    profile = profile_for("a100").fit(256)
    ranges = shape_ranges(TEXT_INPUTS, profile)
    lengths = [(shapes.least["input_ids"][1], shapes.largest["input_ids"][1]) for shapes in ranges]
    assert lengths == [(1, 16), (17, 32), (33, 64), (65, 128), (129, 256)]
    assert {shapes.least["input_ids"][0] for shapes in ranges} == {1}
    assert {shapes.largest["attention_mask"][0] for shapes in ranges} == {128}
    assert [shapes.usual["input_ids"] for shapes in ranges][1] == (32, 32)


def test_inputs_of_fixed_shape_have_one_range() -> None:
    """An image has no length: only the batch varies."""
    (only,) = shape_ranges(PIXEL_INPUTS, profile_for("t4"))
    assert only.least == {"pixel_values": (1, 3, PIXELS, PIXELS)}
    assert only.usual == {"pixel_values": (16, 3, PIXELS, PIXELS)}
    assert only.largest == {"pixel_values": (64, 3, PIXELS, PIXELS)}


def test_the_whole_range_is_tuned_for_the_middle() -> None:
    """The TensorRT provider has one profile: it covers all, and kernels are chosen for usual lengths."""
    shapes = whole_range(TEXT_INPUTS, profile_for("a100").fit(256))
    assert shapes.least["input_ids"] == (1, 1)
    assert shapes.usual["input_ids"] == (32, 64)
    assert shapes.largest["input_ids"] == (128, 256)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize(
    "engine",
    [CoreEngine(), CoreEngine(accelerator="tensorrt"), CoreEngine("tensorrt", plans={"8.0": "sm_80.plan"})],
    ids=["cuda", "tensorrt-provider", "plan"],
)
def test_every_gpus_config_survives_being_written(graph: Graph, gpu: str, engine: CoreEngine) -> None:
    """Each target and engine gives a config that Triton's own parser reads back, on the GPU and known as ours."""
    config = core_config("m_core", graph, profile_for(gpu).fit(256), [3], engine)
    assert from_text(to_text(config)) == config
    assert is_own_core(config)
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert not config.HasField("response_cache")


def test_the_cuda_providers_keys_stand_in_parameters(graph: Graph) -> None:
    """In an accelerator block they would be overwritten; and no accelerator is named for CUDA alone."""
    config = core_config("m_core", graph, profile_for("a100").fit(256), [1])
    assert config.parameters["arena_extend_strategy"].string_value == "1"
    assert config.parameters["cudnn_conv_algo_search"].string_value == "1"
    assert "intra_op_thread_count" not in config.parameters
    assert not config.HasField("optimization")


def test_the_tensorrt_provider_is_spelled_as_the_backend_reads_it(graph: Graph) -> None:
    """Only keys that the native backend knows: one that it doesn't know would be a load error."""
    config = core_config(
        "m_core", graph, profile_for("v100").fit(256), [1], CoreEngine(accelerator="tensorrt")
    )
    keys = accelerator_of(config)
    assert set(keys) == TENSORRT_KEYS
    assert keys["precision_mode"] == "FP16"
    assert keys["max_workspace_size_bytes"] == str(16 * 10**9 // 8)
    assert keys["trt_engine_cache_path"] == "/var/cache/triton-tensorrt/m_core"
    assert keys["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert keys["trt_profile_opt_shapes"] == "input_ids:32x64,attention_mask:32x64"
    assert keys["trt_profile_max_shapes"] == "input_ids:128x256,attention_mask:128x256"


def test_plans_are_found_by_compute_capability(graph: Graph) -> None:
    """One config names a plan for each kind of GPU, and every profile by its index."""
    engine = CoreEngine("tensorrt", plans={"8.0": plan_file("8.0"), "7.0": plan_file("7.0")})
    config = core_config("m_core", graph, profile_for("a100").fit(256), [1], engine)
    assert config.backend == "tensorrt"
    assert dict(config.cc_model_filenames) == {"7.0": "sm_70.plan", "8.0": "sm_80.plan"}
    assert list(config.instance_group[0].profile) == ["0", "1", "2", "3", "4"]
    assert not config.parameters


def test_a_gpu_is_warmed_at_every_length_and_at_its_largest(graph: Graph) -> None:
    """Whatever is built or allocated at a first shape is so before callers come."""
    config = core_config("m_core", graph, profile_for("a100").fit(256), [1])
    rows = [(w.batch_size, w.inputs["input_ids"].dims[0]) for w in config.model_warmup]
    assert rows == [(1, 16), (1, 32), (1, 64), (1, 128), (1, 256), (128, 256)]
    assert len({warmup.name for warmup in config.model_warmup}) == 6


def test_an_image_is_warmed_by_its_own_shape(tmp_path: Any) -> None:
    """Without a length there are two warm-ups: one image and the largest batch."""
    graph = Graph(tmp_path / "model.onnx", PIXEL_INPUTS, "scores", 10, 18)
    config = core_config("m_core", graph, profile_for("t4"), [1])
    shapes = [(w.batch_size, list(w.inputs["pixel_values"].dims)) for w in config.model_warmup]
    assert shapes == [(1, [3, PIXELS, PIXELS]), (64, [3, PIXELS, PIXELS])]


def test_a_cpu_has_threads_and_one_short_row(graph: Graph) -> None:
    """On a CPU nothing is built: one row makes the buffers, and threads are the profile's."""
    config = core_config("m_core", graph, cpu_profile(2), [1])
    assert [(w.batch_size, w.inputs["input_ids"].dims[0]) for w in config.model_warmup] == [(1, 16)]
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
