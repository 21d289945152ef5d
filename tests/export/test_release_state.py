"""What each move makes of a release, and that doing it twice does it once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import BadInput, ModelNotFound
from export.release_state import Release, promoted, published, read_release, rolled_back, with_canary


def test_a_release_survives_the_card() -> None:
    """What is written into the card is read back."""
    release = Release(3, 4, 12.5, (2, 1), None)
    assert read_release({"release": release.to_json()}, [1, 2, 3, 4]) == release
    assert Release(3, 4, 10.0).to_json() == {"stable": 3, "canary": 4, "canary_percent": 10}
    assert Release(3, rolled_back_from=4).to_json() == {"stable": 3, "rolled_back_from": 4}


@pytest.mark.parametrize(
    "card",
    [None, {}, {"release": 1}, {"release": {"stable": "1"}}, {"release": {"stable": 1, "canary": True}}],
)
def test_a_card_without_a_release_has_none(card: dict[str, object] | None) -> None:
    """A stranger's card, or one that somebody edited, is not guessed at."""
    assert read_release(card, [1]) is None


@pytest.mark.parametrize("percent", [math.nan, math.inf, -1, 101, "10", None])
def test_a_share_that_somebody_edited_is_nobody(percent: object) -> None:
    """A canary whose share makes no sense gets no caller, and can still be written and moved."""
    release = read_release({"release": {"stable": 1, "canary": 2, "canary_percent": percent}}, [1, 2])
    assert release == Release(1, 2, 0.0)
    assert release.to_json()["canary_percent"] == 0


def test_versions_that_are_gone_are_not_remembered() -> None:
    """An earlier version that was pruned can't be gone back to; before there were moves every older one was."""
    assert read_release({"release": {"stable": 5, "previous": [4, 3]}}, [3, 5]) == Release(5, previous=(3,))
    assert read_release({"release": {"stable": 3}}, [1, 2, 3, 4]) == Release(3, previous=(2, 1))


def test_a_promoted_canary_is_stable_and_can_be_taken_back() -> None:
    """Promote remembers what was stable; rollback returns to it."""
    tried = with_canary(Release(1), 2, 10)
    assert tried == Release(1, 2, 10)
    after = promoted(tried)
    assert after == Release(2, previous=(1,))
    assert rolled_back(after) == Release(1, rolled_back_from=2)


def test_rollback_drops_the_canary_first() -> None:
    """While a canary is on trial, taking the last move back is dropping it."""
    assert rolled_back(Release(2, 3, 10, (1,))) == Release(2, previous=(1,), rolled_back_from=3)


def test_two_rollbacks_are_one() -> None:
    """Two people who roll back at once go one step back, not two; a named version goes further."""
    once = rolled_back(Release(3, previous=(2, 1)))
    assert rolled_back(once) == once == Release(2, previous=(1,), rolled_back_from=3)
    assert rolled_back(once, 1) == Release(1, rolled_back_from=2)
    assert rolled_back(once, 2) == once


def test_a_version_that_was_never_stable_is_not_rolled_back_to() -> None:
    """The refusal names the versions that would do."""
    with pytest.raises(ModelNotFound, match="on disk: 2, 1"):
        rolled_back(Release(3, previous=(2, 1)), 7)
    with pytest.raises(ModelNotFound, match="nothing to go back to"):
        rolled_back(Release(1))


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(percent: float) -> None:
    """A canary gets from 0 to 100 percent of the callers."""
    with pytest.raises(BadInput, match="from 0 to 100"):
        with_canary(Release(1), 2, percent)


def test_stable_is_no_canary() -> None:
    """The version that gets all callers can't be on trial."""
    with pytest.raises(BadInput, match="stable already"):
        with_canary(Release(1), 1, 10)


RELEASES = st.builds(
    lambda versions, has_canary, back: Release(
        versions[0],
        versions[1] if has_canary else None,
        10.0 if has_canary else 0.0,
        tuple(versions[2:]),
        back,
    ),
    st.lists(st.integers(1, 20), min_size=3, max_size=6, unique=True),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 20)),
)


@given(RELEASES)
def test_every_move_is_idempotent(release: Release) -> None:
    """Whatever answers now, a move done twice is done once, and no version is stable and earlier at once."""
    moves = (
        lambda now: with_canary(now, 99, 5),
        promoted,
        rolled_back,
        lambda now: rolled_back(now, release.previous[-1]),
        lambda now: published(now, 99) if now.stable != 99 else now,
    )
    for move in moves:
        once = move(release)
        assert move(once) == once
        assert once.stable not in once.previous
        assert len(set(once.previous)) == len(once.previous)
