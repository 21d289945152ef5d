"""The tables of hardware numbers."""

import json

import pytest

from export.errors import NotBuilt
from export.options import BUILT_TARGETS
from export.profiles import cpu_profile, profile_for
from export.runtime.text_encoder.batching import PaddedTokens, read_grouping


@pytest.mark.parametrize("target", BUILT_TARGETS)
def test_every_offered_target_has_a_profile(target: str) -> None:
    """What the options offer, the table has."""
    assert profile_for(target).name == target


def test_unknown_target_is_refused() -> None:
    """A target without numbers is named, not guessed."""
    with pytest.raises(NotBuilt, match="'t4'"):
        profile_for("t4")


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
    assert read_grouping(grouping) == PaddedTokens(512, 24)
