"""
A prompt to an answer that comes piece by piece: check, look in the cache, join, or have the model write it.

Requests that must get the same answer (temperature 0, or a seed) share one: whole ones come from the cache, those
being written from one another's `recordings`. Streamed or not, an answer is the same, so both share it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from facade.cache.keys import ItemKeys
from facade.cache.policy import cache_scope, cache_ttl_s, is_kept, parse_cache_control
from facade.errors import FacadeError, ModelNotFound, NotCached, VersionNotReady
from facade.inference.encode import encode_texts
from facade.inference.fair_queue import Share
from facade.inference.generation import TASK, check_sampling
from facade.inference.generation_contract import explain_failure
from facade.inference.recordings import Reader, Recording, from_bytes, to_bytes
from facade.inference.release_split import ReleaseSplit
from facade.inference.runner import Limits
from facade.inference.writer import (
    GenerationLimits,
    GenerationObserver,
    Order,
    SilentGenerationObserver,
    Writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from facade.cache.items import ItemCache
    from facade.cache.policy import Directives
    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.inference.generation import Generation, Sampling
    from facade.triton.interface import TritonBackend

DEFAULT_MAX_N = 8
"""Most answers to one prompt where the card doesn't say; each is a call of its own then."""

DEFAULT_MAX_LOGPROBS = 20
"""Most likely tokens at one place where the card doesn't say: vLLM's own ``max_logprobs``, and OpenAI's bound."""


class _Place(NamedTuple):
    """Where an answer is kept, and under which conditions."""

    key: bytes
    directives: Directives
    ttl_s: float

    @property
    def wants_fresh(self) -> bool:
        """Whether an answer that somebody else has won't do."""
        return self.directives.no_cache or self.directives.no_store


