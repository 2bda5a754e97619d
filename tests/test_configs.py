"""Experiment files change values only, and say how they are run."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mtp.config import flat, get_config, read_file
from mtp.data.batches.plan import TrainPlan
from mtp.inference.models import MODELS
from mtp.training.experiment import training_view

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def documentation(path: Path) -> str:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__doc__ or ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_experiment_file(path):
    config, default = read_file(path), get_config()
    assert f"--config=configs/{path.name}" in documentation(path)
    assert set(flat(config)) == set(flat(default))
    assert config.to_json() != default.to_json()
    for name, value in flat(config).items():
        # a trunk may be several
        assert type(value) is type(flat(default)[name]) or name == "model.backbone", name
    model = MODELS[config.model.name](config.model, 10, 14)
    TrainPlan.from_config(config, np.arange(20), np.full((20, 2), 100), training_view(config, model))


def test_the_paper_preset_is_the_papers():
    config = read_file(Path(__file__).parents[1] / "configs" / "paper.py")
    assert (config.optim.name, config.optim.trunk_rate, config.optim.heads_rate) == ("adam", 0.01, 0.001)
    assert (config.input.batch_size, config.train.epochs, config.model.fcn_hidden) == (128, 70, 0)
    assert config.input.order == "cycle" and config.input.vertical_flip and config.input.quarter_turns
    assert (config.loss.log_sigma, config.loss.two_category_factor, config.loss.style_factor) == (
        (0.5, 0.9, 0.6),
        0.15,
        0.06,
    )
