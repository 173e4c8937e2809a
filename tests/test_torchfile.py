"""The reader of torch's older checkpoint format, on files that are written here by hand."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.errors import BundleError
from auricle.model.torchfile import read_tensors

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Storage:
    """What torch gives a persistent id to."""

    def __init__(self, key: str, values: np.ndarray, type_name: str) -> None:
        self.key, self.values, self.type_name = key, values, type_name


class Tensor:
    """Pickles as torch's tensors do; offset, shape and strides count elements."""

    def __init__(self, storage: object, offset: object, shape: tuple[object, ...], strides: tuple[object, ...]) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.fixture(autouse=True)
def torch_names(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The pickler looks names up before it writes them, so they have to be there."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "DoubleStorage", "LongStorage", "HalfStorage", "BoolStorage", "Generator"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*arguments: object) -> None:
        raise AssertionError("the reader must not call this")

    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", *["_rebuild_tensor_v2"] * 2
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def legacy_file(root: object, *, system: object = SYSTEM, protocol: object = 1001, magic: object = MAGIC) -> bytes:
    storages: dict[str, Storage] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: object) -> object:
            if not isinstance(thing, Storage):
                return None
            storages[thing.key] = thing
            kind = getattr(sys.modules["torch"], thing.type_name)
            return ("storage", kind, thing.key, "cuda:0", len(thing.values), None)

    body = io.BytesIO()
    Pickler(body, protocol=2).dump(root)
    parts = [pickle.dumps(value, protocol=2) for value in (magic, protocol, system)]
    parts += [body.getvalue(), pickle.dumps(sorted(storages), protocol=2)]
    for key in sorted(storages):
        parts += [struct.pack("<q", len(storages[key].values)), storages[key].values.tobytes()]
    return b"".join(parts)


def floats(count: int, key: str = "1") -> Storage:
    return Storage(key, np.arange(count, dtype="<f4") / 7, "FloatStorage")


def test_tensors_come_back_with_their_values_shapes_and_order() -> None:
    storage = floats(12)
    state = OrderedDict(
        b=Tensor(storage, 2, (2, 3), (3, 1)),
        a=Tensor(storage, 0, (4, 3), (1, 4)),
        scalar=Tensor(storage, 11, (), ()),
        empty=Tensor(storage, 12, (0, 5), (5, 1)),
        step=7,
    )
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]  # as nn.Module does
    got = read_tensors(legacy_file({"step": 3, "model_state": state, "more": [1.5, None]}), section="model_state")

    values = np.arange(12, dtype=np.float32) / 7
    assert list(got) == ["b", "a", "scalar", "empty"]
    np.testing.assert_array_equal(got["b"], values[2:8].reshape(2, 3))
    np.testing.assert_array_equal(got["a"], values.reshape(3, 4).T)
    np.testing.assert_array_equal(got["scalar"], values[11])
    assert got["empty"].shape == (0, 5)
    assert all(array.dtype == np.float32 and array.flags.owndata for array in got.values())


@pytest.mark.parametrize(
    ("type_name", "dtype"),
    [
        ("DoubleStorage", "f8"),
        ("FloatStorage", "f4"),
        ("HalfStorage", "f2"),
        ("LongStorage", "i8"),
        ("BoolStorage", "?"),
    ],
)
def test_element_types_are_kept(type_name: str, dtype: str) -> None:
    values = np.array([0, 1, 1, 0, 1], dtype=dtype)
    tensor = Tensor(Storage("5", values, type_name), 0, (5,), (1,))
    got = read_tensors(legacy_file({"s": {"x": tensor}}), section="s")["x"]
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, values)


def test_storages_are_found_by_key_not_by_place() -> None:
    state = {key: Tensor(floats(count, key), 0, (count,), (1,)) for key, count in (("9", 2), ("10", 3), ("2", 4))}
    got = read_tensors(legacy_file({"s": state}), section="s")
    assert {key: len(array) for key, array in got.items()} == {"9": 2, "10": 3, "2": 4}


def write_trace(path: str) -> None:
    Path(path).write_text("ran")


