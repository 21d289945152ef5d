"""
Which models Triton serves, followed as they change.

The catalogue asks Triton every second and keeps the last good answer: a Triton that is away makes requests fail with
its own error, not with "no such model". The model card (one JSON string in the door's config, written at export) is
all that the façade knows of a model; a model without one belongs to somebody else and is not listed, but for those
that take a generation's inputs as Triton's vLLM backend does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from facade.access.authorize import check_globs, may_use
from facade.errors import BackendUnavailable, FacadeError, InvalidInput, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facade.triton.interface import ModelDescription, TritonBackend

log = logging.getLogger(__name__)

DESCRIBE_TIMEOUT_S = 5.0
"""Time for one look at Triton; a look that hangs must not keep the next from starting."""


class Release(msgspec.Struct, frozen=True):
    """Which versions answer, as the export CLI wrote it into the card."""

    stable: int
    """The version that answers."""

    canary: int | None = None
    """The version on trial."""

    canary_percent: float = 0.0
    """Share of callers that get the canary, in percent."""


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is for, as the export CLI wrote it; unknown fields are left alone."""

    task: str
    """Hugging Face's word: embedding, text-classification, …"""

    model_id: str = ""
    """Hub id or folder name that the model came from."""

    revision: str | None = None
    """Commit of the hub repository."""

    created: int = 0
    """When it was exported, in seconds since 1970."""

    dimension: int | None = None
    """Length of an embedding."""

    matryoshka_dimensions: tuple[int, ...] = ()
    """Shorter lengths that an embedder was trained for; empty where its files don't say."""

    max_input_tokens: int | None = None
    """Longest input, special tokens included."""

    labels: tuple[str, ...] = ()
    """Class names, in the order of the scores."""

    max_model_len: int | None = None
    """Most tokens of a prompt and its answer together."""

    chat_template: str | None = None
    """How a conversation becomes a prompt: Jinja, as Hugging Face's tokenizers have it."""

    special_tokens: dict[str, str] = {}
    """Texts of the special tokens by role: bos_token, eos_token, …"""

    adds_bos: bool = False
    """Whether the model's tokenizer puts the bos_token before each prompt by itself."""

    default_sampling: dict[str, Any] = {}
    """Sampling parameters where the caller gives none, of the model's ``generation_config.json``."""

    max_n: int | None = None
    """Most answers that one call gives; None where a call is good for one."""

    max_logprobs: int | None = None
    """Most tokens reported at one place of an answer."""

    default_cache_ttl_s: float | None = None
    """How long an answer may be kept, in seconds."""

    @property
    def is_of_our_decoder(self) -> bool:
        """Whether the model generates with our own decoder: only its export writes `max_n`."""
        return self.max_n is not None

    release: Release | None = None
    """Which versions answer; None where Triton's own policy decides."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model that can be called now."""

    name: str
    """Its name in the repository, which callers use."""

    versions: tuple[int, ...]
    """Versions that are ready, ascending."""

    max_batch_size: int
    """Most items in one call."""

    card: ModelCard
    """What it is for."""

    newest_version: int | None = None
    """The newest version at most Tritons, where they differ."""

    @property
    def version(self) -> int:
        """
        The version that answers callers who name none.

        While Triton reloads, the card can be a moment ahead of what is ready; the newest ready version answers then.
        """
        release = self.card.release
        if release is not None and release.stable in self.versions:
            return release.stable
        if self.newest_version in self.versions:
            return self.newest_version
        return self.versions[-1]


