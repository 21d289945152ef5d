"""
Lets the Python stub of Triton 2.51 work with NumPy 2, the only NumPy there is for Python 3.13.

The stub was built against NumPy 1 and reads the size of an element at a place where NumPy 2 keeps a dtype's
flags, which are 0: it takes every element to be 0 bytes long. It asks for that size in two places only:

1. to compute strides when it makes an array of an input: `_bridge_array_making` lets NumPy compute them;
2. to tell how many bytes an output has: numeric outputs travel by DLPack instead, which carries its own
   sizes, and texts in an array whose dtype has their length written where the stub looks.

Used on Python 3.13 alone, where `install` appends one line to Triton's ``triton_python_backend_utils``.
"""

from __future__ import annotations

import ctypes
import types
import warnings
from typing import Any

import numpy as np

_NEW_FROM_DESCR = 94
"""Index of PyArray_NewFromDescr in NumPy's table of C functions; part of its ABI since NumPy 1.0."""

_TABLE_LENGTH = 300
"""As much of that table as the stub uses."""

_ELSIZE_OFFSET = 32
"""Where NumPy 1 kept `PyArray_Descr.elsize`, an int; NumPy 2 has the lower half of `flags` there."""

_new_from_descr_type = ctypes.PYFUNCTYPE(
    ctypes.py_object,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_ssize_t),
    ctypes.POINTER(ctypes.c_ssize_t),
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_void_p,
)
_kept_alive: list[Any] = []
"""C function tables and callbacks that the stub points to for as long as it runs."""

_lent: list[tuple[Any, Any]] = []
"""Dtype fields that hold a length instead of flags at this moment, each with its array."""


def connect(utils: types.ModuleType) -> None:
    """
    Put the bridge between a stub and NumPy.

    Args:
        utils: Triton's module ``triton_python_backend_utils``, while it is being imported.
    """
    _bridge_array_making()
    utils.__dict__["serialize_byte_tensor"] = _with_visible_length(utils.__dict__["serialize_byte_tensor"])
    utils.__class__ = _UtilsModule


class _UtilsModule(types.ModuleType):
    """The stub sets its C++ classes as attributes; `Tensor` is replaced by one that goes over the bridge."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _bridged_tensor(value) if name == "Tensor" else value)


def _bridge_array_making() -> None:
    """Hand the stub a copy of NumPy's C table in which new arrays get proper strides."""
    from numpy._core import multiarray  # noqa: PLC0415 - where NumPy 2 keeps its table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import numpy.core.multiarray as seen_by_stub  # noqa: PLC0415 - NumPy 1's name, which the stub uses

    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype = ctypes.py_object
    new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

    table = (ctypes.c_void_p * _TABLE_LENGTH)()
    original_table = get_pointer(multiarray.__dict__["_ARRAY_API"], None)
    ctypes.memmove(table, original_table, ctypes.sizeof(table))
    original = _new_from_descr_type(table[_NEW_FROM_DESCR] or 0)

    def new_from_descr(  # noqa: PLR0917 - the signature is NumPy's
        subtype: Any, descr: Any, ndim: int, dims: Any, strides: Any, memory: Any, flags: int, obj: Any
    ) -> Any:
        # All-zero strides are what comes of elements "0 bytes long".
        if strides and not any(strides[axis] for axis in range(ndim)):
            strides = None
        return original(subtype, descr, ndim, dims, strides, memory, flags, obj)

    callback = _new_from_descr_type(new_from_descr)
    table[_NEW_FROM_DESCR] = ctypes.cast(callback, ctypes.c_void_p).value
    _kept_alive.extend([table, original, callback])
    seen_by_stub.__dict__["_ARRAY_API"] = new_capsule(ctypes.addressof(table), None, None)


def _with_visible_length(serialize: Any) -> Any:
    """Wrap Triton's serialiser, so that the stub finds the length of what it returns."""

    def serialize_byte_tensor(tensor: Any) -> Any:
        encoded = serialize(tensor)
        if not encoded:
            return encoded
        # A dtype object of its own, which nobody else sees and NumPy does not look into meanwhile.
        array = np.frombuffer(encoded, dtype=np.dtype((np.void, len(encoded))))
        elsize = ctypes.c_int32.from_address(id(array.dtype) + _ELSIZE_OFFSET)
        elsize.value = len(encoded)
        _lent.append((elsize, array))
        return array

    return serialize_byte_tensor


def _bridged_tensor(base: Any) -> Any:
    """Derive from the stub's `Tensor` one that is built in a way in which sizes come out right."""
    set_name = ctypes.pythonapi.PyCapsule_SetName
    set_name.restype, set_name.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]

    class Tensor(base):  # type: ignore[misc]
        """`c_python_backend_utils.Tensor`, over the bridge."""

        def __new__(cls, name: str, array: Any) -> Any:
            """Make a plain tensor of the stub's own class."""
            if array.dtype.kind in "OS":
                try:
                    return base(name, array)
                finally:
                    for elsize, _ in _lent:
                        elsize.value = 0
                    _lent.clear()
            # DLPack knows neither read-only nor scattered memory.
            if not (array.flags.c_contiguous and array.flags.writeable):
                array = array.copy(order="C")
            capsule = array.__dlpack__()
            tensor = base.from_dlpack(name, capsule)
            # The stub marks the capsule as used by another name than NumPy looks for when it is freed.
            set_name(capsule, b"used_dltensor")
            return tensor

    return Tensor
