"""The part of Triton's ``triton_python_backend_utils`` that the backend meets, as plain Python objects."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


class TritonModelException(Exception):
    """Raised to tell Triton that a model can't be loaded."""


class TritonError:
    """The error of one response."""

    def __init__(self, message: str) -> None:
        self._message = message

    def message(self) -> str:
        """Return the text."""
        return self._message


@dataclass
class Tensor:
    """A named array."""

    label: str
    array: np.ndarray

    def name(self) -> str:
        """Return the tensor's name."""
        return self.label

    def as_numpy(self) -> np.ndarray:
        """Return the array itself."""
        return self.array


@dataclass
class InferenceRequest:
    """What a client sent."""

    tensors: list[Tensor]
    wanted: list[str]

    def inputs(self) -> list[Tensor]:
        """Return all tensors."""
        return self.tensors

    def requested_output_names(self) -> list[str]:
        """Return what the client wants to have."""
        return self.wanted


@dataclass
class InferenceResponse:
    """What a client gets."""

    output_tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None

    def array(self, name: str) -> np.ndarray:
        """Return one output's array."""
        return next(tensor.array for tensor in self.output_tensors if tensor.label == name)


class Logger:
    """Keeps what was logged."""

    warnings: ClassVar[list[str]] = []

    @classmethod
    def log_warn(cls, text: str) -> None:
        """Keep a warning."""
        cls.warnings.append(text)


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    """Find an input; None if the request has none of that name."""
    return next((tensor for tensor in request.inputs() if tensor.name() == name), None)


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Let ``import triton_python_backend_utils`` find this module for a while."""
    name = "triton_python_backend_utils"
    before = sys.modules.get(name)
    sys.modules[name] = sys.modules[__name__]
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
