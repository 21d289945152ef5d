"""What several Tritons serve together, above all in the middle of a rolling release."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from facade.triton.interface import ModelDescription
from facade.triton.reconcile import Statement, reconcile

OLD = ModelDescription("minilm", (1,), 16, is_decoupled=False, model_card='{"release": {"stable": 1}}')
NEW = replace(OLD, ready_versions=(2,), model_card='{"release": {"stable": 2}}')
BOTH = replace(NEW, ready_versions=(1, 2))


def merged(*models: ModelDescription, out: tuple[int, ...] = ()) -> ModelDescription:
    """Merge what one endpoint each says of one model."""
    (found,) = reconcile([Statement([model], index not in out) for index, model in enumerate(models)])
    return found


def test_endpoints_that_agree_are_taken_at_their_word() -> None:
    """Nothing is added to a description that all share."""
    assert merged(OLD, OLD, OLD) == OLD


def test_one_endpoint_is_enough() -> None:
    """A model that only one has is served."""
    other = replace(OLD, name="other")

    assert [
        m.name
        for m in reconcile([Statement([OLD], is_serving=True), Statement([OLD, other], is_serving=True)])
    ] == [
        "minilm",
        "other",
    ]


def test_a_release_moves_callers_at_the_half() -> None:
    """The card of most endpoints counts, and between equals the newer one; versions are those of all."""
    assert merged(OLD, OLD, OLD).model_card == OLD.model_card
    assert merged(NEW, OLD, OLD).model_card == OLD.model_card
    assert merged(NEW, OLD, OLD).ready_versions == (1, 2)
    assert merged(NEW, NEW, OLD).model_card == NEW.model_card
    assert merged(NEW, OLD).model_card == NEW.model_card
    # While one of them still loads, its card counts as what it says.
    assert merged(BOTH, OLD, replace(OLD, ready_versions=(1, 2))).model_card == OLD.model_card


def test_an_endpoint_that_is_out_keeps_its_vote_but_serves_nothing() -> None:
    """Callers are not moved to another version and back because one endpoint is away for a moment."""
    found = merged(NEW, OLD, OLD, out=(1,))
    assert found.model_card == OLD.model_card

    found = merged(NEW, OLD, OLD, out=(1, 2))
    assert found.model_card == NEW.model_card
    assert found.ready_versions == (2,)


def test_a_model_without_a_release_has_the_version_of_most_as_default() -> None:
    """A version that one endpoint has first doesn't get all callers."""
    one = replace(OLD, model_card=None)
    two = replace(one, ready_versions=(1, 2))

    assert merged(one, one, two).newest_version == 1
    assert merged(one, two, two).newest_version == 2
    assert merged(one, one, two).ready_versions == (1, 2)


def test_nobody_who_serves_is_no_model() -> None:
    """What only endpoints have that are out can't be called."""
    assert reconcile([Statement([OLD], is_serving=False), Statement([], is_serving=True)]) == []


MODELS = st.sampled_from([OLD, NEW, BOTH, replace(OLD, ready_versions=(1, 2))])


@given(st.lists(st.tuples(MODELS, st.booleans()), min_size=1, max_size=6))
def test_whatever_endpoints_say_the_default_can_be_served(said: list[tuple[ModelDescription, bool]]) -> None:
    """Every version that is listed is served by an endpoint that is up, and so is the chosen card."""
    for found in reconcile([Statement([model], is_up) for model, is_up in said]):
        up = [model for model, is_up in said if is_up]
        assert set(found.ready_versions) == {version for model in up for version in model.ready_versions}
        assert found.model_card in {model.model_card for model in up}
