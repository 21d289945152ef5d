"""
Texts to vectors: check, find the model, have the texts run, check what came back.

One text's answer is an `Embedding`; texts of many callers travel in one call (`batcher`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facade.errors import BackendFailed, InvalidInput, VersionNotReady
from facade.inference.batcher import Batcher
from facade.triton.codec import to_bytes_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.triton.interface import TritonBackend

OUTPUTS = ("embedding", "num_input_tokens")


class Embedding(NamedTuple):
    """One text's answer."""

    vector: bytes
    """float32, little-endian, of the model's dimension."""

    num_input_tokens: int
    """Tokens of the whole text, special tokens included, before any truncation."""


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

        max_inputs: Most texts in one request.

        calls_in_flight: Merged calls under way for one model version.

        observe_batch: Called with model name, size and longest wait in seconds of each merged call.
    """

    def __init__(
        self,
        backend: TritonBackend,
        catalogue: Catalogue,
        *,
        max_inputs: int,
        calls_in_flight: int,
        observe_batch: Callable[[str, int, float], None] = lambda _model, _size, _waited_s: None,
    ) -> None:
        self._backend = backend
        self._catalogue = catalogue
        self._max_inputs = max_inputs
        self._calls_in_flight = calls_in_flight
        self._observe_batch = observe_batch
        self._batchers: dict[tuple[str, int], Batcher[bytes, Embedding]] = {}

    async def embed_texts(
        self,
        model_name: str,
        texts: Sequence[str],
        *,
        deadline: float,
        dimensions: int | None = None,
        truncate: bool = False,
        param: str = "input",
    ) -> Embeddings:
        """
        Turn texts into vectors.

        Args:
            model_name: As the caller wrote it.

            texts: At least one.

            deadline: On the loop's clock, in seconds.

            dimensions: Keep so many leading components and scale back to length 1; None keeps all.

            truncate: Cut texts that are too long instead of refusing them.

            param: The request's field that holds the texts, for error messages.

        Returns:
            One vector a text.

        Raises:
            InvalidInput: If a text or *dimensions* can't be used.

            ModelNotFound: If there is no such model.

            ServiceError: If Triton can't answer.
        """
        items = encode_texts(texts, max_inputs=self._max_inputs, param=param)
        model = self._find(model_name)
        dimension = _check_dimensions(dimensions, model)
        try:
            version = model.version
            found = await self._batcher(model, version).submit(items, deadline=deadline)
        except VersionNotReady:
            # A release moved on between the look-up and the call: ask again, once.
            await self._catalogue.refresh()
            model = self._find(model_name)
            version = model.version
            found = await self._batcher(model, version).submit(items, deadline=deadline)
        limit = model.card.max_input_tokens
        if limit is not None and not truncate:
            _refuse_long_texts(found, limit=limit, param=param, is_single=len(texts) == 1)
        return Embeddings(
            model=model,
            version=version,
            vectors=[shorten_vector(answer.vector, dimension) for answer in found],
            prompt_tokens=sum(min(a.num_input_tokens, limit or a.num_input_tokens) for a in found),
        )

    async def aclose(self) -> None:
        """Cancel what is under way."""
        for batcher in self._batchers.values():
            await batcher.aclose()

    def _find(self, model_name: str) -> ServedModel:
        model = self._catalogue.find(model_name)
        if model.card.task != "embedding":
            raise InvalidInput(
                f"The model {model_name!r} is for {model.card.task}, not for embeddings.", param="model"
            )
        return model

    def _batcher(self, model: ServedModel, version: int) -> Batcher[bytes, Embedding]:
        key = (model.name, version)
        batcher = self._batchers.get(key)
        if batcher is None:
            batcher = self._batchers[key] = Batcher(
                _Call(self._backend, model.name, str(version)),
                max_batch_size=model.max_batch_size,
                max_calls=self._calls_in_flight,
                observe_batch=partial(self._observe_batch, model.name),
            )
        return batcher


@dataclass(frozen=True, slots=True)
class _Call:
    """One merged call to one version of one model: texts in, `Embedding`s out."""

    backend: TritonBackend
    model_name: str
    model_version: str

    async def __call__(self, items: Sequence[bytes], timeout_s: float) -> list[Embedding]:
        """Run the texts as one batch."""
        outputs = await self.backend.infer(
            self.model_name,
            self.model_version,
            [to_bytes_tensor("text", items)],
            OUTPUTS,
            timeout_s=timeout_s,
        )
        vectors, counts = outputs.get("embedding"), outputs.get("num_input_tokens")
        size = len(items)
        if vectors is None or counts is None or len(counts.raw) != 4 * size or len(vectors.raw) % size:
            raise BackendFailed(
                f"The model {self.model_name!r} does not keep to the embedding tensor contract."
            )
        tokens = np.frombuffer(counts.raw, dtype="<u4").tolist()
        width, raw = len(vectors.raw) // size, vectors.raw
        return [Embedding(raw[i * width : (i + 1) * width], tokens[i]) for i in range(size)]


def encode_texts(texts: Sequence[str], *, max_inputs: int, param: str) -> list[bytes]:
    """
    Check a request's texts and write them as UTF-8.

    Args:
        texts: What the caller sent.

        max_inputs: Most texts in one request.

        param: The request's field that holds them, for error messages.

    Returns:
        One byte string a text.

    Raises:
        InvalidInput: If there are none or too many, or if one has a NUL character or a lone surrogate.
    """
    if not texts:
        raise InvalidInput(f"'{param}' must not be empty; send at least one text.", param=param)
    if len(texts) > max_inputs:
        raise InvalidInput(
            f"'{param}' has {len(texts)} texts; at most {max_inputs} are allowed in one request.", param=param
        )
    encoded = []
    for index, text in enumerate(texts):
        where = param if len(texts) == 1 else f"{param}[{index}]"
        if "\0" in text:
            raise InvalidInput(
                f"'{where}' has a NUL character at position {text.index(chr(0))}.", param=where
            )
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"'{where}' has a lone surrogate at position {error.start}; send well-formed Unicode.",
                param=where,
            ) from None
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


def _refuse_long_texts(found: Sequence[Embedding], *, limit: int, param: str, is_single: bool) -> None:
    for index, answer in enumerate(found):
        if answer.num_input_tokens > limit:
            where = param if is_single else f"{param}[{index}]"
            raise InvalidInput(
                f"'{where}' has {answer.num_input_tokens} tokens; the model reads at most {limit}. "
                'Shorten it, or send "truncate": true to have it cut.',
                param=where,
                code="context_length_exceeded",
            )