@pytest.mark.parametrize("place", ["magic", "protocol", "system", "root"])
def test_a_pickle_that_calls_something_else_is_refused_before_it_runs(place: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    call = Call(write_trace, str(trace))
    data = legacy_file(call) if place == "root" else legacy_file({"s": {}}, **{place: call})
    with pytest.raises(BundleError, match="write_trace, which builds no tensor"):
        read_tensors(data, section="s")
    assert not trace.exists()
    # The same bytes do run where nothing is checked, so the refusal above is what stopped them.
    stream = io.BytesIO(data)
    for _ in range({"magic": 1, "protocol": 2, "system": 3, "root": 4}[place]):
        pickle.Unpickler(stream).load()
    assert trace.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "Generator"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "deque"),
        ("auricle.model.torchfile", "read_tensors"),
    ],
)
def test_names_outside_the_list_are_refused(module: str, name: str) -> None:
    prefix = legacy_file({"s": {}})[: -len(pickle.dumps({"s": {}}, protocol=2) + pickle.dumps([], protocol=2))]
    data = (
        prefix
        + b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
        + b"\x93."
    )
    with pytest.raises(BundleError, match="builds no tensor"):
        read_tensors(data, section="s")


def test_a_storage_type_can_be_named_but_not_called(torch_names: types.ModuleType) -> None:
    with pytest.raises(BundleError, match="object at byte"):
        read_tensors(legacy_file({"s": {"x": Call(torch_names.FloatStorage)}}), section="s")


def test_a_file_cut_anywhere_is_refused() -> None:
    whole = legacy_file({"s": {"x": Tensor(floats(3), 0, (3,), (1,)), "y": Tensor(floats(2, "2"), 0, (2,), (1,))}})
    assert set(read_tensors(whole, section="s")) == {"x", "y"}
    for size in range(len(whole)):
        with pytest.raises(BundleError):
            read_tensors(whole[:size], section="s")
    with pytest.raises(BundleError, match="1 bytes after their end"):
        read_tensors(whole + b"\0", section="s")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (1 << 40,), (0,)),
        (0, (2, 2), (1,)),
        (0, (2.0,), (1,)),
        ("0", (2,), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    offset: object, shape: tuple[object, ...], strides: tuple[object, ...]
) -> None:
    data = legacy_file({"s": {"x": Tensor(floats(4), offset, shape, strides)}})
    with pytest.raises(BundleError, match="'x' does not lie within its storage"):
        read_tensors(data, section="s")


def test_a_tensor_without_a_storage_is_refused() -> None:
    with pytest.raises(BundleError, match="does not lie within its storage"):
        read_tensors(legacy_file({"s": {"x": Tensor("1", 0, (1,), (1,))}}), section="s")


def test_a_storage_of_another_size_than_its_tensors_say_is_refused() -> None:
    data = bytearray(legacy_file({"s": {"x": Tensor(floats(4), 0, (4,), (1,))}}))
    data[-24:-16] = struct.pack("<q", 3)
    with pytest.raises(BundleError, match="3 elements where its tensors say 4"):
        read_tensors(bytes(data), section="s")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic number at byte 0"),
        (b"RIFF....WAVE", "magic number at byte 0"),
        (b"PK\x03\x04rest", "zip format"),
        (legacy_file({"s": {}}, magic=1), "magic number"),
        (legacy_file({"s": {}}, protocol=1000), "protocol 1000"),
        (legacy_file({"s": {}}, system={**SYSTEM, "little_endian": False}), "little-endian"),
        (legacy_file({"t": {}, "u": 1}), "no section 's'; they have: 't', 'u'"),
        (legacy_file({"s": 5}), "no section 's'"),
        (legacy_file([1]), "they have: list"),
    ],
)
def test_another_file_is_refused_with_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_tensors(data, section="s")


def test_an_ordered_dict_may_be_built() -> None:
    data = legacy_file({"s": collections.OrderedDict([("x", Tensor(floats(1), 0, (1,), (1,)))])})
    assert list(read_tensors(data, section="s")) == ["x"]
