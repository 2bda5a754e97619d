"""The demo over three seeds: what the README promises, with its spread.  python -m experiments.demo_seeds

Trains configs/demo.py with seeds 0, 1 and 2 (data and split are the same), reads each results.json and prints the
model's emd_r2 against the mean histogram's, and SRCC, under both size rules. Workdirs: runs/demo-seed0 and so on.
"""

import json
from pathlib import Path

import numpy as np

from experiments.command_line import finish

SEEDS = (0, 1, 2)
RULES = {"native": "results.json", "trained": "results-trained.json"}


def measured(path: Path) -> tuple[float, float]:
    """The model's emd_r2 over the mean histogram's, and its SRCC."""
    rows = {row["row"]: row["metrics"] for row in json.loads(path.read_text())["rows"]}
    model, constant = rows["model"], rows["mean histogram"]
    return model["emd_r2"]["value"] / constant["emd_r2"]["value"], model["srcc"]["value"]


def main() -> None:
    workdirs = [Path(f"runs/demo-seed{seed}") for seed in SEEDS]
    for seed, workdir in zip(SEEDS, workdirs, strict=True):
        finish("configs/demo.py", workdir, {"seed": seed})
    print("eval.size  seed  emd_r2 / mean histogram's  SRCC")
    for rule, name in RULES.items():
        values = np.array([measured(workdir / name) for workdir in workdirs])
        for seed, (ratio, srcc) in zip(SEEDS, values, strict=True):
            print(f"{rule:9}  {seed:4}  {ratio:25.3f}  {srcc:.3f}")
        spread = np.ptp(values, axis=0)
        print(f"{rule:9}  mean  {values[:, 0].mean():25.3f}  {values[:, 1].mean():.3f}")
        print(f"{rule:9}  max - min  {spread[0]:20.3f}  {spread[1]:.3f}")


if __name__ == "__main__":
    main()
