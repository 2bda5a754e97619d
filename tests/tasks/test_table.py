"""What every record of the table promises, and the labels against their definitions counted by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtp import tasks
from mtp.evaluation.metrics import METRICS
from mtp.tasks import TASKS, LossOptions, losses

K, S, N = 7, 4, 9
RNG = np.random.default_rng(0)
VOTES = RNG.integers(0, 5, (N, K)) + (np.arange(K) == 3)
STYLES = np.eye(S, dtype=np.float32)[RNG.integers(0, S, N)]
STYLES[[2, 5]] = np.nan
THRESHOLD = 4.0
OPTIONS = [
    LossOptions(target, r, squared, kind)
    for target, (r, squared), kind in itertools.product(
        ("histogram", "mean"), ((1, False), (2, False), (2, True)), ("softmax", "sigmoid")
    )
]
EVERY = pytest.mark.parametrize("task", TASKS)


def logits_of(task, scale=1.0):
    n = TASKS[task].outputs(K, S)
    return jnp.asarray(scale * np.random.default_rng(1).normal(size=(N, n)), jnp.float32)


def labels_of(task):
    values, known = TASKS[task].label(VOTES, STYLES, THRESHOLD)
    return jnp.asarray(values, jnp.float32), known


@EVERY
def test_a_record_goes_by_its_name_and_its_criterion_is_a_metric(task):
    record = TASKS[task]
    assert record.name == task
    assert record.criterion.metric in METRICS
    assert METRICS[record.criterion.metric].better == record.criterion.better


@EVERY
def test_labels_are_finite_and_zero_where_there_is_none(task):
    values, known = TASKS[task].label(VOTES, STYLES, THRESHOLD)
    shape = {"histogram": (N, K), "category": (N,), "styles": (N, S)}[TASKS[task].kind]
    assert values.shape == shape and known.shape == (N,)
    assert np.isfinite(values).all() and not values[~known].any()
    assert known.any()


@EVERY
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_losses_are_one_finite_number_a_picture_and_not_below_zero(task, options):
    values = TASKS[task].loss(labels_of(task)[0], logits_of(task, 30.0), options)
    assert values.shape == (N,) and values.dtype == jnp.float32
    assert np.isfinite(values).all() and (np.asarray(values) >= -1e-6).all()


@EVERY
@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_a_weight_of_zero_gives_exactly_no_gradient(task, options):
    """Even where the network is certain of the contrary, and where there is no label."""
    labels, known = labels_of(task)
    weights = np.where(known & (np.arange(N) % 3 > 0), 1.5, 0).astype(np.float32)

    def total(logits):
        return losses.weighted_sum(TASKS[task].loss(labels, logits, options), jnp.asarray(weights), 4.0)

    gradient = np.asarray(jax.grad(total)(logits_of(task, 3.0)))
    assert (gradient[weights == 0] == 0).all()
    assert (np.abs(gradient[weights > 0]).max(axis=1) > 0).all()
    assert np.isfinite(gradient).all()


@EVERY
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_probabilities_are_probabilities(task, kind):
    found = np.asarray(tasks.probabilities({task: logits_of(task, 20.0)}, kind)[task])
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    match TASKS[task].kind:
        case "histogram":
            assert found.shape == (N, K)
            np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        case "category":
            assert found.shape == (N,)
        case "styles":
            assert found.shape == (N, S)
            if kind == "softmax":
                np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


@EVERY
def test_the_loss_falls_towards_the_label(task):
    """Where the logits say the label, it is lower than where they say the contrary."""
    labels, known = labels_of(task)
    options = LossOptions("histogram", 2, False, "softmax")
    if TASKS[task].kind == "category":
        says = 8.0 * jnp.stack([1 - labels, labels], axis=1)
    else:
        says = jnp.log(jnp.maximum(labels, 1e-6))
    good, bad = (np.asarray(TASKS[task].loss(labels, x, options))[known] for x in (says, says[:, ::-1] * 1.0))
    assert (good <= bad + 1e-6).all() and good.sum() < bad.sum() / 2


@EVERY
def test_what_last_layers_are_fitted_to_is_convex_in_the_logits(task):
    """No second derivative is below zero, in any direction; Eq. 2's own is, which is why it has another one."""
    labels, known = labels_of(task)
    options = LossOptions("histogram", 2, False, "softmax")

    def least_curvature(loss):
        hessian = jax.vmap(jax.hessian(lambda x, y: loss(y[None], x[None], options)[0]))
        return min(
            np.linalg.eigvalsh(hessian(logits_of(task, scale), labels)[known]).min() for scale in (0.3, 3.0)
        )

    record = TASKS[task]
    assert least_curvature(record.convex or record.loss) > -1e-6
    if record.convex:
        assert least_curvature(record.loss) < -1e-3


