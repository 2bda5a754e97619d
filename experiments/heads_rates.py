"""Rates of the columns on the demo: each column alone at each rate.  python -m experiments.heads_rates

Is one rate fair to columns of 288 inputs (GAP), 64 (the last layer of FCN) and 7,488 (SPP)? Trains configs/demo.py with
the columns gap, fcn, spp, each alone, and both as they are, under optim.heads_rate_by=fan_in and =one, and prints the
test split's emd_r2 over the mean histogram's, and SRCC. Workdirs: runs/heads-COLUMN-RULE-RATE; a finished one is kept,
an unfinished one goes on.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.demo_seeds import measured

COLUMNS = {"gap": ("gap",), "fcn": ("fcn",), "spp": ("spp",), "fcn+spp": ("fcn", "spp")}
# under both rules SPP learns at 1.67e-5, 5e-5 and 1.5e-4
RATES = {"fan_in": (1.25e-4, 3.75e-4, 1.125e-3), "one": (1.67e-5, 5e-5, 1.5e-4)}


class Run(NamedTuple):
    """One training."""

    columns: str
    rule: str
    rate: float

    @property
    def workdir(self) -> Path:
        """Its folder."""
        return Path("runs", f"heads-{self.columns}-{self.rule}-{self.rate:g}")

    def train(self) -> None:
        """Train and evaluate, or go on."""
        options = {
            "model.columns": COLUMNS[self.columns],
            "optim.heads_rate_by": self.rule,
            "optim.heads_rate": self.rate,
            "run.native": "on",
        }
        command = [sys.executable, "-m", "mtp.main", "--config=configs/demo.py", f"--workdir={self.workdir}"]
        given = [f"--config.{name}={value}" for name, value in options.items()]
        subprocess.run([*command, *given], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    # under both rules SPP alone is the same run
    runs = [
        Run(columns, rule, rate)
        for rule, rates in RATES.items()
        for rate in rates
        for columns in COLUMNS
        if (rule, columns) != ("one", "spp")
    ]
    print("| columns | optim.heads_rate_by | optim.heads_rate | emd_r2 / mean histogram's | SRCC |")
    print("|---|---|---|---|---|")
    for run in runs:
        run.train()
        ratio, srcc = measured(run.workdir / "results.json")
        print(f"| {run.columns} | {run.rule} | {run.rate:g} | {ratio:.3f} | {srcc:.3f} |", flush=True)


if __name__ == "__main__":
    main()
