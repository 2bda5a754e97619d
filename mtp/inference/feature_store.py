"""Features of pictures, kept on the disk by the pictures' content: computed once, whatever folder they lie in.

A folder for each network, size rule and state of this package's code; in it parts of some hundred pictures, so that
what is ended in the middle goes on where it was.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from mtp import files
from mtp.config import CACHE, Config
from mtp.data.identity import hash_of_each
from mtp.data.schema import Pictures
from mtp.models import trunks
from mtp.processes import lock

PART = 256  # pictures saved at a time
PACKAGE = Path(__file__).parents[1]


Compute = Callable[[np.ndarray], Float[np.ndarray, "N F"]]  # of pictures at some positions


@dataclasses.dataclass(frozen=True)
class FeatureStore:
    """What the last layers of a network see of pictures.

    config: its options, run.native resolved. weights: what tells its trunks' weights from others, such as a file's
    SHA-256. Processes compute in turn, and who had to wait finds what others have left.
    """

    config: Config
    weights: str
    cache: Path = CACHE / "features"

    @classmethod
    def of(cls, config: Config) -> "FeatureStore":
        """That of a network whose trunks stay as they begin: as published, or as the seed makes them."""
        origin = trunks.origin(config.model) if config.model.weights else {"seed": config.seed}
        return cls(config, json.dumps(origin, sort_keys=True))

    def features(
        self, pictures: Pictures, indices: np.ndarray, rule: str, computing: Callable[[np.ndarray], Compute]
    ) -> Float[np.ndarray, "N F"]:
        """Of each picture under a size rule, in this order, float32: from the disk, or computed and kept there.

        computing: gives, for the positions of all that is missing, what computes a part of them.
        """
        folder, hashes = self.folder(rule), hash_of_each(pictures, indices)
        known = _read(folder, hashes)
        if not known.keys() >= set(hashes.tolist()):
            folder.mkdir(parents=True, exist_ok=True)
            # jobs of a sweep start together: what one of them computes the others need not
            with lock.alone(folder / lock.NAME, wait=True):
                known = _completed(folder, hashes, indices, computing)
        return np.stack([known[number] for number in hashes.tolist()])

    def folder(self, rule: str) -> Path:
        """Of the features under a size rule."""
        c = self.config
        parts = {
            "code": _code(),
            "weights": self.weights,
            "model": json.loads(c.model.to_json()),
            "rule": [rule, c.eval.max_pixels, c.eval.too_large, c.input.sizes],
            "native": c.run.native,
        }
        return self.cache / hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _completed(
    folder: Path, hashes: np.ndarray, indices: np.ndarray, computing: Callable[[np.ndarray], Compute]
) -> dict[int, np.ndarray]:
    """What is there by hash, and computed and kept what is not."""
    known = _read(folder, hashes)
    _, first = np.unique(hashes, return_index=True)
    missing = [place for place in sorted(first.tolist()) if int(hashes[place]) not in known]
    if missing:
        compute = computing(indices[missing])
        parts = np.array_split(np.array(missing), -(-len(missing) // PART))
        for places in tqdm(parts, desc="features", unit="part", disable=None if len(parts) > 1 else True):
            values = compute(indices[places])
            name = hashlib.sha256(hashes[places].tobytes()).hexdigest()[:16]
            files.write_arrays(folder / f"{name}.npz", {"hashes": hashes[places], "values": values})
            known |= dict(zip(hashes[places].tolist(), values, strict=True))
    return known


def _read(folder: Path, hashes: np.ndarray) -> dict[int, np.ndarray]:
    """By hash, as far as they are there."""
    wanted, found = set(hashes.tolist()), dict[int, np.ndarray]()
    for path in sorted(folder.glob("*.npz")):
        # what was cut short is computed again
        with (
            suppress(ValueError, KeyError, EOFError, BadZipFile),
            np.load(path, allow_pickle=False) as part,
        ):
            rows = [row for row, number in enumerate(part["hashes"].tolist()) if number in wanted]
            if rows:
                found |= dict(zip(part["hashes"][rows].tolist(), part["values"][rows], strict=True))
    return found


@functools.cache
def _code() -> str:
    """SHA-256 of this package's sources."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".cc", ".h"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
