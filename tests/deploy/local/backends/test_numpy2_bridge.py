"""The bridge between a stub built for NumPy 1 and NumPy 2, each of its two spans."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest

from deploy.local.backends import numpy2_bridge

MAKE_ARRAY = """
import ctypes, sys, types
import numpy as np
from deploy.local.backends import numpy2_bridge

numpy2_bridge._bridge_array_making()
import numpy.core.multiarray as seen_by_stub

get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
table = ctypes.cast(get_pointer(seen_by_stub._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
make = numpy2_bridge._new_from_descr_type(table[94])
dtype = np.dtype(np.float32)
memory = np.arange(6, dtype=dtype)
ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))  # the function keeps the reference it is given
dims, strides = (ctypes.c_ssize_t * 2)(2, 3), (ctypes.c_ssize_t * 2)(0, 0)
array = make(id(np.ndarray), id(dtype), 2, dims, strides, memory.ctypes.data, 0, None)
print(array.tolist(), array.strides)
"""


def test_an_array_without_strides_gets_them() -> None:
    """Elements that the stub takes to be 0 bytes long are laid out as they are."""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MAKE_ARRAY], capture_output=True, text=True, check=True
    )

    assert answer.stdout == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] (12, 4)\n"


class StubTensor:
    """What the stub's C++ class does: it reads a length where NumPy 1 had it."""

    def __init__(self, name: str, array: Any) -> None:
        serialised = self.utils.serialize_byte_tensor(array)
        field = ctypes.c_int32.from_address(id(serialised.dtype) + 32)
        self.payload, self.field = serialised.tobytes()[: field.value], field

    utils: Any = None

    @classmethod
    def from_dlpack(cls, name: str, capsule: Any) -> Any:
        """Keep what comes by DLPack."""
        tensor = cls.__new__(cls)
        tensor.payload = repr(capsule)
        return tensor


@pytest.fixture(name="tensor_class")
def _tensor_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bridged class, made as the stub would cause it to be."""
    utils = types.ModuleType("utils")
    utils.__dict__["serialize_byte_tensor"] = lambda array: b"".join(array.ravel())
    monkeypatch.setattr(numpy2_bridge, "_bridge_array_making", lambda: None)
    numpy2_bridge.connect(utils)
    utils.Tensor = StubTensor
    monkeypatch.setattr(StubTensor, "utils", utils)
    return utils.Tensor


def test_texts_have_the_length_that_the_stub_reads(tensor_class: Any) -> None:
    """The length stands in the dtype while the tensor is made, and no longer."""
    tensor = tensor_class("out", np.array([[b"one"], [b"three"]], dtype=np.object_))

    assert tensor.payload == b"onethree"
    assert numpy2_bridge._lent == []


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.broadcast_to(np.float32(1), (2, 3)),
        np.zeros((0, 3), dtype=np.int64),
        np.array([True, False]),
    ],
    ids=["plain", "scattered", "read-only", "empty", "bool"],
)
def test_numbers_travel_by_dlpack(tensor_class: Any, array: Any) -> None:
    """Whatever their memory looks like; the capsule ends up marked as NumPy expects it."""
    assert "dltensor" in tensor_class("out", array).payload
