"""Rates of the columns on the demo: each column alone at each rate.  python -m experiments.heads_rates

Is one rate fair to layers of 288 inputs (GAP), 64 (the last ones of FCN) and 7,488 (SPP)? Trains configs/demo.py with
each column alone at several values of optim.heads_rate under optim.heads_rate_by=fan_in, and at one rate for all
layers; prints the validation split's emd_r2, by which a rate is chosen, and the test split's over the mean histogram's.
Workdirs: runs/heads-COLUMNS-RULE-RATE; a finished one is kept, an unfinished one goes on. Some 50 minutes on 2 cores.
"""

import json
from pathlib import Path
from typing import NamedTuple

from experiments.command_line import finish
from experiments.demo_seeds import measured

COLUMNS = ("gap", "fcn", "spp", "fcn+spp")
RATES = {"fan_in": (4e-5, 1.25e-4, 3.75e-4, 1.125e-3), "one": (5e-5,)}


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
        finish("configs/demo.py", self.workdir, options)

    @property
    def validated(self) -> float:
        """The least emd_r2 of the validation split."""
        lines = map(json.loads, (self.workdir / "metrics.jsonl").read_text().splitlines())
        return min(line["validation/emd_r2"] for line in lines if "validation/emd_r2" in line)


def main() -> None:
    print(
        "| columns | optim.heads_rate_by | optim.heads_rate | validation emd_r2 | test emd_r2 / mean histogram's |"
    )
    print("|---|---|---|---|---|")
    for columns in COLUMNS:
        for run in (Run(columns, rule, rate) for rule, rates in RATES.items() for rate in rates):
            run.train()
            ratio, _ = measured(run.workdir / "results.json")
            print(
                f"| {run.columns} | {run.rule} | {run.rate:g} | {run.validated:.5f} | {ratio:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
