"""Compile times, cold and from the persistent cache.  python -m experiments.bench.compile

All programs of the training step (three buckets' gradients and the update; backbone `mobile`, all columns, two
tasks, batch 32), compiled as `mtp.main` does it, and one forward program of 8 canvases; each in a process of its own,
with a cache folder of its own that is empty at first. Tracing counts; importing the libraries and decoding pictures
do not.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import ours
from experiments.bench.benchmark import Contender, Missing, Row, Run, limit_row, report, skipped
from experiments.bench.photos import votes_folder
from mtp.config import get_config
from mtp.training import experiment
from mtp.training.loop import compile_ahead

BATCH = 32
SIZES = ((224, 336), (336, 224), (224, 224))


def _once(measure: Any) -> Run:
    """The measurement is made while the contender is built; every run returns it."""
    seconds = measure()
    return lambda: seconds


def training(cache: str, native: bool, folder: str) -> Run:
    """Seconds until all programs of the training step are there."""
    ours.cached(cache)
    config = get_config()
    config.run.native = "on" if native else "off"
    config.data.dir, config.input.batch_size = folder, BATCH
    ours.need_kernels(config)  # without them the row is skipped
    built = experiment.prepare(config)

    def measure() -> float:
        start = time.perf_counter()
        assert compile_ahead(built, 0).wait() == len(SIZES) + 1
        return time.perf_counter() - start

    return _once(measure)


def forward(cache: str, native: bool) -> Run:
    """Seconds until the forward program of a canvas batch is there, less its run."""
    ours.cached(cache)
    config = get_config()
    config.run.native = "on" if native else "off"
    predictor = ours.predictor(config)
    run = functools.partial(ours.answer, predictor, ours.batch_of(predictor, (224, 224), 8))

    def measure() -> float:
        begun = time.perf_counter()
        run()
        compiled = time.perf_counter()
        run()
        return (compiled - begun) - (time.perf_counter() - compiled)

    return _once(measure)


def rows() -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        photographs = Path(scratch) / "photographs"
        photographs.mkdir()
        folder = str(votes_folder(photographs, np.tile(SIZES, (4, 1)), distinct=3))
        for path, native in ours.PATHS.items():
            for name, build, arguments, limits in (
                ("three programs of the training step", training, (folder,), (90, 10)),
                ("forward program", forward, (), (15, None)),
            ):
                cache = str(Path(scratch) / f"{build.__name__}-{native}")
                for state, limit in zip(("cold", "from the persistent cache"), limits, strict=True):
                    what = f"4. {name}, {path}, {state}"
                    try:
                        with Contender(build, cache, native, *arguments) as mine:
                            seconds = mine.run()[1]
                    except Missing as error:
                        found.append(skipped(what, "", error))
                        continue
                    found.append(
                        limit_row(what, seconds, "s", limit) if limit else Row(what, f"{seconds:.3g} s")
                    )
    return found


if __name__ == "__main__":
    report("compile", rows())
