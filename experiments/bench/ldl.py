"""Speed of the label-distribution learners.

    python -m experiments.bench.ldl peers [VOTES]   side by side with python-ldl, n = 2,000, d = 32, K = 10
    python -m experiments.bench.ldl scale [VOTES]   n = 200,000, d = 64, K = 10: fit, and predict 25,000
    python -m experiments.bench.ldl cost [FOLDER]   seconds against n, d and K; a plot in FOLDER

VOTES: AVA's votes (a CSV with c1..c10, or AVA.txt); without it, votes with like statistics are drawn. Features are
simulated: random mixtures of each picture's mean and spread, and noise. Prints Markdown. Peers run in turns, ours then
theirs; ratios are medians over the pairs.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.tables.printed_rows import read_votes
from mtp.ldl import iis_lld
from mtp.ldl.learners import LEARNERS
from mtp.ldl.params import ConvergenceWarning
from mtp.ratings import histograms, mean_and_std

PAIRS = 7
LONG_PAIRS = 3  # of python-ldl's scaling, seconds each
GAPS = (1e-2, 1e-4)
SCALE = {
    "iis_lld": {"solver": "overrelaxed"},
    "bfgs_lld": {},
    "aa_knn": {"k": 200},
    "ldsvr": {"features": 2048, "tolerance": 1e-7},
    "svdr_like": {"features": 2048, "tolerance": 1e-6},
}
COST = {
    "iis_lld": {"solver": "overrelaxed", "iterations": 100},
    "bfgs_lld": {},
    "aa_knn": {"k": 50},
    "ldsvr": {"features": 256, "tolerance": 1e-7},
    "svdr_like": {"features": 256, "tolerance": 1e-6},
}


def simulated(n: int, d: int, k: int, path: str | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) and votes (n, k): AVA's own rows, votes redrawn, or a Dirichlet's round a bell-shaped prior."""
    rng = np.random.default_rng(seed)
    if path and k == 10:
        known = read_votes(Path(path))
        known = known[rng.integers(len(known), size=n)]
        votes = rng.multinomial(known.sum(axis=1), histograms(known))
    else:
        prior = np.exp(-8 * np.linspace(-1, 1, k) ** 2)
        votes = rng.multinomial(rng.integers(80, 400, n), rng.dirichlet(40 * prior / prior.sum(), n))
    mean, std = mean_and_std(histograms(votes))
    latent = np.column_stack([(v - v.mean()) / v.std() for v in (mean, std)])
    return latent @ rng.normal(size=(2, d)) + 2 * rng.normal(size=(n, d)), votes


class Seconds(NamedTuple):
    """By the clock, and of the processor (all threads): the second counts where other work shares the machine."""

    clock: float
    processor: float


def timed(function: Callable[[], Any]) -> tuple[Any, Seconds]:
    clock, processor = time.perf_counter(), time.process_time()
    result = function()
    return result, Seconds(time.perf_counter() - clock, time.process_time() - processor)


def machine() -> str:
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    return f"{date.today()}, {os.cpu_count()} cores, CPU, {platform.machine()}, BLAS threads: {threads}"


