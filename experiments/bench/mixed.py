"""Pictures of mixed native sizes, end to end from decoded pixels to predictions.  python -m experiments.bench.mixed

200 pictures with the sizes of the Vessel photographs (found in $MTP_SHARED_DATA, skipped where absent), and 200 with
sizes like AVA's: longer side 640. Ours chooses canvases, fills them and runs them, all timed; the peers take pictures
one by one at their own size, or at the nearest that their network takes.
"""

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import LinearConstraint, milp

from experiments.bench import ours, peers
from experiments.bench.benchmark import (
    Contender,
    Missing,
    Row,
    limit_row,
    pairs,
    random_pictures,
    rate_row,
    report,
    skipped,
)
from mtp.config import Config, get_config
from mtp.data.batches import buckets
from mtp.data.batches.pipeline import evaluation_canvases
from mtp.data.batches.sizes import Shape
from mtp.data.images import upright_size
from mtp.data.pictures import of_arrays
from mtp.models.backbones import odd_sides

PICTURES, PAIRS, TARGET = 200, 1, 1.5  # a run takes half a minute and more
PEERS = (
    ("PyTorch eager, channels-last", "torch", TARGET),
    ("ONNX Runtime", "onnxruntime", TARGET),
    ("OpenVINO", "openvino", TARGET),
)
ASPECTS = {3 / 2: 0.35, 4 / 3: 0.25, 1.0: 0.08, 16 / 9: 0.05, 5 / 4: 0.05}  # the rest: any from 1 to 2


def vessel_sizes() -> np.ndarray | None:
    """(200, 2): the sizes of the photographs in order, from the start again after the last."""
    given = os.environ.get("MTP_SHARED_DATA")
    folder = (Path(given) if given else Path(__file__).parents[3] / "shared" / "data") / "vessel" / "images"
    if not folder.is_dir():
        return None
    sizes = np.array(
        [
            upright_size(file.read_bytes(), file.name, get_config().data.max_decode_pixels)
            for file in sorted(folder.iterdir())
        ]
    )
    return np.resize(sizes, (PICTURES, 2))


def ava_like_sizes(seed: int = 0) -> np.ndarray:
    """(200, 2): longer side 640, common aspect ratios and some free ones, seven of ten lying."""
    rng = np.random.default_rng(seed)
    free = rng.uniform(1, 2, PICTURES)
    known = rng.choice([*ASPECTS, 0], PICTURES, p=[*ASPECTS.values(), 1 - sum(ASPECTS.values())])
    short = np.rint(640 / np.where(known > 0, known, free)).astype(int)
    lying = rng.random(PICTURES) < 0.7
    return np.where(
        lying[:, None], np.stack([short, 0 * short + 640], 1), np.stack([0 * short + 640, short], 1)
    )


def on_canvases(sizes: np.ndarray, native: bool, model: Mapping[str, Any]):
    """The run of our side; it returns the number of programs compiled so far."""
    ours.cached()
    predictor = ours.predictor(_configured(ours.trunk_and_linear_head(native, **model)))
    pictures, used = of_arrays(random_pictures(sizes)), set()
    everyone = np.arange(len(pictures))

    def run() -> int:
        canvases = predictor.canvases([(pictures, everyone, "")])
        predictor.predict(pictures, canvases=canvases)
        used.update(canvases.items())
        return len(used)

    return run


def _configured(config: Config) -> Config:
    """Every picture at its own size, however large."""
    config.eval.size, config.eval.max_pixels = "native", 10**9
    return config


def _canvases(occupied: np.ndarray) -> dict[Shape, int]:
    e = get_config().eval
    return evaluation_canvases([occupied], e.canvases, e.batch_pixels, 1)


