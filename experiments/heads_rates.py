"""Rates of the columns on the demo: each column alone at each rate.  python -m experiments.heads_rates

Is one rate fair to layers of 288 inputs (GAP), 64 (the last ones of FCN) and 7,488 (SPP)? Trains configs/demo.py with
each column alone at three values of optim.heads_rate under optim.heads_rate_by=fan_in, with both columns at the middle
one, and at one rate for all layers, that of SPP's; prints the test split's emd_r2 over the mean histogram's, and SRCC.
Workdirs: runs/heads-COLUMNS-RULE-RATE; a finished one is kept, an unfinished one goes on.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.demo_seeds import measured

RATES = (1.25e-4, 3.75e-4, 1.125e-3)
ONE = 5e-5  # what SPP's layer has of 3.75e-4


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
            "model.columns": tuple(self.columns.split("+")),
            "optim.heads_rate_by": self.rule,
            "optim.heads_rate": self.rate,
            "run.native": "on",
        }
        command = [sys.executable, "-m", "mtp.main", "--config=configs/demo.py", f"--workdir={self.workdir}"]
        given = [f"--config.{name}={value}" for name, value in options.items()]
        subprocess.run([*command, *given], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    runs = [Run(columns, "fan_in", rate) for columns in ("gap", "fcn", "spp") for rate in RATES]
    runs += [Run("fcn+spp", "fan_in", RATES[1])]
    # SPP alone at ONE is the run at RATES[1]
    runs += [Run(columns, "one", ONE) for columns in ("gap", "fcn", "fcn+spp")]
    print("| columns | optim.heads_rate_by | optim.heads_rate | emd_r2 / mean histogram's | SRCC |")
    print("|---|---|---|---|---|")
    for run in runs:
        run.train()
        ratio, srcc = measured(run.workdir / "results.json")
        print(f"| {run.columns} | {run.rule} | {run.rate:g} | {ratio:.3f} | {srcc:.3f} |", flush=True)


if __name__ == "__main__":
    main()
