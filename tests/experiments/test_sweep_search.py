"""Searches: trials in workdirs of their own, proposed from validation scores; trainings and sampler are fakes."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from experiments.sweep import Between, OneOf, Search, space
from experiments.sweep import __main__ as command_line
from experiments.sweep.plan import SweepError
from experiments.sweep.sampler import OptunaSampler
from experiments.sweep.trials import Trial

ROOT = Path(__file__).parents[2]
TRAINING = (sys.executable, "-m", "tests.experiments.fake_training")
FILE = """
from experiments.sweep import Between, OneOf, Search
def get_search():
    return Search("configs/votes_scratch.py", {{
        "optim.heads_rate": Between(1e-5, 1e-1, log=True), "loss.log_sigma[1]": Between(0.0, 1.0),
        "model.columns": OneOf((("fcn",), ("fcn", "spp")))}}, trials={trials})
"""
RATES = (1e-5, 1e-2, 1e-3, 1e-4, 1e-1)


class Told:
    """A sampler that goes through rates, and remembers what it was told before each."""

    def __init__(self):
        self.told: dict[int, list[Trial]] = {}

    def propose(self, number, ended):
        self.told[number] = list(ended)
        columns = ("fcn",) if number % 2 else ("fcn", "spp")
        return {"optim.heads_rate": RATES[number], "loss.log_sigma[1]": number / 10, "model.columns": columns}


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """(trials, *arguments) -> what the sampler was told; the search goes on in one folder."""
    monkeypatch.chdir(ROOT)
    (tmp_path / "marks").mkdir()

    def search(trials: int, *arguments: str) -> Told:
        (tmp_path / "search.py").write_text(FILE.format(trials=trials))
        sampler = Told()
        programs = command_line.Programs(TRAINING, sampler=lambda ranges, seed: sampler)
        words = ["search", str(tmp_path / "search.py"), f"--out={tmp_path / 'out'}"]
        command_line.main([*words, f"--config.data.dir={tmp_path / 'marks'}", *arguments], programs)
        return sampler

    return search


def test_trials_are_proposed_from_validation_scores_and_go_on(searched, tmp_path, capsys):
    told = searched(2).told
    assert told[0] == [] and [(t.number, t.score) for t in told[1]] == [(0, -4.0)]
    config = json.loads((tmp_path / "out/jobs/trial0001/seed0/results.json").read_text())["config"]
    assert config["eval"]["split"] == "validation" and config["model"]["columns"] == ["fcn"]
    assert config["loss"]["log_sigma"] == [0.5, 0.1, 0.6] and config["optim"]["heads_rate"] == 1e-2
    (tmp_path / "marks/fail-0.001").touch()
    shutil.rmtree(tmp_path / "out/jobs/trial0000")  # its score is kept
    told = searched(4).told
    assert set(told) == {2, 3} and [t.score for t in told[3]] == [-4.0, -1.0, None]
    said = capsys.readouterr().out
    assert (
        "trial 2: failed (the disk is too small); optim.heads_rate 0.001" in said
        and "best of 3: trial 1: score -1.00000" in said
    )
    # what failed is tried again, as it was proposed
    (tmp_path / "marks/fail-0.001").unlink()
    assert searched(4).told == {}
    said = capsys.readouterr().out
    assert "best of 4: trial 2: score " in said and "eval.split" not in said.splitlines()[-1]
    assert "--config=configs/votes_scratch.py" in said and "--config.loss.log_sigma=(0.5, 0.2, 0.6)" in said


def test_a_folder_of_another_search_is_refused(searched):
    searched(1)
    with pytest.raises(
        SystemExit, match=r"(?s)holds the search of .*given: there \{\}, now \{'eval.bootstrap': 9\}"
    ):
        searched(1, "--config.eval.bootstrap=9")


RATE = {"optim.heads_rate": Between(1e-4, 1e-2)}


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (3, "must return a Search of experiments.sweep, not 3"),
        (Search("configs/ava.py", {}), "ranges must hold at least one option"),
        (
            Search("configs/ava.py", RATE)._replace(ranges={"optim.heads_rate": (1, 2)}),
            "must be Between.low, high. or OneOf",
        ),
        (
            Search("configs/ava.py", {"optim.heads_rate": Between(2, 1)}),
            "must have low below high; they are 2 and 1",
        ),
        (
            Search("configs/ava.py", {"optim.heads_rate": Between(0, 1, log=True)}),
            "low below high, above 0 for log",
        ),
        (Search("configs/ava.py", {"model.columns": OneOf(())}), "must have at least one value"),
        (Search("configs/ava.py", RATE, options={"eval.split": "test"}), "eval.split must be left out"),
        (
            Search("configs/ava.py", RATE, options={"optim.heads_rate": 1.0}),
            "in ranges or in options, not in both",
        ),
        (Search("configs/ava.py", RATE, trials=0), "trials must be an integer of at least 1, not 0"),
    ],
)
def test_a_search_that_cannot_be(search, says):
    with pytest.raises(SweepError, match=says):
        space.checked(search, Path("FILE"))


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (
            Search("configs/ava.py", {"optim.heads_rate": Between(-1.0, 1.0)}),
            "must be a number of at least 0, not -1.0",
        ),
        (
            Search("configs/ava.py", {"optim.heads_rat": Between(0.1, 1.0)}),
            "there is no option optim.heads_rat",
        ),
        (Search("configs/ava.py", {"optim.heads_rate[0]": Between(0.1, 1.0)}), "must be an entry of a tuple"),
        (Search("configs/none.py", RATE), "there is no configs/none.py"),
        (Search("configs/votes.py", RATE), "train.method=features trains on"),
    ],
)
def test_ranges_that_cannot_be(search, says, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SweepError, match=says):
        space.corners(search, {"data.dir": "FOLDER"})


def test_without_optuna_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SweepError, match='search needs Optuna; install it: pip install "optuna'):
        OptunaSampler(RATE, 0)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_optuna_proposes_points_of_the_ranges_the_same_each_time():
    ranges = {"a": Between(1e-4, 1.0, log=True), "b": OneOf(("x", "y"))}
    ended = [Trial(n, {"a": 10.0**-n, "b": "x"}, -float(n)) for n in range(3)]
    ended.append(Trial(3, {"a": 0.5, "b": "y"}, None))
    one, two = (OptunaSampler(ranges, 0).propose(4, ended) for _ in range(2))
    assert one == two and 1e-4 <= one["a"] <= 1 and one["b"] in ("x", "y")
    assert OptunaSampler(ranges, 1).propose(4, ended) != one
