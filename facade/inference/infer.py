"""
Tensors to tensors, of any model that Triton has: the V2 protocol's inference.

Two ways:

1. A model with a card, asked as its task's contract has it and for no certain version, is answered like every other
   request for that task: from the cache, merged with other callers' items.
2. Everything else goes to Triton as it came. Nothing of it is kept: whether a model gives the same answer twice, and
   what its parameters change, is known only of the tasks that we have a contract for.

Either way the caller's key must allow the model, and what counts tokens is charged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from facade.errors import InvalidInput, ModelNotFound, VersionNotReady
from facade.inference.admission import Admission
from facade.inference.contracts import CONTRACTS, COUNT_OUTPUT
from facade.inference.fair_queue import Share
from facade.inference.release_split import ReleaseSplit, recorded
from facade.inference.tensor_items import find_items, to_outputs
from facade.triton.interface import InferOptions, Outputs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.inference.encode import Encode
    from facade.triton.interface import ModelDescription, Tensor, Topic, TritonBackend

MAX_CALLS = 256
"""Calls of the second way that one worker has under way for one model; each holds its whole body."""

INSPECT_TIMEOUT_S = 5.0
"""Most seconds that Triton may take to tell about itself."""

SEQUENCE = "sequence_id"


@dataclass(frozen=True, slots=True)
class Order:
    """What one request asks for."""

    model_name: str
    """As the caller wrote it."""

    version: str
    """Decimal number; empty where the caller names none."""

    inputs: Sequence[Tensor]
    """All inputs of the model."""

    outputs: tuple[str, ...] = ()
    """Names of the outputs wanted; none for all."""

    options: InferOptions = InferOptions()  # noqa: RUF009  # nothing in it changes
    """What is asked for beside the tensors."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """The answer to one request."""

    model_name: str
    """Who answered."""

    version: int
    """The version that answered."""

    outputs: Mapping[str, Tensor]
    """Those that were wanted, by name."""

    parameters: Mapping[str, Any]
    """What the model says beside them."""


class Infer:
    """
    The use case behind ``infer``, and behind everything that asks Triton about its models.

    Args:
        backend: Who runs the models.

        catalogue: Which models there are.

        encode: Has the items of our tasks answered.

        split: Chooses versions; by default one of its own.
    """

    def __init__(
        self, backend: TritonBackend, catalogue: Catalogue, encode: Encode, split: ReleaseSplit | None = None
    ) -> None:
        self._backend = backend
        self._catalogue = catalogue
        self._encode = encode
        self._split = split or ReleaseSplit()
        self._admissions: dict[str, Admission] = {}

    def find(self, model_name: str, context: RequestContext) -> ModelDescription:
        """
        Look up any model that Triton has.

        Args:
            model_name: As the caller wrote it.

            context: Who asks.

        Returns:
            What Triton says of it.

        Raises:
            ModelNotFound: If Triton doesn't serve it.

            PermissionDenied: If the caller may not use it.
        """
        return self._catalogue.find_described(model_name, context.key_models)

    async def inspect(self, topic: Topic, model_name: str, version: str, context: RequestContext) -> Any:
        """
        Ask Triton about itself or a model.

        Args:
            topic: What is asked.

            model_name: Of which model; empty for the server, or for all.

            version: Of which version; empty for Triton's choice, or for all.

            context: Who asks, and until when.

        Returns:
            Values for JSON.

        Raises:
            ModelNotFound: If there is no such model or version.

            PermissionDenied: If the caller may not use the model.

            ServiceError: If Triton can't answer.
        """
        if model_name:
            self.find(model_name, context)
        timeout_s = min(INSPECT_TIMEOUT_S, _remaining_s(context.deadline))
        try:
            return await self._backend.inspect(topic, model_name, version, timeout_s=timeout_s)
        except VersionNotReady as error:
            raise _no_version(error) from error

    async def answer(self, order: Order, context: RequestContext) -> Inferred:
        """
        Answer one request.

        Args:
            order: What it asks for.

            context: Who asks, until when, and what they want of the cache; learns what became of it.

        Returns:
            The outputs.

        Raises:
            InvalidInput: If an input, an output or an option can't be used.

            ModelNotFound: If there is no such model or version.

            PermissionDenied: If the caller may not use the model.

            ServiceError: If Triton can't answer.
        """
        name = order.model_name
        described = self.find(name, context)
        if described.is_decoupled:
            raise InvalidInput(
                f"The model '{name}' may answer many times, so that infer can't have it answered; use generate or "
                "generate_stream, where it writes text, or Triton's gRPC."
            )
        model = self._catalogue.models.get(name)
        if model is not None and not order.version and order.options == InferOptions():
            items = find_items(model.card.task, order.inputs, order.outputs, self._encode.limits)
            if items is not None:
                encoded = await self._encode.answer(name, (model.card.task,), items, context)
                found = to_outputs(model.card.task, encoded.answers, order.outputs)
                return Inferred(name, encoded.version, found, {})
        context.items = _count_rows(described, order.inputs)
        return await self._pass_on(described, order, context)

    async def _pass_on(self, described: ModelDescription, order: Order, context: RequestContext) -> Inferred:
        """Have Triton answer a request as it came."""
        name, wanted = described.name, order.outputs
        model = self._catalogue.models.get(name)
        counts = model is not None and _counts_tokens(model)
        if counts and wanted and COUNT_OUTPUT not in wanted:
            wanted = (*wanted, COUNT_OUTPUT)
        options = _own_sequence(order.options, context)
        size = sum(len(tensor.raw) for tensor in order.inputs)

        async def attempt(number: int, deadline: float) -> Mapping[str, Tensor]:
            with recorded(self._split, name, number, size):
                return await self._backend.infer(
                    name, str(number), order.inputs, wanted, timeout_s=_remaining_s(deadline), options=options
                )

        share = Share(context.tier, context.priority, context.weight)
        admission = self._admission(name)
        admission.enter(1, share)
        try:
            number, found = await self._attempt(described, order.version, context, attempt)
        finally:
            admission.leave(1, share)
        context.model, context.version = name, number
        context.headers["x-model-version"] = str(number)
        if counts and model is not None:
            context.tokens = _count_tokens(found, model)
        kept = {key: found[key] for key in order.outputs if key in found} if order.outputs else found
        return Inferred(name, number, kept, found.parameters if isinstance(found, Outputs) else {})

    async def _attempt(
        self,
        described: ModelDescription,
        version: str,
        context: RequestContext,
        attempt: Callable[[int, float], Awaitable[Mapping[str, Tensor]]],
    ) -> tuple[int, Mapping[str, Tensor]]:
        """Have it answered by the version that the caller names, or that the release gives them."""
        if version:
            try:
                return int(version), await attempt(int(version), context.deadline)
            except VersionNotReady as error:
                raise _no_version(error) from error
        try:
            return await self._attempt_release(described, context, attempt)
        except VersionNotReady:
            # A release moved on between the look-up and the call: ask again, once.
            await self._catalogue.refresh()
            return await self._attempt_release(self.find(described.name, context), context, attempt)

    async def _attempt_release(
        self,
        described: ModelDescription,
        context: RequestContext,
        attempt: Callable[[int, float], Awaitable[Mapping[str, Tensor]]],
    ) -> tuple[int, Mapping[str, Tensor]]:
        model = self._catalogue.models.get(described.name)
        if model is not None:
            return await self._split.answer(model, context, attempt)
        newest = described.newest_version
        if newest is None or newest not in described.ready_versions:
            newest = described.ready_versions[-1]
        return newest, await attempt(newest, context.deadline)

    def _admission(self, model_name: str) -> Admission:
        found = self._admissions.get(model_name)
        if found is None:
            # Only models that Triton serves come here, so there are no more of these than of those.
            found = self._admissions[model_name] = Admission(MAX_CALLS, MAX_CALLS, 1)
        return found


def _own_sequence(options: InferOptions, context: RequestContext) -> InferOptions:
    """
    Give a caller's sequence a name that is nobody else's.

    Triton knows a sequence by its number alone: with another caller's number one could go on with their sequence.
    """
    given = options.parameters.get(SEQUENCE)
    if given is None or given in {0, ""}:
        return options
    # Every key has a name of its own; the zero byte can't be part of one.
    digest = blake2b(f"{context.key_name}\0{given}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big") >> 1 or 1
    own = str(number) if isinstance(given, str) else number
    return replace(options, parameters={**options.parameters, SEQUENCE: own})


def _counts_tokens(model: ServedModel) -> bool:
    """Whether the model's answers say how many tokens they took."""
    contract = CONTRACTS.get(model.card.task)
    return contract is not None and contract.counts_tokens


def _count_rows(described: ModelDescription, inputs: Sequence[Tensor]) -> int:
    if described.max_batch_size <= 0 or not inputs or not inputs[0].shape:
        return 1
    return max(1, inputs[0].shape[0])


def _count_tokens(outputs: Mapping[str, Tensor], model: ServedModel) -> int:
    counts = outputs.get(COUNT_OUTPUT)
    if counts is None or counts.datatype != "UINT32":
        return 0
    tokens = np.frombuffer(counts.raw, dtype="<u4")
    limit = model.card.max_input_tokens
    return int((tokens if limit is None else np.minimum(tokens, limit)).sum(dtype=np.int64))


def _remaining_s(deadline: float) -> float:
    return max(deadline - asyncio.get_running_loop().time(), 0.001)


def _no_version(error: VersionNotReady) -> VersionNotReady | ModelNotFound:
    """The caller named a version that isn't there: that is no passing trouble of ours."""
    if "is not found" in error.message:
        return ModelNotFound(error.message, param="version", code="model_not_found")
    return error
