"""
Texts to vectors: check, find the model, look in the cache, have the rest run, check what came back.

One text's answer is an `Embedding`: it is cached by itself, and texts of many callers travel in one call (`batcher`).
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facade.errors import BackendFailed, InvalidInput, VersionNotReady
from facade.inference.runner import Limits, Observer, Runner, SilentObserver
from facade.triton.codec import to_bytes_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.cache.items import ItemCache
    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.triton.interface import TritonBackend

OUTPUTS = ("embedding", "num_input_tokens")

_COUNT = struct.Struct("<I")


class Embedding(NamedTuple):
    """One text's answer."""

    vector: bytes
    """float32, little-endian, of the model's dimension."""

    num_input_tokens: int
    """Tokens of the whole text, special tokens included, before any truncation."""

    def to_bytes(self) -> bytes:
        """Write it for the cache: the count in four bytes, then the vector."""
        return _COUNT.pack(self.num_input_tokens) + self.vector

    @classmethod
    def from_bytes(cls, stored: bytes) -> Embedding:
        """Read what `to_bytes` wrote."""
        return cls(stored[4:], _COUNT.unpack_from(stored)[0])


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The answer to one request."""

    model: ServedModel
    """Who answered."""

    version: int
    """The version that answered."""

    vectors: list[bytes]
    """float32, little-endian, in the order of the texts."""

    prompt_tokens: int
    """Tokens that the model read, over all texts."""


class Embed:
    """
    The use case behind ``/v1/embeddings`` and ``/predict``.

    Args:
        backend: Who runs the models.

        catalogue: Which models there are.

        cache: Where answers are kept; None keeps none.

        limits: What one caller may send, and what one model takes in.

        observer: Told about batches and stages.
    """

    def __init__(
        self,
        backend: TritonBackend,
        catalogue: Catalogue,
        *,
        cache: ItemCache | None = None,
        limits: Limits = Limits(),  # noqa: B008  # nothing in it changes
        observer: Observer = SilentObserver(),  # noqa: B008  # it has no state
    ) -> None:
        self._catalogue = catalogue
        self._limits = limits
        self._runner = Runner(
            lambda model, version: _Call(backend, model.name, str(version), observer),
            cache=cache,
            limits=limits,
            observer=observer,
        )

    @property
    def queue_depth(self) -> int:
        """Texts that wait for a call, over all models."""
        return self._runner.queue_depth

    async def embed_texts(
        self,
        model_name: str,
        texts: Sequence[str],
        context: RequestContext,
        *,
        dimensions: int | None = None,
        truncate: bool = False,
        param: str = "input",
    ) -> Embeddings:
        """
        Turn texts into vectors.

        Args:
            model_name: As the caller wrote it.

            texts: At least one.

            context: Who asks, until when, and what they want of the cache; learns what became of it.

            dimensions: Keep so many leading components and scale back to length 1; None keeps all.

            truncate: Cut texts that are too long instead of refusing them.

            param: The request's field that holds the texts, for error messages.

        Returns:
            One vector a text.

        Raises:
            InvalidInput: If a text or *dimensions* can't be used.

            ModelNotFound: If there is no such model.

            PermissionDenied: If the caller may not use it.

            ServiceError: If Triton can't answer.
        """
        items = encode_texts(texts, limits=self._limits, param=param)
        context.items = len(items)
        model = self._find(model_name, context)
        dimension = _check_dimensions(dimensions, model)
        try:
            version = model.version
            answers = await self._runner.run(model, version, items, context)
        except VersionNotReady:
            # A release moved on between the look-up and the call: ask again, once.
            await self._catalogue.refresh()
            model = self._find(model_name, context)
            version = model.version
            answers = await self._runner.run(model, version, items, context)
        found = [Embedding.from_bytes(answer) for answer in answers]
        limit = model.card.max_input_tokens
        tokens = sum(min(answer.num_input_tokens, limit or answer.num_input_tokens) for answer in found)
        context.model, context.version, context.tokens = model.name, version, tokens
        context.headers["x-model-version"] = str(version)
        if limit is not None and not truncate:
            _refuse_long_texts(found, limit=limit, param=param, texts=texts)
        vectors = [shorten_vector(answer.vector, dimension) for answer in found]
        return Embeddings(model=model, version=version, vectors=vectors, prompt_tokens=tokens)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        await self._runner.aclose()

    def _find(self, model_name: str, context: RequestContext) -> ServedModel:
        model = self._catalogue.find(model_name, context.key_models)
        if model.card.task != "embedding":
            raise InvalidInput(
                f"The model {model_name!r} is for {model.card.task}, not for embeddings.", param="model"
            )
        return model


@dataclass(frozen=True, slots=True)
class _Call:
    """One merged call to one version of one model: texts in, `Embedding`s out, as bytes."""

    backend: TritonBackend
    model_name: str
    model_version: str
    observer: Observer

    async def __call__(self, items: Sequence[bytes], timeout_s: float) -> list[bytes]:
        """Run the texts as one batch."""
        started = time.perf_counter()
        outputs = await self.backend.infer(
            self.model_name,
            self.model_version,
            [to_bytes_tensor("text", items)],
            OUTPUTS,
            timeout_s=timeout_s,
        )
        self.observer.observe_stage("triton", time.perf_counter() - started)
        vectors, counts = outputs.get("embedding"), outputs.get("num_input_tokens")
        size = len(items)
        if vectors is None or counts is None or len(counts.raw) != 4 * size or len(vectors.raw) % size:
            raise BackendFailed(
                f"The model {self.model_name!r} does not keep to the embedding tensor contract."
            )
        tokens = np.frombuffer(counts.raw, dtype="<u4").tolist()
        width, raw = len(vectors.raw) // size, vectors.raw
        return [Embedding(raw[i * width : (i + 1) * width], tokens[i]).to_bytes() for i in range(size)]


def encode_texts(texts: Sequence[str], *, limits: Limits, param: str) -> list[bytes]:
    """
    Check a request's texts and write them as UTF-8.

    Args:
        texts: What the caller sent.

        limits: How many texts, and how large.

        param: The request's field that holds them, for error messages.

    Returns:
        One byte string a text.

    Raises:
        InvalidInput: If there are none or too many, or if one is too large or has a NUL character or a lone surrogate.
    """
    if not texts:
        raise InvalidInput(f"'{param}' must not be empty; send at least one text.", param=param)
    if len(texts) > limits.max_inputs:
        reason = f"'{param}' has {len(texts)} texts; at most {limits.max_inputs} are allowed in one request."
        raise InvalidInput(reason, param=param)
    encoded = []
    for index, text in enumerate(texts):
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError as error:
            where = _name_input(param, index, texts)
            reason = f"'{where}' has a lone surrogate at position {error.start}; send well-formed Unicode."
            raise InvalidInput(reason, param=where) from None
        if "\0" in text:
            where = _name_input(param, index, texts)
            raise InvalidInput(f"'{where}' has a NUL character at position {text.find(chr(0))}.", param=where)
        if len(encoded[-1]) > limits.max_item_bytes:
            where = _name_input(param, index, texts)
            reason = f"'{where}' has {len(encoded[-1])} bytes; one text may have {limits.max_item_bytes}. Shorten it."
            raise InvalidInput(reason, param=where, code="context_length_exceeded")
    return encoded


def shorten_vector(vector: bytes, dimension: int | None) -> bytes:
    """
    Keep the leading components and scale back to length 1.

    Args:
        vector: float32, little-endian, of shape (model's dimension,).

        dimension: How many components to keep; None keeps all.

    Returns:
        float32, little-endian, of shape (dimension,).

    Source:
        Kusupati et al. 2022, Matryoshka Representation Learning, arXiv:2205.13147.
    """
    if dimension is None or dimension * 4 == len(vector):
        return vector
    kept = np.frombuffer(vector, dtype="<f4", count=dimension)
    norm = float(np.linalg.norm(kept))
    return (kept / norm if norm > 0 else kept).astype("<f4").tobytes()


def _check_dimensions(dimensions: int | None, model: ServedModel) -> int | None:
    whole = model.card.dimension
    if dimensions is None:
        return None
    if dimensions < 1 or (whole is not None and dimensions > whole):
        raise InvalidInput(
            f"'dimensions' must be between 1 and {whole}, the model's own; got {dimensions}.",
            param="dimensions",
        )
    return dimensions


def _refuse_long_texts(found: Sequence[Embedding], *, limit: int, param: str, texts: Sequence[str]) -> None:
    for index, answer in enumerate(found):
        if answer.num_input_tokens > limit:
            where = _name_input(param, index, texts)
            raise InvalidInput(
                f"'{where}' has {answer.num_input_tokens} tokens; the model reads at most {limit}. "
                'Shorten it, or send "truncate": true to have it cut.',
                param=where,
                code="context_length_exceeded",
            )


def _name_input(param: str, index: int, texts: Sequence[str]) -> str:
    """The field's name, with the index where there are several texts."""
    return param if len(texts) == 1 else f"{param}[{index}]"