@dataclass(slots=True)
class Catalogue:
    """The models of one Triton."""

    backend: TritonBackend
    """Who is asked."""

    interval_s: float
    """Seconds between two looks."""

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    """The last good answer, by name."""

    described: Mapping[str, ModelDescription] = field(default_factory=dict)
    """All that Triton serves, models without a card and those behind other models included."""

    is_current: bool = False
    """Whether the last look succeeded."""

    has_loaded: bool = False
    """Whether any look ever succeeded."""

    _has_looked: bool = False

    _complaints: dict[str, str] = field(default_factory=dict)
    """Why models can't be called that look like ours, by name: each reason is logged once."""

    async def refresh(self) -> None:
        """
        Look once.

        Raises:
            FacadeError: If Triton doesn't answer; the last good answer stays.
        """
        try:
            descriptions = await self.backend.describe_models(timeout_s=DESCRIBE_TIMEOUT_S)
        except FacadeError as error:
            if self.is_current or not self._has_looked:
                log.warning("triton_lost", extra={"reason": getattr(error, "reason", "") or error.message})
            self.is_current, self._has_looked = False, True
            raise
        if not self.is_current:
            log.info("triton_found", extra={"models": [d.name for d in descriptions]})
        self.models = self._to_served(descriptions)
        self.described = {model.name: model for model in descriptions if model.ready_versions}
        self.is_current = self.has_loaded = True

    async def look(self) -> None:
        """Look once; if Triton doesn't answer, the last good answer stays."""
        try:
            await self.refresh()
        except FacadeError:
            pass
        except Exception:
            log.exception("catalogue_failed")

    async def follow(self) -> None:
        """Look again and again; ends only by cancellation."""
        while True:
            await self.look()
            await asyncio.sleep(self.interval_s)

    def visible(self, globs: tuple[str, ...]) -> list[ServedModel]:
        """
        List what a caller may use.

        Args:
            globs: Patterns of the names that the caller may use.

        Returns:
            The models, by name.

        Raises:
            BackendUnavailable: If Triton was never reached, so that nothing is known.
        """
        self._check_loaded()
        return [model for name, model in sorted(self.models.items()) if may_use(globs, name)]

    def find(self, name: str, globs: tuple[str, ...] = ("*",)) -> ServedModel:
        """
        Look up a model.

        Args:
            name: As the caller wrote it.

            globs: Patterns of the names that the caller may use.

        Returns:
            The model.

        Raises:
            PermissionDenied: If the caller may not use a model of this name, whether it exists or not.

            ModelNotFound: If Triton doesn't serve it.

            BackendUnavailable: If Triton was never reached, so that nothing is known.
        """
        check_globs(globs, name)
        model = self.models.get(name)
        if model is not None:
            return model
        raise self._not_found(name, [found.name for found in self.visible(globs)])

    def find_described(self, name: str, globs: tuple[str, ...] = ("*",)) -> ModelDescription:
        """
        Look up a model whatever it is for, with a card or without.

        Args:
            name: As the caller wrote it.

            globs: Patterns of the names that the caller may use.

        Returns:
            What Triton says of it.

        Raises:
            FacadeError: As `find` does.
        """
        check_globs(globs, name)
        found = self.described.get(name)
        if found is not None:
            return found
        self._check_loaded()
        raise self._not_found(name, [other for other in sorted(self.described) if may_use(globs, other)])

    def find_for(self, tasks: Sequence[str], name: str, globs: tuple[str, ...]) -> ServedModel:
        """
        Look up a model for certain tasks.

        Args:
            tasks: What it may be for.

            name: As the caller wrote it.

            globs: Patterns of the names that the caller may use.

        Returns:
            The model.

        Raises:
            InvalidInput: If it is for something else.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.
        """
        model = self.find(name, globs)
        if model.card.task not in tasks:
            raise InvalidInput(
                f"The model {name!r} is for {model.card.task}, not for {' or '.join(tasks)}.", param="model"
            )
        return model

    def _to_served(self, descriptions: Sequence[ModelDescription]) -> dict[str, ServedModel]:
        """Take those that can be called; log, once, why others can't that look like ours."""
        served: dict[str, ServedModel] = {}
        complaints: dict[str, str] = {}
        for description in descriptions:
            try:
                model = to_served_model(description)
            except CardUnusable as error:
                complaints[description.name] = str(error)
                continue
            if model is not None:
                served[model.name] = model
        for name, reason in complaints.items():
            if self._complaints.get(name) != reason:
                log.error("model_card_unusable", extra={"model": name, "reason": reason})
        self._complaints = complaints
        return served

    @staticmethod
    def _not_found(name: str, served: Sequence[str]) -> ModelNotFound:
        return ModelNotFound(
            f"The model {name!r} does not exist. Models served: {', '.join(served) or 'none'}.",
            param="model",
            code="model_not_found",
        )

    def _check_loaded(self) -> None:
        if not self.has_loaded:
            raise BackendUnavailable("The model server can't be reached.", retry_after_s=1.0)


_BARE_CARD = json.dumps({"task": "text-generation"})
"""Of a model that somebody put behind Triton's vLLM backend without us."""


class CardUnusable(Exception):
    """A model has a card, and it says what can't be; the message says what."""


def to_served_model(description: ModelDescription) -> ServedModel | None:
    """
    Read a model's card, or that of one that vLLM's backend serves without a card.

    Args:
        description: What Triton says of it.

    Returns:
        The model; None if it isn't ready, or has no card because it isn't ours.

    Raises:
        CardUnusable: If it can't be called as its card says.
    """
    if not description.ready_versions or (description.model_card is None and not description.can_generate):
        return None
    try:
        card = msgspec.json.decode(description.model_card or _BARE_CARD, type=ModelCard)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CardUnusable(f"its card can't be read: {error}") from None
    if card.task == "text-generation" and not description.can_generate:
        raise CardUnusable("its card says text-generation, and its inputs are not those of a generator")
    return ServedModel(
        name=description.name,
        versions=description.ready_versions,
        max_batch_size=max(description.max_batch_size, 1),
        card=card,
        newest_version=description.newest_version,
    )
