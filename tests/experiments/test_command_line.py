"""Experiments that start runs of the command line: what is wrong with the input ends them in a line."""

import pytest

from experiments import cross_validation
from experiments.command_line import command, finish


def test_a_command_is_what_a_user_types(tmp_path):
    given = command("configs/rows/kept.py:demo", tmp_path, {"seed": 3, "model.columns": ("gap",)})
    assert given[1:] == [
        "-m",
        "mtp.main",
        "--config=configs/rows/kept.py:demo",
        f"--workdir={tmp_path}",
        "--config.seed=3",
        "--config.model.columns=('gap',)",
    ]


def test_a_run_that_fails_gives_its_status_and_is_named(tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        finish("configs/votes.py", tmp_path / "run", {"data.dir": tmp_path})
    assert ended.value.code == 1
    theirs, ours = capfd.readouterr().err.splitlines()[-2:]
    assert theirs.startswith("error: ") and "votes.csv" in theirs
    assert ours == f"error: the run in {tmp_path / 'run'} ended with status 1, as said above"


def test_cross_validation_of_a_folder_without_votes_ends_in_a_line(tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*votes\.csv must be a CSV file"):
        cross_validation.main([str(tmp_path)])


def test_cross_validation_names_the_rows_that_there_are(tmp_path):
    with pytest.raises(SystemExit, match="--rows must be among frozen, "):
        cross_validation.main([str(tmp_path), "--rows=frozen,nothing"])
