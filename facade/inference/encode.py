"""
Items to rows of numbers: find the model, look in the cache, have the rest run, once more if the release moved on.

What embedding, classification and reranking share; what the numbers mean is each task's own matter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facade.errors import InvalidInput, VersionNotReady
from facade.inference.contracts import CONTRACTS, Answer
from facade.inference.release_split import ReleaseSplit, recorded
from facade.inference.runner import Limits, Observer, Runner, SilentObserver, one_endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from facade.cache.items import ItemCache
    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.inference.contracts import TensorContract
    from facade.triton.interface import TritonBackend


@dataclass(frozen=True, slots=True)
class Encoded:
    """The answer to one request."""

    model: ServedModel
    """Who answered."""

    version: int
    """The version that answered."""

    answers: list[Answer]
    """One an item, in their order."""

    prompt_tokens: int
    """Tokens that the model read, over all items."""


class Encode:
    """
    The way of the items of all tasks but generation.

    Args:
        backend: Who runs the models.

        catalogue: Which models there are.

        cache: Where answers are kept; None keeps none.

        limits: What one caller may send, and what one model takes in.

        observer: Told about batches and stages.

        split: Chooses versions; by default one of its own.

        width: Gives how many Tritons share the calls now.
    """

    def __init__(
        self,
        backend: TritonBackend,
        catalogue: Catalogue,
        *,
        cache: ItemCache | None = None,
        limits: Limits = Limits(),  # noqa: B008  # nothing in it changes
        observer: Observer = SilentObserver(),  # noqa: B008  # it has no state
        split: ReleaseSplit | None = None,
        width: Callable[[], int] = one_endpoint,
    ) -> None:
        self.limits = limits
        self._catalogue = catalogue
        self._split = release_split = split or ReleaseSplit()
        self._runner = Runner(
            lambda model, version: _Call(
                backend, model.name, version, CONTRACTS[model.card.task], observer, release_split
            ),
            lambda model: CONTRACTS[model.card.task].call_bytes,
            cache=cache,
            limits=limits,
            observer=observer,
            width=width,
        )

    def queue_depths(self) -> dict[str, int]:
        """Items that wait for a call, over all models, by lane: of ``small`` requests and of ``large`` ones."""
        return self._runner.queue_depths()

    def find(self, model_name: str, tasks: Sequence[str], context: RequestContext) -> ServedModel:
        """
        Look up a model for certain tasks.

        Args:
            model_name: As the caller wrote it.

            tasks: What it may be for.

            context: Who asks.

        Returns:
            The model.

        Raises:
            InvalidInput: If it is for something else.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.
        """
        return self._catalogue.find_for(tasks, model_name, context.key_models)

    async def answer(
        self, model_name: str, tasks: Sequence[str], items: Sequence[bytes], context: RequestContext
    ) -> Encoded:
        """
        Answer a request's items.

        Args:
            model_name: As the caller wrote it.

            tasks: What the model may be for.

            items: At least one, as the task's contract takes them.

            context: Who asks, until when, and what they want of the cache; learns what became of it.

        Returns:
            One answer an item.

        Raises:
            InvalidInput: If the model is for something else.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.

            ServiceError: If Triton can't answer.
        """
        context.items = len(items)
        model = self.find(model_name, tasks, context)
        try:
            version, found = await self._answer(model, items, context)
        except VersionNotReady:
            # A release moved on between the look-up and the call: ask again, once.
            await self._catalogue.refresh()
            model = self.find(model_name, tasks, context)
            version, found = await self._answer(model, items, context)
        answers = [Answer.from_bytes(answer) for answer in found]
        limit = model.card.max_input_tokens
        tokens = sum(min(answer.num_input_tokens, limit or answer.num_input_tokens) for answer in answers)
        context.model, context.version, context.tokens = model.name, version, tokens
        context.headers["x-model-version"] = str(version)
        return Encoded(model, version, answers, tokens)

    async def _answer(
        self, model: ServedModel, items: Sequence[bytes], context: RequestContext
    ) -> tuple[int, Sequence[bytes]]:
        """Have items answered by the version that this caller gets."""

        def attempt(version: int, deadline: float) -> Awaitable[Sequence[bytes]]:
            return self._runner.run(model, version, items, context, deadline=deadline)

        return await self._split.answer(model, context, attempt)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await self._runner.aclose()


@dataclass(frozen=True, slots=True)
class _Call:
    """One merged call to one version of one model: items in, `Answer`s out, as bytes."""

    backend: TritonBackend
    model_name: str
    version: int
    contract: TensorContract
    observer: Observer
    split: ReleaseSplit

    async def __call__(self, items: Sequence[bytes], timeout_s: float) -> list[bytes]:
        """Run the items as one batch."""
        with recorded(self.split, self.model_name, self.version, sum(map(len, items))):
            started = time.perf_counter()
            outputs = await self.backend.infer(
                self.model_name,
                str(self.version),
                self.contract.to_inputs(items),
                self.contract.outputs,
                timeout_s=timeout_s,
            )
            self.observer.observe_stage("triton", time.perf_counter() - started)
            return self.contract.read(self.model_name, outputs, len(items))


def encode_texts(
    texts: Sequence[str], *, limits: Limits, param: str, name_text: Callable[[int], str] | None = None
) -> list[bytes]:
    """
    Check a request's texts and write them as UTF-8.

    Args:
        texts: What the caller sent.

        limits: How many texts, and how large.

        param: The request's field that holds them, for error messages.

        name_text: Gives the name of one of them for error messages; by default the field's, with an index where
            there are several.

    Returns:
        One byte string a text.

    Raises:
        InvalidInput: If there are none or too many, or if one is too large or has a NUL character or a lone surrogate.
    """
    name_text = name_text or name_items(param, len(texts))
    check_number(texts, limits=limits, param=param)
    encoded = []
    for index, text in enumerate(texts):
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError as error:
            where = name_text(index)
            reason = f"'{where}' has a lone surrogate at position {error.start}; send well-formed Unicode."
            raise InvalidInput(reason, param=where) from None
        if "\0" in text:
            where = name_text(index)
            raise InvalidInput(f"'{where}' has a NUL character at position {text.find(chr(0))}.", param=where)
        if len(encoded[-1]) > limits.max_item_bytes:
            where = name_text(index)
            reason = f"'{where}' has {len(encoded[-1])} bytes; one text may have {limits.max_item_bytes}. Shorten it."
            raise InvalidInput(reason, param=where, code="context_length_exceeded")
    return encoded


def check_number(inputs: Sequence[object], *, limits: Limits, param: str, kind: str = "text") -> None:
    """
    Refuse a request with nothing in it, or with too much.

    Args:
        inputs: What the caller sent.

        limits: How many there may be.

        param: The request's field that holds them.

        kind: What one of them is called.

    Raises:
        InvalidInput: If there are none or too many.
    """
    if not inputs:
        raise InvalidInput(f"'{param}' must not be empty; send at least one {kind}.", param=param)
    if len(inputs) > limits.max_inputs:
        reason = (
            f"'{param}' has {len(inputs)} {kind}s; at most {limits.max_inputs} are allowed in one request."
        )
        raise InvalidInput(reason, param=param)


def refuse_long_items(encoded: Encoded, name_item: Callable[[int], str]) -> None:
    """
    Refuse a request that the model could only read a part of.

    Args:
        encoded: What came back, with the true numbers of tokens.

        name_item: Gives the name of one input, for error messages.

    Raises:
        InvalidInput: If an item has more tokens than the model reads.
    """
    limit = encoded.model.card.max_input_tokens
    if limit is None:
        return
    for index, answer in enumerate(encoded.answers):
        if answer.num_input_tokens > limit:
            where = name_item(index)
            raise InvalidInput(
                f"'{where}' has {answer.num_input_tokens} tokens; the model reads at most {limit}. "
                'Shorten it, or send "truncate": true to have it cut.',
                param=where,
                code="context_length_exceeded",
            )


def name_items(param: str, count: int) -> Callable[[int], str]:
    """Say how a field's inputs are named: with the index where there are several."""
    return lambda index: param if count == 1 else f"{param}[{index}]"
