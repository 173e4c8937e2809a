"""Tensors out of a file in the format of ``torch.save`` before 1.6, without torch or running the pickle.

Such a file is, one after the other: a pickled magic number, a pickled protocol version, a pickled dict about
the machine that wrote it, the pickled object, the pickled list of storage keys, and for each key an int64
count and that many raw elements. In the object a tensor is a call of ``torch._utils._rebuild_tensor_v2`` on a
*persistent id* that names its storage. Source of the layout: ``_legacy_save`` in torch/serialization.py.

A pickle is a program. This one may call what builds a tensor and an OrderedDict, and nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from auricle.errors import AuricleError, BundleError

__all__ = ["read_tensors"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_DTYPES = {
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "ShortStorage": "<i2",
}


@dataclass(frozen=True, kw_only=True)
class _StorageType:
    """Stands for a class such as torch.FloatStorage; not callable, so a pickle can only name it."""

    dtype: str


@dataclass(frozen=True, kw_only=True)
class _Storage:
    key: str
    dtype: str
    size: int


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """What a pickle said of a tensor. Nothing of it is trusted before ``_materialise`` has checked it."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def read_tensors(data: bytes, *, section: str) -> dict[str, NDArray[Any]]:
    """The tensors of one section of a checkpoint.

    Args:
        data: the whole file.
        section: key of the checkpoint's outermost dict, whose value maps names to tensors (a state dict).

    Returns:
        Name → array that owns its memory, in the section's order. Entries that are no tensors are left out.

    Raises:
        BundleError: not such a file, cut short, of another byte order, without the section, or with anything
            in its pickle that does not build a tensor. Nothing of the pickle's own choosing has run then.
    """
    if data[:2] == b"PK":
        raise BundleError(
            "the weights are in torch's zip format, and only its older one is read; "
            "save them with torch.save(..., _use_new_zipfile_serialization=False)"
        )
    stream = io.BytesIO(data)
    if _unpickle(stream, "magic number") != _MAGIC:
        raise BundleError("the weights do not start with torch's magic number; is this a torch checkpoint?")
    protocol = _unpickle(stream, "protocol version")
    if protocol != _PROTOCOL:
        raise BundleError(f"the weights have torch's protocol {protocol!r}; only {_PROTOCOL} is read")
    system = _unpickle(stream, "system information")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise BundleError("the weights were not written by a little-endian machine; save them again on one that is")
    storages: dict[str, _Storage] = {}
    root = _unpickle(stream, "object", storages)
    arrays = _read_storages(data, stream, storages)
    tensors = root.get(section) if isinstance(root, dict) else None
    if not isinstance(tensors, dict):
        found = ", ".join(map(repr, root)) if isinstance(root, dict) else type(root).__name__
        raise BundleError(f"the weights have no section {section!r}; they have: {found}")
    return {
        name: _materialise(name, tensor, arrays)
        for name, tensor in tensors.items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _StorageType(dtype=_DTYPES[name])
        raise BundleError(
            f"the weights' pickle asks for {module}.{name}, which builds no tensor; the file is refused and "
            "nothing of it was run -- get it again from its source"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(size), None) if size >= 0:
                storage = _Storage(key=key, dtype=dtype, size=size)
                if self._storages.setdefault(key, storage) != storage:
                    raise BundleError(f"the weights describe storage {key!r} in two ways; the file is damaged")
                return storage
        raise BundleError(f"the weights name a storage in a way that is not read: {pid!r:.200}")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any) -> _Tensor:
    # What follows (requires_grad, backward hooks, metadata) is of no use for inference.
    return _Tensor(storage=storage, offset=offset, shape=shape, strides=strides)


def _unpickle(stream: io.BytesIO, what: str, storages: dict[str, _Storage] | None = None) -> Any:
    start_bytes = stream.tell()
    try:
        return _Unpickler(stream, {} if storages is None else storages).load()
    except AuricleError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise BundleError(
            f"the weights' {what} at byte {start_bytes} cannot be read ({type(error).__name__}: {error}); "
            "the file is cut short or is no torch checkpoint -- get it again from its source"
        ) from error


def _read_storages(data: bytes, stream: io.BytesIO, storages: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    keys = _unpickle(stream, "list of storages")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BundleError("the weights' list of storages is no list of keys; the file is damaged")
    if len(keys) != len(set(keys)) or set(keys) != set(storages):
        raise BundleError("the weights' list of storages differs from those that its tensors use; the file is damaged")
    arrays: dict[str, NDArray[Any]] = {}
    at_bytes = stream.tell()
    for key in keys:
        storage = storages[key]
        dtype = np.dtype(storage.dtype)
        if len(data) - at_bytes < 8 + storage.size * dtype.itemsize:
            _refuse_cut(key, len(data))
        (size,) = struct.unpack_from("<q", data, at_bytes)
        if size != storage.size:
            raise BundleError(
                f"the weights' storage {key!r} has {size} elements where its tensors say {storage.size}; "
                "the file is damaged"
            )
        arrays[key] = np.frombuffer(data, dtype, count=size, offset=at_bytes + 8)
        at_bytes += 8 + size * dtype.itemsize
    if at_bytes != len(data):
        raise BundleError(f"the weights have {len(data) - at_bytes} bytes after their end; the file is damaged")
    return arrays


def _refuse_cut(key: str, size_bytes: int) -> NoReturn:
    raise BundleError(
        f"the weights end at byte {size_bytes}, within storage {key!r}: the file is cut short -- "
        "get it again from its source"
    )


def _materialise(name: str, tensor: _Tensor, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
    sound = (
        isinstance(storage, _Storage)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides)
        and all(type(value) is int and value >= 0 for value in (offset, *shape, *strides))
    )
    if sound:
        array = arrays[storage.key]
        count = math.prod(shape)
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        # The second condition keeps a stride of 0 from blowing a few bytes up into gigabytes.
        sound = (count == 0 or last < array.size) and count <= array.size
    if not sound:
        raise BundleError(
            f"the weights' tensor {name!r} does not lie within its storage "
            f"(offset {offset!r:.50}, shape {shape!r:.50}, strides {strides!r:.50}); the file is damaged"
        )
    if count == 0:
        return np.empty(shape, array.dtype)
    strides_bytes = tuple(stride * array.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(array[offset:], shape, strides_bytes, writeable=False).copy()
