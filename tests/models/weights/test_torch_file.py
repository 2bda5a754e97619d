"""Files of torch.save, made here as torch before 1.6 writes them, and files that are none."""

import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from mtp.models.weights import WeightsError, torch_file
from mtp.models.weights.torch_file import MAGIC, PROTOCOL


class Named:
    """A global of a pickle, by its name alone."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Storage:
    def __init__(self, key, kind, count):
        self.key, self.kind, self.count = key, kind, count


class Call:
    """The result of calling a global."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Writer(pickle._Pickler):
    """Writes names that need not be importable here."""

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", Named("torch", obj.kind), obj.key, "cpu", obj.count, None)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def written(tensors, storages, *, head=(MAGIC, PROTOCOL), order=None):
    """tensors: name -> anything; storages: key -> array."""
    file = io.BytesIO()
    for part in (*head, {"little_endian": True}, OrderedDict(tensors), order or list(storages)):
        Writer(file, 2).dump(part)
    for array in storages.values():
        file.write(struct.pack("<q", array.size) + array.tobytes())
    return file.getvalue()


def tensor(key, kind, count, shape, strides=None, offset=0):
    strides = strides or tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    storage = Storage(key, kind, count)
    return Call(
        Named("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, OrderedDict()
    )


FLOATS, LONGS = np.arange(12, dtype="<f4"), np.array([7], "<i8")
STORAGES = {"10": FLOATS, "11": LONGS}
TENSORS = {
    "a": tensor("10", "FloatStorage", 12, (3, 4)),
    "turned": tensor("10", "FloatStorage", 12, (4, 3), (1, 4)),
    "part": tensor("10", "FloatStorage", 12, (2, 2), offset=8),
    "steps": tensor("11", "LongStorage", 1, ()),
}


def read(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    return torch_file.read(tmp_path / "a.pth")


def test_tensors_are_the_parts_of_their_storages(tmp_path):
    found = read(tmp_path, written(TENSORS, STORAGES))
    assert list(found) == list(TENSORS)
    np.testing.assert_array_equal(found["a"], FLOATS.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], FLOATS.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], FLOATS[8:].reshape(2, 2))
    assert found["steps"].shape == () and found["steps"] == 7


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "HalfStorage"),
        ("collections", "deque"),
        ("numpy", "load"),
    ],
)
def test_other_names_are_refused_and_nothing_is_called(tmp_path, module, name):
    planted = {**TENSORS, "b": Call(Named(module, name), f"touch {tmp_path}/called")}
    with pytest.raises(WeightsError, match=rf"a\.pth: it names {module}\.{name}, .*nothing was loaded"):
        read(tmp_path, written(planted, STORAGES))
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PK\3\4 a zip, as torch writes since 1.6", written(TENSORS, STORAGES, head=(1, 2)),
        written(TENSORS, STORAGES)[:-1], written(TENSORS, STORAGES)[:200], written({"a": 3}, {}),
        written(TENSORS, {"10": FLOATS[:8], "11": LONGS}), written(TENSORS, {"11": LONGS}),
        written({"a": tensor("10", "FloatStorage", 12, (3, 5))}, STORAGES),
        written({"a": tensor("10", "FloatStorage", 12, (3, 4), offset=-1)}, STORAGES),
        written({"a": tensor("10", "FloatStorage", 12, (3, 4), (-4, 1), 8)}, STORAGES),
        written({"a": tensor("10", "FloatStorage", 12, (3, -4))}, STORAGES),
        written({"a": tensor("10", "FloatStorage", 12, (3, 4), (4,))}, STORAGES),
    ],
    ids=[
        "empty", "zip", "another beginning", "cut short", "cut within names", "no tensor", "short storage",
        "no storage", "beyond its storage", "before its storage", "backwards", "negative side", "strides of others",
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_one_error(tmp_path, data):
    with pytest.raises(WeightsError, match=r"a\.pth must be a whole file of torch's form before 1\.6"):
        read(tmp_path, data)