def fit(name: str, x: np.ndarray, d: np.ndarray, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LEARNERS[name].fit(x, d, key=jax.random.key(0), **options)


def peers(path: str | None) -> None:
    """Ours and python-ldl's, fit and predict, on the same rows."""
    from pyldl.algorithms import AA_KNN, LDSVR

    x, votes = simulated(2000, 32, 10, path)
    d = histograms(votes)

    def theirs(model: Any) -> Any:
        return model.fit(x, d).predict(x)

    def ours(name: str, **options: Any) -> Any:
        return LEARNERS[name].predict(fit(name, x, d, **options), x)

    print(f"{machine()}; python-ldl 0.1.2, n = 2,000, d = 32, K = 10, {'AVA' if path else 'drawn'} votes\n")
    print("Seconds by the clock and of the processor; ratios are medians over pairs.\n")
    columns = (
        "what",
        "ours, clock",
        "processor",
        "python-ldl, clock",
        "processor",
        "ratio, clock",
        "processor",
    )
    print("| " + " | ".join(columns) + " |")
    print("| --- " * 7 + "|")
    iis_pairs(x, d)
    # compiled and loaded first
    ours("ldsvr")
    ours("aa_knn", k=5)
    pairs = {
        "LDSVR, fit and predict (objective to 1e-7)": (
            lambda: ours("ldsvr", tolerance=1e-7), lambda: theirs(LDSVR())
        ),
        "LDSVR, fit and predict (objective to 1e-10)": (lambda: ours("ldsvr"), lambda: theirs(LDSVR())),
        "AA-kNN, k = 5": (lambda: ours("aa_knn", k=5), lambda: theirs(AA_KNN(k=5))),
        "AA-kNN, k = 50": (lambda: ours("aa_knn", k=50), lambda: theirs(AA_KNN(k=50))),
    }  # fmt: skip
    for what, (a, b) in pairs.items():
        tell(what, [(timed(a)[1], timed(b)[1]) for _ in range(PAIRS)])


def iis_pairs(x: np.ndarray, d: np.ndarray) -> None:
    """Time to a relative gap of the objective from one start, no bias, as python-ldl's model has none."""
    from pyldl.algorithms import SA_IIS

    np.random.seed(0)
    start = np.random.random((x.shape[1], d.shape[1]))
    best = fit("bfgs_lld", x, d, bias=False, init="zeros", tolerance=1e-10)
    optimum = best.convergence.objective[-1] * len(x)
    common = {"bias": False, "init": start, "tolerance": 1e-300}
    for solver in iis_lld.SOLVERS:
        fit("iis_lld", x, d, solver=solver, iterations=2, **common)  # compiled
    needed = {}
    for solver in iis_lld.SOLVERS:
        values = np.array(
            fit("iis_lld", x, d, solver=solver, iterations=5000, **common).convergence.objective
        )
        needed[solver] = [int(np.argmax(values <= optimum * (1 + gap))) for gap in GAPS]
    for gap, *steps in zip(GAPS, *needed.values(), strict=True):
        times = []
        for _ in range(LONG_PAIRS):
            mine = [
                timed(lambda s=s, n=n: fit("iis_lld", x, d, solver=s, iterations=n, **common))[1]
                for s, n in zip(iis_lld.SOLVERS, steps, strict=True)
            ]
            np.random.seed(0)
            other = SA_IIS()
            # their iterations are Newton's, to the rounding of their float32 steps
            fitted, seconds = timed(
                lambda n=steps[0], m=other: m.fit(x, d, max_iterations=n, convergence_criterion=-1.0)
            )
            reached = -np.sum(d * np.log(fitted.predict(x))) / optimum - 1
            times.append((mine, seconds))
        for place, solver in enumerate(iis_lld.SOLVERS):
            own = f"IIS-LLD, {solver}, {steps[place]} iterations, to a gap of {gap:g}"
            what = f"{own} (theirs: {steps[0]}, {reached:.2g})"
            tell(what, [(mine[place], seconds) for mine, seconds in times])


def tell(what: str, pairs: list[tuple[Seconds, Seconds]]) -> None:
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    middle = np.median([*ours.T, *theirs.T], axis=1)
    ratios = np.median(theirs / ours, axis=0)
    print(
        f"| {what} | " + " | ".join(f"{m:.3f}" for m in middle) + f" | {ratios[0]:.1f} | {ratios[1]:.1f} |",
        flush=True,
    )


def scale(path: str | None) -> None:
    """Each learner in a process of its own, for its memory."""
    print(f"{machine()}; n = 200,000, d = 64, K = 10, {'AVA' if path else 'drawn'} votes; 25,000 predicted\n")
    header = ("learner", "options", "fit, s", "its processor time, s", "predict, s", "peak memory, GB", "iterations",
              "stopped because", "PED", "PED of the mean histogram")  # fmt: skip
    print("| " + " | ".join(header) + " |")
    print("| --- " * len(header) + "|")
    for name in SCALE:
        command = [sys.executable, "-m", "experiments.bench.ldl", "one", name, *([path] if path else [])]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def one(name: str, path: str | None) -> None:
    """One learner at scale, a row."""
    x, votes = simulated(225_000, 64, 10, path)
    d = histograms(votes)
    options = SCALE[name]
    fitted, seconds = timed(lambda: fit(name, x[:200_000], d[:200_000], votes=votes[:200_000], **options))
    predicted, more = timed(lambda: LEARNERS[name].predict(fitted, x[200_000:]))
    ped, constant = (
        np.linalg.norm(p - d[200_000:], axis=1).mean() for p in (predicted, d[:200_000].mean(axis=0))
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record = fitted.convergence
    numbers = [
        f"{seconds.clock:.1f}",
        f"{seconds.processor:.1f}",
        f"{more.clock:.1f}",
        f"{memory:.2f}",
        str(record.iterations),
    ]
    cells = [name, json.dumps(options), *numbers, record.reason, f"{ped:.4f}", f"{constant:.4f}"]
    print("| " + " | ".join(cells) + " |")


def cost(folder: Path) -> None:
    """Fit and prediction of as many rows, one of n, d, K changed at a time; a plot."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = {
        "n": [(n, 64, 10) for n in (500, 2000, 8000)],
        "d": [(2000, d, 10) for d in (16, 64, 256)],
        "K": [(2000, 64, k) for k in (5, 10, 20, 40)],
    }
    print(f"{machine()}; drawn votes; {json.dumps(COST)}\n")
    print("| varied | n | d | K | " + " | ".join(f"{name}, s" for name in COST) + " |")
    print("| --- " * (4 + len(COST)) + "|")
    found: dict[str, list[tuple[int, list[float]]]] = {axis: [] for axis in axes}
    for axis, shapes in axes.items():
        for n, d, k in shapes:
            x, votes = simulated(n, d, k, None)
            seconds = [_both(name, x, votes) for name in COST]
            found[axis].append(({"n": n, "d": d, "K": k}[axis], seconds))
            print(
                f"| {axis} | {n} | {d} | {k} | " + " | ".join(f"{s:.2f}" for s in seconds) + " |", flush=True
            )
    _draw(found, folder / "bench_ldl_cost.png")


def _both(name: str, x: np.ndarray, votes: np.ndarray) -> float:
    """Processor time of the second of two runs: compiled."""
    d = histograms(votes)

    def run() -> None:
        LEARNERS[name].predict(fit(name, x, d, **COST[name]), x)

    run()
    return timed(run)[1].processor


def _draw(found: dict[str, list[tuple[int, list[float]]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True)
    fixed = {"n": "d = 64, K = 10", "d": "n = 2,000, K = 10", "K": "n = 2,000, d = 64"}
    for panel, (axis, points) in zip(panels, found.items(), strict=True):
        for place, name in enumerate(COST):
            panel.loglog(
                [at for at, _ in points], [s[place] for _, s in points], "o-", label=name, markersize=4
            )
        panel.set(xlabel=axis, title=fixed[axis])
        ticks = [at for at, _ in points]
        panel.set_xticks(ticks, [f"{t:,}" for t in ticks], minor=False)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("fit and predict, s of the processor")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    figure.savefig(path, dpi=150)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["peers", *path]:
            peers(path[0] if path else None)
        case ["scale", *path]:
            scale(path[0] if path else None)
        case ["one", name, *path]:
            one(name, path[0] if path else None)
        case ["cost", *folder]:
            cost(Path(folder[0] if folder else "."))
        case _:
            sys.exit(f"error: peers, scale or cost must be asked for\n{__doc__}")


if __name__ == "__main__":
    main(sys.argv[1:])
