"""The tables of hardware numbers."""

import json

import pytest

from export.errors import BadInput
from export.profiles import EdgesRule, cpu_profile, profile_for
from export.runtime.text_encoder.batching import Edges, PaddedTokens, read_grouping
from export.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_profile(target: str) -> None:
    """What the table of hardware has, has numbers."""
    profile = profile_for(target)
    assert profile.name == target
    assert profile.source
    assert (profile.instance_kind == "KIND_GPU") == TARGETS[target].is_gpu
    assert (profile.workspace_bytes > 0) == TARGETS[target].is_gpu


def test_unknown_target_is_refused() -> None:
    """A target without numbers is named, not guessed."""
    with pytest.raises(BadInput, match="'t5'"):
        profile_for("t5")


def test_a_small_gpu_gets_one_copy_and_smaller_batches() -> None:
    """A slice of an A100 has no room for a second copy to help; TensorRT may use an eighth of its memory."""
    whole, piece = profile_for("a100"), profile_for("a100-1g.5gb")
    assert (whole.core_instances, whole.max_batch_size, whole.workspace_bytes) == (2, 128, 4 * 2**30)
    assert (piece.core_instances, piece.max_batch_size, piece.workspace_bytes) == (1, 64, 625_000_000)


@pytest.mark.parametrize(
    ("max_input_tokens", "edges"),
    [(256, (16, 32, 64, 128, 256)), (24, (16, 24)), (12, (12,)), (8192, (16, 32, 64, 128, 256, 512, 8192))],
)
def test_edges_end_where_the_model_does(max_input_tokens: int, edges: tuple[int, ...]) -> None:
    """No text is padded beyond what the model takes, and the longest has an edge of its own."""
    assert profile_for("a100").fit(max_input_tokens).grouping == EdgesRule(edges)


def test_a_profile_without_edges_fits_any_model() -> None:
    """The CPU's rule needs no fitting, and a model without texts has no lengths."""
    assert cpu_profile(2).fit(256) == cpu_profile(2)
    assert profile_for("a100").fit(0) == profile_for("a100")


def test_the_manifest_reads_back_what_was_written() -> None:
    """The recorded profile is equal after JSON, so that an equal export is recognised."""
    written = profile_for("a100").to_json()
    assert json.loads(json.dumps(written)) == written
    assert read_grouping(written["grouping"]) == Edges((16, 32, 64, 128, 256, 512))


def test_the_measured_cpu_profile_is_what_was_measured() -> None:
    """On two cores: two door and two core instances of one thread."""
    profile = cpu_profile(2)
    assert (profile.door_instances, profile.core_instances, profile.core_threads) == (2, 2, 1)
    assert profile.source == "measured on 2 cores"


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 8, 16, 64])
def test_more_cores_are_used_and_not_oversubscribed(cores: int) -> None:
    """Instances times threads stay within the cores, and weights are copied a few times only."""
    profile = cpu_profile(cores)
    assert profile.core_instances <= 4
    assert profile.core_instances * profile.core_threads <= max(cores, 2)
    assert profile.core_instances * profile.core_threads > cores / 2


def test_the_door_understands_the_grouping() -> None:
    """The rule in the table is read by the door as the same rule, also through JSON."""
    grouping = json.loads(json.dumps(cpu_profile(2).to_json()))["grouping"]
    assert read_grouping(grouping) == PaddedTokens(256, 24)
