"""Cost against pixels and pictures: is it linear?  python -m experiments.bench.cost

Forward pass of squares from 96 to 448 pixels in batches of 4, and of 1 to 16 pictures of 224x224: a straight line of
time against pixels, the time that it has at none, and the share of variance that it explains. A plot goes to
results/bench_cost.png where matplotlib is installed.
"""

import numpy as np

from experiments.bench import ours
from experiments.bench.benchmark import RESULTS, Contender, Row, report

SIDES, SIDE_BATCH = (96, 160, 224, 320, 448), 4
BATCHES, SIDE = (1, 2, 4, 8, 16), 224
TURNS = 7
LINEAR = 0.99  # R squared


def fastest(side: int, batch: int) -> float:
    """Seconds of the fastest of some forward passes: what the machine does besides only ever adds."""
    with Contender(ours.forward, (side, side), batch) as mine:
        return min(mine.time() for _ in range(TURNS))


def fit(pixels: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float]:
    """Seconds a megapixel of the straight line, its seconds at none, and its R squared."""
    rate, offset = np.polyfit(pixels / 1e6, seconds, 1)
    residual = np.square(seconds - rate * pixels / 1e6 - offset).sum()
    return float(rate), float(offset), float(1 - residual / np.square(seconds - seconds.mean()).sum())


def plot(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, (pixels, seconds) in curves.items():
        axes.plot(pixels / 1e6, seconds * 1e3, "o-", label=name)
    axes.set(xlabel="megapixels a batch", ylabel="forward pass, ms", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(RESULTS / "bench_cost.png", dpi=120)


def rows() -> list[Row]:
    curves = {}
    for name, cases in (
        (f"squares, batch {SIDE_BATCH}", [(side, SIDE_BATCH) for side in SIDES]),
        (f"{SIDE}x{SIDE}, more pictures", [(SIDE, batch) for batch in BATCHES]),
    ):
        pixels = np.array([side * side * batch for side, batch in cases], float)
        curves[name] = pixels, np.array([fastest(*case) for case in cases])
    plot(curves)
    found = []
    for name, (pixels, seconds) in curves.items():
        rate, offset, explained = fit(pixels, seconds)
        found.append(
            Row(
                f"7. cost of the forward pass, {name}",
                f"{1e3 * offset:.0f} ms and {1e3 * rate:.0f} ms a megapixel",
                measured=f"R squared {explained:.4f}",
                target=f">= {LINEAR}",
                met=explained >= LINEAR,
            )
        )
    return found


if __name__ == "__main__":
    report("cost", rows())
