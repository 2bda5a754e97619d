"""Input pipeline: 640x480 JPEGs to training batches.  python -m experiments.bench.input

Rates of decoding alone, of decoding with one resize, and of the pipeline's batches (read, decode, resize, flip, place),
all with two threads; then the share of time that a consumer waits which needs a fixed time a batch, as a GPU does.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from experiments.bench.benchmark import CORES, Row, report
from experiments.bench.photos import votes_folder
from mtp.config import get_config
from mtp.data import images
from mtp.data.batches.pipeline import TrainBatches, read
from mtp.training import experiment

PICTURES, BATCH, ROUNDS = 640, 32, 3
TARGET = 400  # pictures/s
CONSUMERS = (200, 400, 800)  # pictures/s


def threaded(work, pictures: int) -> float:
    """Pictures a second of `work(index)` in two threads; the best of three rounds."""
    best = float("inf")
    with ThreadPoolExecutor(CORES) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(pool.map(work, range(pictures)))
            best = min(best, time.perf_counter() - start)
    return pictures / best


def consumed(batches: TrainBatches, first: int, steps: int, seconds: float) -> tuple[float, float]:
    """Pictures a second, and the share of time spent waiting, of a consumer that needs `seconds` a batch."""
    ahead = batches.iterate(first, first + steps + 1)
    next(ahead)
    ahead.waited, start = 0.0, time.perf_counter()
    for _ in ahead:
        time.sleep(seconds)
    spent = time.perf_counter() - start
    return steps * BATCH / spent, ahead.waited / spent


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        config = get_config()
        config.data.dir, config.input.batch_size = scratch, BATCH
        votes_folder(Path(scratch), np.tile([(480, 640)], (PICTURES + 1, 1)), distinct=64)
        weight = sum(file.stat().st_size for file in Path(scratch).glob("*.jpg")) / (PICTURES + 1)
        built = experiment.prepare(config)
        batches, steps = built.batches, built.plan.steps_per_epoch - 1

        def decoded(index: int) -> np.ndarray:
            return read(built.dataset, index, config.data.max_decode_pixels, built.model.min_side)

        what = f"5. 640x480 JPEGs of {weight / 1000:.0f} kB, two threads"
        decoder = threaded(decoded, PICTURES)
        resized = threaded(lambda i: images.resize(decoded(i), 224, 336), PICTURES)
        whole = max(consumed(batches, 0, steps, 0.0)[0] for _ in range(ROUNDS))
        found = [
            Row(f"{what}: read and decode", f"{decoder:.0f} pictures/s"),
            Row(f"{what}: and resize to 224x336", f"{resized:.0f} pictures/s"),
            Row(
                f"{what}: whole batches",
                f"{whole:.0f} pictures/s",
                "read and decode",
                f"{decoder:.0f} pictures/s",
                f"{whole:.0f} pictures/s",
                f">= {TARGET} pictures/s",
                whole >= TARGET,
            ),
        ]
        for wanted in CONSUMERS:
            rate, waiting = consumed(batches, 0, steps, BATCH / wanted)
            found.append(
                Row(
                    f"{what}: consumer of {wanted} pictures/s",
                    f"{rate:.0f} pictures/s, waits {100 * waiting:.0f} % of the time",
                    measured=f"{100 * rate / min(wanted, whole):.0f} % of the slower of both",
                    target=">= 90 %",
                    met=rate >= 0.9 * min(wanted, whole),
                )
            )
    return found


if __name__ == "__main__":
    report("input", rows())