class Generate:
    """
    The use case behind all routes that generate.

    Args:
        backend: Who runs the models.

        catalogue: Which models there are.

        cache: Where answers are kept; None keeps none.

        limits: What one model takes in.

        observer: Told how fast tokens come.

        split: Chooses versions; by default one of its own.
    """

    def __init__(
        self,
        backend: TritonBackend,
        catalogue: Catalogue,
        *,
        cache: ItemCache | None = None,
        limits: GenerationLimits = GenerationLimits(),  # noqa: B008  # nothing in it changes
        observer: GenerationObserver = SilentGenerationObserver(),  # noqa: B008  # it has no state
        split: ReleaseSplit | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._cache = cache
        self._limits = limits
        self._split = split or ReleaseSplit()
        self._writer = Writer(backend, limits, observer, self._split)
        self._shared: dict[bytes, Recording] = {}

    @property
    def running(self) -> int:
        """Answers that wait or are written now, over all models."""
        return self._writer.running

    def find(self, model_name: str, context: RequestContext) -> ServedModel:
        """
        Look up a model that generates.

        Args:
            model_name: As the caller wrote it.

            context: Who asks.

        Returns:
            The model.

        Raises:
            InvalidInput: If it is for something else.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.
        """
        return self._catalogue.find_for((TASK,), model_name, context.key_models)

    def check_prompts(self, prompts: Sequence[str], name_prompt: Callable[[int], str]) -> None:
        """
        Refuse a request with a prompt that can't be used, before any of them is begun.

        Args:
            prompts: All of the request's.

            name_prompt: Gives the name of one of them, for error messages.

        Raises:
            InvalidInput: If there are none or too many, or if one can't be used.
        """
        self._encode(prompts, name_prompt)

    async def start(
        self,
        model_name: str,
        prompt: str,
        sampling: Sampling,
        context: RequestContext,
        *,
        param: str = "prompt",
        version: int | None = None,
    ) -> Generation:
        """
        Have a prompt answered; returns once the answer has begun.

        Args:
            model_name: As the caller wrote it.

            prompt: What the model reads, whole.

            sampling: How to choose tokens.

            context: Who asks, until when, and what they want of the cache; learns what became of it, and gives the
                answer up at its end.

            param: The request's field that holds the prompt, for error messages.

            version: Which version is to answer; None leaves that to the release.

        Returns:
            The answer, as it comes. What goes wrong from here on is raised while it is read.

        Raises:
            InvalidInput: If the prompt or a sampling parameter can't be used.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.

            NotCached: If the caller wants only a stored answer and there is none.

            Overloaded: If the model has as much to do as it may have.

            ServiceError: If Triton can't answer.
        """
        (encoded,) = self._encode([prompt], lambda _: param)
        context.items += 1
        try:
            try:
                return await self._open(model_name, encoded, sampling, context, version=version)
            except VersionNotReady:
                # A release moved on between the look-up and the call: ask again, once.
                await self._catalogue.refresh()
                return await self._open(model_name, encoded, sampling, context, version=version)
        except FacadeError as error:
            explained = explain_failure(error, param=param)
            if explained is error:
                raise
            raise explained from error

    async def aclose(self) -> None:
        """Stop all answers; whoever reads one is told so."""
        await self._writer.aclose()

    def _encode(self, prompts: Sequence[str], name_prompt: Callable[[int], str]) -> list[bytes]:
        limits = Limits(max_item_bytes=self._limits.max_prompt_bytes)
        return encode_texts(prompts, limits=limits, param=name_prompt(0), name_text=name_prompt)

    async def _open(
        self,
        model_name: str,
        prompt: bytes,
        sampling: Sampling,
        context: RequestContext,
        *,
        version: int | None,
    ) -> Reader:
        model = self.find(model_name, context)
        if version is not None and version not in model.versions:
            reason = f"The model {model_name!r} has no version {version}; ready: {', '.join(map(str, model.versions))}."
            raise ModelNotFound(reason, param="version", code="model_not_found")
        card = model.card
        check_sampling(
            sampling,
            max_n=card.max_n or DEFAULT_MAX_N,
            max_logprobs=DEFAULT_MAX_LOGPROBS if card.max_logprobs is None else card.max_logprobs,
        )
        if version is not None:
            return await self._begin(Order(model, version, prompt, sampling), context)

        async def attempt(chosen: int, _deadline: float) -> Reader:
            return await self._begin(Order(model, chosen, prompt, sampling), context)

        _, reader = await self._split.answer(model, context, attempt)
        return reader

    async def _begin(self, order: Order, context: RequestContext) -> Reader:
        """Find the answer or have it written by one version, and wait until it has begun."""
        context.model, context.version = order.model.name, order.version
        context.headers["x-model-version"] = str(order.version)
        place = self._find_place(order, context)
        recording = None if place is None else await self._find_answer(place, order, context)
        if recording is None:
            recording = self._write(order, context, place)
        reader = Reader(recording, context)
        try:
            await reader.wait_begun()
        except asyncio.CancelledError:
            # A canary that is given up is read no further, though its caller is still there.
            reader.close()
            raise
        return reader

    def _find_place(self, order: Order, context: RequestContext) -> _Place | None:
        """Say where this answer is kept; None if it is nobody else's business."""
        wish = context.request_headers.get(b"cache-control")
        directives = parse_cache_control(None if wish is None else str(wish, "latin-1"))
        ttl_s = cache_ttl_s(TASK, order.model.card.default_cache_ttl_s)
        has_cache = self._cache is not None and ttl_s > 0
        if not has_cache or not is_kept(directives, deterministic=order.sampling.is_deterministic):
            if directives.only_if_cached:
                raise NotCached(
                    "This model's answers are not stored, and only-if-cached rules computing out."
                )
            if has_cache:
                context.cache = context.headers["x-cache"] = "bypass"
            return None
        keys = ItemKeys(
            scope=cache_scope(TASK, context.key_name or "", context.cache_scope),
            model=order.model.name,
            version=order.version,
            task=TASK,
            parameters={"sampling": msgspec.json.encode(order.sampling, order="deterministic")},
        )
        return _Place(keys.key(order.prompt), directives, ttl_s)

    async def _find_answer(self, place: _Place, order: Order, context: RequestContext) -> Recording | None:
        """Find the answer among the stored ones, or among those being written for somebody else."""
        assert self._cache is not None  # noqa: S101  # there is no place without it
        stored = await self._cache.look(place.key, place.directives)
        if stored is not None:
            found = from_bytes(stored.values[0], order.model, order.version, order.sampling.n)
            if found is not None:
                context.cache = context.headers["x-cache"] = stored.outcome
                context.headers["age"] = str(int(stored.age_s))
                return found
        context.cache = context.headers["x-cache"] = "bypass" if place.wants_fresh else "miss"
        # How old this one will be when it is whole is not known yet; who gave a max-age cares.
        may_join = not place.wants_fresh and place.directives.max_age_s is None
        shared = self._shared.get(place.key) if may_join else None
        is_open = shared is not None and shared.has_whole_text and shared.error is None
        return shared if is_open else None

    def _write(self, order: Order, context: RequestContext, place: _Place | None) -> Recording:
        """Have an answer written that nobody has."""
        epoch = 0 if self._cache is None else self._cache.epoch

        def keep(recording: Recording) -> None:
            if (
                self._cache is not None
                and place is not None
                and not place.directives.no_store
                and recording.has_whole_text
            ):
                self._cache.keep(place.key, to_bytes(recording), place.ttl_s, epoch=epoch)

        def unshare(recording: Recording) -> None:
            if place is not None and self._shared.get(place.key) is recording:
                del self._shared[place.key]

        share = Share(context.tier, context.priority, context.weight)
        recording = self._writer.write(order, share, on_whole=keep, on_gone=unshare)
        if place is not None and not place.wants_fresh:
            self._shared[place.key] = recording
        return recording
