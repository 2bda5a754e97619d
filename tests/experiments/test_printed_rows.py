"""The printed rows against rows that have seen no picture."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.tables import printed_rows
from mtp.ratings import histograms

ROOT = Path(__file__).parents[2]


def drawn(n=3000):
    """Votes with AVA's statistics: a Dirichlet round a bell-shaped prior."""
    rng = np.random.default_rng(0)
    prior = np.array([0.009, 0.021, 0.056, 0.144, 0.304, 0.262, 0.122, 0.052, 0.020, 0.010])
    return rng.multinomial(200, rng.dirichlet(25 * prior, n))


def test_both_layouts_of_a_votes_file(tmp_path):
    votes = drawn(5)
    (tmp_path / "a.csv").write_text(
        "image_id," + ",".join(f"c{k}" for k in range(1, 11)) + ",source\n"
        + "".join(f"{i}," + ",".join(map(str, row)) + ",x\n" for i, row in enumerate(votes))
    )  # fmt: skip
    (tmp_path / "AVA.txt").write_text(
        "".join(f"{i} {i} {' '.join(map(str, r))} 1 2 3\n" for i, r in enumerate(votes))
    )
    for name in ("a.csv", "AVA.txt"):
        np.testing.assert_array_equal(printed_rows.read_votes(tmp_path / name), votes)


def test_findings_say_what_the_numbers_say():
    votes = drawn()
    values = {
        name: printed_rows.measured(histograms(votes), row)
        for name, row in printed_rows.blind_rows(votes).items()
    }
    assert values["vote noise"]["ped"] < values["oracle mean"]["ped"] < values["mean histogram"]["ped"]
    assert (
        values["mean histogram"]["ped"]
        < values["mean of 15 random pictures"]["ped"]
        < values["uniform"]["ped"]
    )
    svdr, iis, *_ = printed_rows.findings(values)
    assert f"{values['uniform']['ped']:.3f}" in svdr and "0.173" in svdr and "0.215" in iis


@pytest.mark.slow
def test_avas_own_votes(shared_data):
    path = shared_data / "ava" / "ava_union_votes.csv"
    command = [sys.executable, "-m", "experiments.tables.printed_rows", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "| uniform | 0.346 | 0.229 |" in printed and "| mean histogram | 0.166 | 0.108 |" in printed
    assert "mean of 15 random pictures (0.172, 0.111, 0.919)" in printed
