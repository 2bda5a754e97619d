"""The loop's parts that need no run; runs are in test_main.py."""

import flax.linen as nn
import pytest

from mtp.models.model import Model
from mtp.training import loop
from mtp.training.experiment import Training


def run_of(*tasks):
    """Of a run all that its score depends on: the tasks that are trained, the first one first."""
    run = object.__new__(Training)
    model = Model(nn.Module(), dict.fromkeys(tasks, 2), dict, groups={})
    object.__setattr__(run, "model", model)  # frozen
    return run


@pytest.mark.parametrize(
    ("tasks", "metric", "worse", "better"),
    [
        (("distribution", "style"), "emd_r2", 0.2, 0.1),
        (("two_category", "distribution"), "two_category_accuracy", 0.6, 0.7),
        (("style",), "map", 0.3, 0.4),
    ],
)
def test_the_first_tasks_criterion_is_the_score_and_higher_is_better(tasks, metric, worse, better):
    others = {name: 0.5 for name in ("emd_r2", "two_category_accuracy", "map", "srcc")}
    run = run_of(*tasks)
    low, high = (loop.score(run, {**others, metric: value}) for value in (worse, better))
    assert low is not None and high is not None and low < high and abs(high) == better
    assert loop.score(run, {"srcc": 0.5}) is None
