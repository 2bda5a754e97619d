"""Features of pictures, kept on the disk by the pictures' content: computed once, whatever folder they lie in.

A folder for each network, size rule and state of this package's code; in it parts of some hundred pictures, so that
what is ended in the middle goes on where it was.
"""

import functools
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from mtp import files
from mtp.config import CACHE
from mtp.data.identity import hash_of_each
from mtp.data.schema import Pictures
from mtp.inference.predictor import Predictor
from mtp.processes import lock

PART = 256  # pictures saved at a time
PACKAGE = Path(__file__).parents[1]


class FeatureStore:
    """What the last layers of a predictor see of pictures under a size rule ("": eval.size).

    weights: what tells its trunks' weights from others, such as a file's SHA-256. Processes compute in turn, and who
    had to wait finds what others have left.
    """

    def __init__(self, predictor: Predictor, weights: str, rule: str = "", cache: Path = CACHE / "features"):
        self._predictor, self._rule = predictor, rule or predictor.config.eval.size
        self.folder = cache / _key(predictor, weights, self._rule)

    def features(self, pictures: Pictures, indices: np.ndarray) -> Float[np.ndarray, "N F"]:
        """Of each picture, in this order, float32: from the disk, or computed and kept there."""
        hashes = hash_of_each(pictures, indices)
        known = self._read(set(hashes.tolist()))
        if not known.keys() >= set(hashes.tolist()):
            self.folder.mkdir(parents=True, exist_ok=True)
            # jobs of a sweep start together: what one of them computes the others need not
            with lock.alone(self.folder / lock.NAME, wait=True):
                known = self._completed(pictures, indices, hashes)
        return np.stack([known[number] for number in hashes.tolist()])

    def _completed(
        self, pictures: Pictures, indices: np.ndarray, hashes: np.ndarray
    ) -> dict[int, np.ndarray]:
        """What is there by hash, and computed and kept what is not."""
        known = self._read(set(hashes.tolist()))
        _, first = np.unique(hashes, return_index=True)
        missing = [place for place in sorted(first.tolist()) if int(hashes[place]) not in known]
        if missing:
            # one choice of canvases for all parts, or each would compile programs of its own
            canvases = self._predictor.canvases([(pictures, indices[missing], self._rule)])
            parts = np.array_split(np.array(missing), -(-len(missing) // PART))
            for places in tqdm(parts, desc="features", unit="part", disable=None if len(parts) > 1 else True):
                values = self._predictor.last_features(
                    pictures, indices[places], rule=self._rule, canvases=canvases
                )
                self._write(hashes[places], values)
                known |= dict(zip(hashes[places].tolist(), values, strict=True))
        return known

    def _read(self, wanted: set[int]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for path in sorted(self.folder.glob("*.npz")):
            # what was cut short is computed again
            with (
                suppress(ValueError, KeyError, EOFError, BadZipFile),
                np.load(path, allow_pickle=False) as part,
            ):
                rows = [row for row, number in enumerate(part["hashes"].tolist()) if number in wanted]
                if rows:
                    found |= dict(zip(part["hashes"][rows].tolist(), part["values"][rows], strict=True))
        return found

    def _write(self, hashes: np.ndarray, values: np.ndarray) -> None:
        name = hashlib.sha256(hashes.tobytes()).hexdigest()[:16]
        files.write_arrays(self.folder / f"{name}.npz", {"hashes": hashes, "values": values})


def _key(predictor: Predictor, weights: str, rule: str) -> str:
    c = predictor.config
    parts = {
        "code": _code(),
        "weights": weights,
        "model": json.loads(c.model.to_json()),
        "rule": [rule, c.eval.max_pixels, c.eval.too_large, c.input.sizes],
        "native": c.run.native,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _code() -> str:
    """SHA-256 of this package's sources."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in (".py", ".cc", ".h"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