def test_outputs_of_each_task():
    assert tasks.outputs(("distribution", "two_category", "style"), 10, 14) == {
        "distribution": 10,
        "two_category": 2,
        "style": 14,
    }
    assert tasks.outputs(("style", "two_category"), 10, 0) == {"two_category": 2}
    assert tasks.outputs((), 10, 14) == {}


def test_histograms_by_counting():
    values, known = TASKS["distribution"].label(VOTES, STYLES, THRESHOLD)
    for row, votes in zip(values, VOTES, strict=True):
        assert row.tolist() == pytest.approx([count / sum(votes) for count in votes])
    assert known.all()


def test_high_is_a_mean_above_the_threshold_and_a_tie_is_low():
    votes = np.array(
        [[1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 9, 1, 0, 0], [9, 1, 0, 0, 0, 0, 0]]
    )
    values, known = TASKS["two_category"].label(votes, np.zeros((4, 0), np.float32), 4.0)
    assert values.tolist() == [0, 0, 1, 0] and known.all()
    means = [sum((k + 1) * count for k, count in enumerate(row)) / sum(row) for row in VOTES]
    found = TASKS["two_category"].label(VOTES, STYLES, THRESHOLD).values
    assert found.tolist() == [float(mean > THRESHOLD) for mean in means]
    assert 0 < found.sum() < N


def test_a_row_of_nan_is_a_picture_without_a_style_label():
    values, known = TASKS["style"].label(VOTES, STYLES, THRESHOLD)
    assert np.flatnonzero(~known).tolist() == [2, 5]
    np.testing.assert_array_equal(values[known], STYLES[known])


def test_probabilities_by_hand():
    logits = {
        "distribution": jnp.zeros((1, 4)),
        "two_category": jnp.array([[0.0, np.log(3.0)]]),
        "style": jnp.array([[0.0, np.log(3.0)]]),
    }
    exclusive, several = (tasks.probabilities(logits, kind) for kind in ("softmax", "sigmoid"))
    np.testing.assert_allclose(exclusive["distribution"], 0.25)
    np.testing.assert_allclose(exclusive["two_category"], 0.75, rtol=1e-6)
    np.testing.assert_allclose(exclusive["style"], [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(several["style"], [[0.5, 0.75]], rtol=1e-6)


def test_each_task_reads_the_options_of_its_own_loss():
    truth, logits = labels_of("distribution")[0], logits_of("distribution")
    loss = TASKS["distribution"].loss
    np.testing.assert_array_equal(
        loss(truth, logits, LossOptions("mean", 2, True, "softmax")), losses.mean_rating(truth, logits)
    )
    for r, squared in ((1, False), (2, False), (2, True)):
        np.testing.assert_array_equal(
            loss(truth, logits, LossOptions("histogram", r, squared, "softmax")),
            losses.emd(truth, logits, r=r, squared=squared),
        )
    styles, logits = labels_of("style")[0], logits_of("style")
    for kind, expected in (("softmax", losses.cross_entropy), ("sigmoid", losses.style_bce)):
        np.testing.assert_array_equal(
            TASKS["style"].loss(styles, logits, LossOptions("histogram", 2, False, kind)),
            expected(styles, logits),
        )
