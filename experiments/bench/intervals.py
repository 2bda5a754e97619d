"""Cost of a row's metrics with their intervals.  python -m experiments.bench.intervals

Measures drawn votes and predictions of as many pictures as AVA's test split and all of AVA, K = 10, 14 styles, 1000
resamples, each row in a process of its own with one BLAS thread: seconds of processor time for the metrics alone, and
the process' largest resident memory. "distribution alone" is a learner's or a reference row, "three tasks" the model's.
Prints Markdown and keeps it in results/bench_intervals.md. Under two minutes on 2 cores.
"""

import os
import subprocess
import sys
import time
from datetime import date

import numpy as np

from experiments.bench.benchmark import RESULTS, machine

PICTURES = (19_930, 255_530)
LABELLED = 2_573  # pictures with a style
ROWS = ("distribution alone", "three tasks")
LIMITS = {19_930: "<= 3 s", 255_530: "<= 1000 MB"}
STYLES = 14


def measure(pictures: int, row: str) -> float:
    """Seconds of processor time of one row."""
    from mtp.evaluation import references
    from mtp.evaluation.measure import Evaluation
    from mtp.evaluation.samples import Criteria
    from mtp.ratings import histograms

    rng = np.random.default_rng(0)
    votes = rng.multinomial(210, rng.dirichlet(np.full(10, 3.0), pictures))
    rows = references.rows(votes, histograms(votes).mean(axis=0), seed=0)
    evaluation = Evaluation(
        votes=votes, mean_histogram=rows["mean histogram"], vote_noise=rows["vote noise"],
        criteria=Criteria(threshold=5.0, delta=1.0, pkl_floor=1e-7), groups=None, resamples=1000, seed=0,
    )  # fmt: skip
    outputs = _outputs(pictures) if row == "three tasks" else {}
    start = time.process_time()
    evaluation.metrics(rows["vote noise"], **outputs)
    return time.process_time() - start


def _outputs(pictures: int) -> dict:
    rng = np.random.default_rng(1)
    styles = np.full((pictures, STYLES), np.nan)
    styles[rng.choice(pictures, LABELLED, replace=False)] = rng.random((LABELLED, STYLES)) < 0.1
    return {
        "p_high": rng.random(pictures),
        "styles": styles,
        "predicted_styles": rng.random((pictures, STYLES)),
        "style_names": tuple(f"style {i}" for i in range(STYLES)),
    }


def run(pictures: int, row: str) -> tuple[float, float]:
    """Seconds of processor time, and the largest resident memory in MB, of a row in a process of its own."""
    command = [sys.executable, "-m", "experiments.bench.intervals", str(pictures), row]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(
            f"error: the row {row!r} of {pictures} pictures ended with {os.waitstatus_to_exitcode(status)}"
        )
    return float(printed), usage.ru_maxrss / 1000


def main() -> None:
    if len(sys.argv) == 3:
        print(measure(int(sys.argv[1]), sys.argv[2]))
        return
    lines = [
        "# python -m experiments.bench.intervals\n",
        f"{date.today()}, {machine()}\n",
        "| pictures | row | processor s | largest memory, MB | target |",
        "| --- | --- | --- | --- | --- |",
    ]
    for pictures in PICTURES:
        for row in ROWS:
            seconds, memory = run(pictures, row)
            lines.append(f"| {pictures} | {row} | {seconds:.1f} | {memory:.0f} | {LIMITS[pictures]} |")
    text = "\n".join(lines) + "\n"
    print(text)
    (RESULTS / "bench_intervals.md").write_text(text)


if __name__ == "__main__":
    main()
