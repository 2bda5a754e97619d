"""An experiment: everything that follows from configuration and data, before a step is taken."""

import dataclasses
import functools
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtp import evaluate, optim, weighting
from mtp.data.load import load
from mtp.data.pipeline import TrainBatches
from mtp.data.plan import TrainPlan
from mtp.data.schema import DataError, Dataset
from mtp.evaluate import Facts
from mtp.mesh import data_mesh, replicated
from mtp.models import mtp_nasnet, pretrained
from mtp.ops.ratings import histograms, mean_and_std
from mtp.step import Objective, TrainState, TrainStep, eval_step, initial_state


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that follows from configuration and data, before any state."""

    config: ConfigDict
    dataset: Dataset
    facts: Facts
    mesh: Mesh
    model: mtp_nasnet.MTPNasNet
    plan: TrainPlan
    batches: TrainBatches
    train_step: TrainStep

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return math.ceil(self.config.train.epochs * self.plan.steps_per_epoch)

    @functools.cached_property
    def predict(self) -> evaluate.Predict:
        """The jitted forward pass; jax compiles it once a canvas shape."""
        return jax.jit(functools.partial(eval_step, self.model, self.facts.style_kind))


def learn_facts(dataset: Dataset, config: ConfigDict) -> Facts:
    """What later evaluations need to know of the training split."""
    rows = dataset.indices("train")
    if not len(rows):
        raise DataError("the training split must hold at least one picture; it is empty")
    scale = weighting.rating_scale(dataset.ratings, config.loss.threshold, config.loss.delta, config.loss.tau)
    styles = dataset.styles[rows]
    labelled = styles[~np.isnan(styles).any(axis=1)] if styles.shape[1] else styles
    several = bool(len(labelled)) and bool((labelled.sum(axis=1) > 1).any())
    return Facts(
        ratings=dataset.ratings,
        style_names=dataset.style_names if len(labelled) else (),
        style_kind="sigmoid" if several else "softmax",
        threshold=scale.threshold,
        delta=scale.delta,
        tau=scale.tau,
        mean_histogram=tuple(histograms(dataset.votes[rows]).mean(axis=0).tolist()),
    )


def training_labels(dataset: Dataset, facts: Facts, config: ConfigDict) -> dict[str, np.ndarray]:
    """Labels and weights of every picture, float32; whatever is not in the training split weighs zero."""
    truth = histograms(dataset.votes)
    rows = dataset.indices("train")
    weights = np.zeros((2, len(dataset)), np.float32)
    weights[:, rows] = weighting.reliability(
        dataset.votes[rows], config.loss.reliability, facts.threshold, facts.tau, config.seed
    )
    labels = {
        "distribution": truth.astype(np.float32),
        "distribution_weight": weights[0],
        "two_category": (mean_and_std(truth)[0] > facts.threshold).astype(np.float32),
        "two_category_weight": weights[1],
    }
    if facts.style_names:
        style_weight = np.zeros(len(dataset), np.float32)
        style_weight[rows] = ~np.isnan(dataset.styles[rows]).any(axis=1)
        labels |= {"style": np.nan_to_num(dataset.styles).astype(np.float32), "style_weight": style_weight}
    return labels


def prepare(config: ConfigDict, dataset: Dataset, facts: Facts) -> Experiment:
    """Model, plan, batches and step of a run."""
    rows = dataset.indices("train")
    labels = training_labels(dataset, facts, config)
    model = mtp_nasnet.build(config.model, facts.ratings, len(facts.style_names))
    plan = TrainPlan.from_config(config, rows, dataset.sizes)
    batch = config.input.batch_size
    labelled = {task: np.count_nonzero(labels[f"{task}_weight"][rows]) / len(rows) for task in model.outputs}
    shares = {task: labelled[task] if task == "style" else 1.0 for task in model.outputs}
    objective = Objective(config.loss, {t: batch * share for t, share in shares.items()}, facts.style_kind)
    shape = jax.eval_shape(functools.partial(fresh_variables, model, config.seed))
    optimiser = optim.build(
        config.optim,
        math.ceil(config.train.epochs * plan.steps_per_epoch),
        plan.steps_per_epoch,
        {**shape["params"], "log_sigma": dict.fromkeys(model.outputs, jax.ShapeDtypeStruct((), np.float32))},
        learn_sigma=config.loss.learn_sigma,
    )
    return Experiment(
        config=config,
        dataset=dataset,
        facts=facts,
        mesh=data_mesh(config.run.devices),
        model=model,
        plan=plan,
        batches=TrainBatches(dataset, plan, labels, config),
        train_step=TrainStep(model, objective, optimiser, config, bool(config.model.weights)),
    )


def fresh_variables(model: mtp_nasnet.MTPNasNet, seed: int) -> dict[str, Any]:
    """Initial parameters and batch statistics; no array depends on a picture's size."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    images = np.zeros((1, 63, 63, 3), np.uint8)
    return model.init(key, images, np.full((1, 2), 63, np.int32))


def new_state(experiment: Experiment) -> TrainState:
    """Step 0, on the mesh: seeded weights, with the trunk's loaded where the configuration says so."""
    c = experiment.config
    variables = jax.jit(functools.partial(fresh_variables, experiment.model))(c.seed)
    if c.model.weights:
        variables = pretrained.load_backbones(variables, c.model.weights, c.model.backbone)
    sigmas = dict(zip(mtp_nasnet.TASKS, c.loss.log_sigma, strict=True))
    state = initial_state(
        variables,
        {task: sigmas[task] for task in experiment.model.outputs},
        experiment.train_step.optimiser,
        ema=c.optim.ema_decay > 0,
    )
    return jax.device_put(state, replicated(experiment.mesh))


def abstract_state(experiment: Experiment) -> Any:
    """Shapes, types and places of the state, without its values."""
    place = replicated(experiment.mesh)
    shapes = jax.eval_shape(functools.partial(_seeded_state, experiment))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)


def _seeded_state(experiment: Experiment) -> TrainState:
    return initial_state(
        fresh_variables(experiment.model, 0),
        dict.fromkeys(experiment.model.outputs, 0.0),
        experiment.train_step.optimiser,
        ema=experiment.config.optim.ema_decay > 0,
    )


def load_experiment(config: ConfigDict) -> Experiment:
    """Data, facts and model of a configuration."""
    dataset = load(config.data, config.seed)
    return prepare(config, dataset, learn_facts(dataset, config))


def for_evaluation(config: ConfigDict, dataset: Dataset, facts: Facts) -> Experiment:
    raise NotImplementedError