@functools.cache
def _optimum(sizes: bytes, count: int) -> float:
    """Least share of padded canvas pixels with `count` canvases, by an integer program of its own."""
    rows = np.frombuffer(sizes, np.int64).reshape(-1, 2)
    distinct, numbers = np.unique(rows, axis=0, return_counts=True)
    heights, widths = (np.unique(distinct[:, axis]) for axis in (0, 1))
    shapes = np.array([(h, w) for h in heights for w in widths])
    size, shape = np.nonzero(np.all(distinct[:, None] <= shapes[None], axis=2))
    pieces, n = np.arange(len(size)), len(shapes)
    assigned = sparse.csr_array((np.ones(len(size)), (size, n + pieces)), (len(distinct), n + len(size)))
    used = sparse.csr_array(
        (np.r_[np.ones(len(size)), -np.ones(len(size))], (np.r_[pieces, pieces], np.r_[n + pieces, shape])),
        (len(size), n + len(size)),
    )
    opened = sparse.csr_array((np.ones(n), (np.zeros(n, int), np.arange(n))), (1, n + len(size)))
    cost = np.r_[np.zeros(n), numbers[size] * shapes[shape].prod(axis=1)]
    limits = [
        LinearConstraint(assigned, 1, 1),
        LinearConstraint(used, -np.inf, 0),
        LinearConstraint(opened, 0, count),
    ]
    integral = np.r_[np.ones(n), np.zeros(len(size))]
    solved = milp(cost, constraints=limits, integrality=integral, bounds=(0, 1), options={"time_limit": 120})
    assert solved.success, solved.message
    return float(1 - rows.prod(axis=1).sum() / solved.fun)


def canvas_rows(what: str, sizes: np.ndarray) -> list[Row]:
    """Padding against the optimum, and empty slots, which no target limits."""
    occupied = odd_sides(sizes)
    canvases = _canvases(occupied)
    shapes = list(canvases)
    best = _optimum(occupied.astype(np.int64).tobytes(), get_config().eval.canvases)
    padding = buckets.padding(occupied, shapes)
    counts = np.bincount(buckets.assign(occupied, shapes), minlength=len(shapes))
    slots = sum(-(-count // n) * n for count, n in zip(counts, canvases.values(), strict=True))
    return [
        limit_row(
            f"{what}: padding above the optimum",
            100 * (padding - best),
            "points",
            2,
            theirs=f"{100 * padding:.1f} % of canvas pixels; optimum {100 * best:.1f} %",
        ),
        Row(f"{what}: empty slots of last batches", f"{slots - len(sizes)} of {slots}"),
    ]


def speed_rows(
    what: str,
    sizes: np.ndarray,
    backbone: str = "mobile",
    model: Mapping[str, Any] | None = None,
    against: Sequence[tuple[str, str, float]] = PEERS,
) -> list[Row]:
    """model: further options of ours. against: peers' names, engines and targets."""
    found, model = [], {"backbone": backbone, **(model or {})}
    with contextlib.ExitStack() as running:
        mine = {}
        for path, native in ours.PATHS.items():
            try:
                mine[path] = running.enter_context(Contender(on_canvases, sizes, native, model))
            except Missing as error:
                found.append(skipped(f"{what}, {path}", "", error))
        for name, engine, target in against:
            peer_name = f"{name}, one by one"
            try:
                with Contender(peers.one_by_one, engine, sizes, backbone) as peer:
                    found += [
                        rate_row(
                            f"{what}, {path}",
                            peer_name,
                            pairs(contender, peer, PAIRS),
                            len(sizes),
                            "pictures/s",
                            target,
                        )
                        for path, contender in mine.items()
                    ]
            except Missing as error:
                found.append(skipped(what, peer_name, error))
        found += [
            limit_row(f"{what}, {path}: programs", contender.run()[1], "programs", 6)
            for path, contender in mine.items()
        ]
    return found


def rows() -> list[Row]:
    found = []
    for kind, sizes in (("Vessel sizes", vessel_sizes()), ("AVA-like sizes", ava_like_sizes())):
        what = f"2. {kind}, {PICTURES} pictures"
        if sizes is None:
            found.append(skipped(what, "", FileNotFoundError("the Vessel photographs are not here")))
        else:
            found += speed_rows(what, sizes) + canvas_rows(what, sizes)
    return found


if __name__ == "__main__":
    report("mixed", rows())
