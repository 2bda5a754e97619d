"""Options of the command line."""

import pytest

from mtp.config.overrides import split


def test_options_are_told_from_other_arguments():
    rest, given = split(
        [
            "--config=x.py",
            "--config.seed=1",
            "--workdir=w",
            "--config.data.dir",
            "--odd",
            "-config.optim.freeze_steps=-1",
        ]
    )
    assert rest == ["--config=x.py", "--workdir=w"]
    assert given == {"seed": 1, "data.dir": "--odd", "optim.freeze_steps": -1}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--config.model.remat", True),
        ("--config.model.remat=true", True),
        ("--config.model.remat=False", False),
        ("--noconfig.model.remat", False),
    ],
)
def test_switches(argument, value):
    assert split([argument, "next"]) == (["next"], {"model.remat": value})


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--config.loss.delta=0", "loss.delta", 0.0),
        ("--config.loss.delta=None", "loss.delta", None),
        ("--config.optim.trunk_rate=1", "optim.trunk_rate", 1.0),
        ("--config.input.sizes=((48,64),)", "input.sizes", ((48, 64),)),
        ("--config.model.tasks=('distribution',)", "model.tasks", ("distribution",)),
        ("--config.model.columns=gap", "model.columns", ("gap",)),
        ("--config.data.dir=a=b", "data.dir", "a=b"),
        ("--config.data.dir=", "data.dir", ""),
        ("--config.data.folds=five", "data.folds", "five"),
        ("--config.data.fold", "data.fold", ""),
        ("--config.optim.trunk_rat=1", "optim.trunk_rat", "1"),
        ("--config.input.sizes[0]=(1,1)", "input.sizes[0]", "(1,1)"),
        ("--config.optim={}", "optim", "{}"),
    ],
)
def test_values(argument, name, value):
    _, given = split([argument])
    assert given == {name: value} and type(given[name]) is type(value)


def test_the_last_of_two_counts():
    assert split(["--config.seed=1", "--config.seed=2"])[1] == {"seed": 2}
