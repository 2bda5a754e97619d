"""Arrays from a file that torch.save wrote in its form before version 1.6, without torch.

Such a file is pickles (a magic number, the protocol, the machine, the tensors by name, the order of the storages), then
the storages: the number of elements, 8 bytes, and the elements, little-endian. A pickle can name any function for its
reader to call; this one knows the four names that tensors need, gives them meanings of its own, and refuses all others.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mtp.models.weights.arrays import WeightsError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# what reading something else as a pickle ends in
MALFORMED = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError,
    MemoryError, OverflowError, RecursionError, struct.error,
)  # fmt: skip


class _Storage(NamedTuple):
    key: str
    kind: np.dtype
    count: int


class _Tensor(NamedTuple):
    """A part of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, elements: np.ndarray) -> np.ndarray:
        """Its array of the storage's elements."""
        strides = [stride * elements.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(elements[self.offset :], self.shape, strides, writeable=False)


class _Reader(pickle.Unpickler):
    """Errors: WeightsError on a name that is none of the four."""

    def find_class(self, module: str, name: str) -> Any:
        # functions of this call alone: a pickle can change what it is given
        known: dict[tuple[str, str], Callable | np.dtype] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: _tensor(*given),
            **{("torch", storage): kind for storage, kind in TYPES.items()},
        }
        if (module, name) not in known:
            raise WeightsError(f"it names {module}.{name}, which no weights need; it may be malicious")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, count, view = pid
        if what != "storage" or not isinstance(kind, np.dtype) or view is not None:
            raise ValueError("a storage of another kind")
        return _Storage(str(key), kind, int(count))


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *strides, *(n - 1 for n in shape))) < 0 or last >= storage.count:
        raise ValueError("a tensor beyond its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors by name. Errors: WeightsError where it is no such file, or cut short; OSError."""
    with path.open("rb") as file:
        try:
            return _arrays(file)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}; nothing was loaded") from error
        except MALFORMED as error:
            raise WeightsError(
                f"{path} must be a whole file of torch's form before 1.6 ({error or type(error).__name__}); fetch it "
                "again"
            ) from error


def _arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, protocol, _ = (_Reader(file).load() for _ in range(3))
    if (magic, protocol) != (MAGIC, PROTOCOL):
        raise ValueError("another beginning")
    tensors, order = dict(_Reader(file).load()), _Reader(file).load()
    if not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise ValueError("it holds more than tensors")
    kinds = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = {key: _elements(file, kinds[key]) for key in order}
    return {str(name): tensor.of(storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _elements(file: BinaryIO, storage: _Storage) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    data = file.read(storage.count * storage.kind.itemsize)
    if count != storage.count or len(data) != storage.count * storage.kind.itemsize:
        raise ValueError("a storage is cut short")
    return np.frombuffer(data, storage.kind)
