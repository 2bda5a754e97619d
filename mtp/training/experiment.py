"""An experiment: everything that follows from configuration and data, before a step is taken."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mtp.config import Config, ConfigError
from mtp.data.batches.buckets import Shape
from mtp.data.batches.pipeline import TrainBatches
from mtp.data.batches.plan import TrainPlan
from mtp.data.load import load
from mtp.data.schema import DataError, Dataset
from mtp.evaluation import breakdown
from mtp.evaluation import rows as evaluate
from mtp.evaluation.rows import Facts
from mtp.models import heads, mtp_nasnet, pretrained
from mtp.native import accelerated, library
from mtp.ratings import histograms, mean_and_std
from mtp.runtime.mesh import batch_sharding, data_mesh, replicated, replicated_shapes
from mtp.runtime.settings import compiler_options
from mtp.training import optim, weighting
from mtp.training.step import Objective, TrainState, TrainStep, eval_step, initial_state


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What evaluation needs: a model, the data, and where arrays lie."""

    config: Config
    dataset: Dataset
    facts: Facts
    mesh: Mesh
    model: mtp_nasnet.MTPNasNet
    initialise: Callable[
        [int], dict[str, Any]
    ]  # seed -> `fresh_variables`, jitted: shapes and values share a trace
    optimiser: optax.GradientTransformation

    @functools.cached_property
    def canvases(self) -> dict[tuple[int, int], int]:
        """Canvas shapes of every evaluation of this data, and pictures a batch: one program each."""
        return evaluate.canvases(self.dataset, self.config, self.mesh.size)

    @functools.cached_property
    def first_state(self) -> Callable[[Mapping[str, Any]], TrainState]:
        """variables -> `initial_state` on the mesh, jitted."""
        sigmas: dict[str, float] = dict(zip(mtp_nasnet.TASKS, self.config.loss.log_sigma, strict=True))
        begin = functools.partial(
            initial_state,
            log_sigma={task: sigmas[task] for task in self.model.outputs},
            optimiser=self.optimiser,
            ema=self.config.optim.ema_decay > 0,
        )
        options = compiler_options(run_once=True)
        return jax.jit(begin, out_shardings=replicated(self.mesh), compiler_options=options)

    @functools.cached_property
    def forward(self) -> evaluate.Predict:
        """The jitted forward pass; jax compiles it once a canvas shape."""
        step = functools.partial(eval_step, self.model, self.facts.style_kind)
        return jax.jit(
            accelerated(step) if self.config.run.native else step, compiler_options=compiler_options()
        )

    def predict(self, variables: Any, indices: np.ndarray, size_rule: str) -> evaluate.Predictions:
        """Every picture of `indices` once under a size rule."""
        return evaluate.predict(
            self.forward, variables, self.dataset, indices, self.canvases, self.config, self.mesh, size_rule
        )


@dataclasses.dataclass(frozen=True)
class Training(Experiment):
    """What training needs besides."""

    plan: TrainPlan
    batches: TrainBatches
    train_step: TrainStep

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return _steps(self.config, self.plan)

    def abstract_batches(self, step: int) -> dict[Shape, Any]:
        """Arrays of a batch of each canvas shape, without values; the shape of the batch of `step` first."""
        place, first = batch_sharding(self.mesh), self.plan.batch(step).shape
        return {
            shape: {
                name: jax.ShapeDtypeStruct(dimensions, dtype, sharding=place)
                for name, (dimensions, dtype) in self.batches.abstract_batch(shape).items()
            }
            for shape in sorted(self.plan.shapes, key=lambda shape: shape != first)
        }


def learn_facts(dataset: Dataset, config: Config) -> Facts:
    """What later evaluations need to know of the training split."""
    rows = dataset.indices("train")
    if not len(rows):
        raise DataError("the training split must hold at least one picture; it is empty")
    scale = weighting.rating_scale(dataset.ratings, config.loss.threshold, config.loss.delta, config.loss.tau)
    styles = dataset.styles[rows]
    labelled = styles[~np.isnan(styles).any(axis=1)] if styles.shape[1] else styles
    # a softmax can say neither "none of them" nor "the only one, or not"
    one_each = labelled.shape[1] > 1 and bool((labelled.sum(axis=1) == 1).all())
    return Facts(
        ratings=dataset.ratings,
        style_names=dataset.style_names if len(labelled) else (),
        style_kind="softmax" if one_each else "sigmoid",
        threshold=scale.threshold,
        delta=scale.delta,
        tau=scale.tau,
        mean_histogram=tuple(histograms(dataset.votes[rows]).mean(axis=0).tolist()),
        reliability=weighting.fit_reliability(
            dataset.votes[rows], config.loss.reliability, scale.threshold, scale.tau
        )._asdict(),
    )


def training_labels(dataset: Dataset, facts: Facts, config: Config) -> dict[str, np.ndarray]:
    """Labels and weights of every picture, float32; whatever is not in the training split weighs zero.

    Label smoothing is towards the training split's mean histogram (Pereyra et al. 2017, "unigram").
    Errors: ConfigError where loss.smoothing is no share.
    """
    truth, share = histograms(dataset.votes), config.loss.smoothing
    if not 0 <= share < 1:
        raise ConfigError(f"loss.smoothing must be a share from 0 to below 1, not {share}")
    smooth = (1 - share) * truth + share * np.array(facts.mean_histogram)
    rows = dataset.indices("train")
    weights = np.zeros((2, len(dataset)), np.float32)
    weights[:, rows] = weighting.reliability(
        dataset.votes[rows], config.loss.reliability, facts.threshold, facts.tau, config.seed
    )
    labels = {
        "distribution": smooth.astype(np.float32),
        "distribution_weight": weights[0],
        "two_category": (mean_and_std(truth)[0] > facts.threshold).astype(np.float32),
        "two_category_weight": weights[1],
    }
    if facts.style_names:
        style_weight = np.zeros(len(dataset), np.float32)
        style_weight[rows] = ~np.isnan(dataset.styles[rows]).any(axis=1)
        labels |= {"style": np.nan_to_num(dataset.styles).astype(np.float32), "style_weight": style_weight}
    return labels


def prepare(config: Config) -> Training:
    """Data, model, plan, batches and step of a run."""
    dataset = load(config.data)
    _check_target(dataset, config)
    _check_batch(config)
    facts = learn_facts(dataset, config)
    rows = dataset.indices("train")
    plan = TrainPlan.from_config(config, rows, dataset.sizes)
    labels = training_labels(dataset, facts, config)
    base = prepare_evaluation(config, dataset, facts, _steps(config, plan), plan.steps_per_epoch)
    shares = {task: _labelled_share(task, labels, rows) for task in base.model.outputs}
    denominators = {task: config.input.batch_size * share for task, share in shares.items()}
    objective = Objective(config.loss, denominators, facts.style_kind)
    return Training(
        **{field.name: getattr(base, field.name) for field in dataclasses.fields(base)},
        plan=plan,
        batches=TrainBatches(dataset, plan, labels, config),
        train_step=TrainStep(
            base.model, objective, base.optimiser, config, bool(config.model.weights), config.run.native
        ),
    )


def _check_batch(config: Config) -> None:
    pictures, parts = config.input.batch_size, config.optim.accumulate
    devices = data_mesh(config.run.devices).size
    if parts < 1 or pictures < 1 or pictures % (parts * devices):
        raise ConfigError(
            f"input.batch_size must divide by optim.accumulate = {parts} times the {devices} device(s) of run.devices; "
            f"it is {pictures}"
        )


def _check_target(dataset: Dataset, config: Config) -> None:
    c = config.loss
    if c.target not in ("histogram", "mean"):
        raise ConfigError(f"loss.target must be 'histogram' or 'mean', not {c.target!r}")
    if dataset.means_only and (c.target, c.reliability) != ("mean", "none"):
        raise ConfigError(
            f"{dataset.name} has the pictures' mean ratings only, which tell no histogram and no reliability: set "
            f"loss.target=mean and loss.reliability=none; they are {c.target} and {c.reliability}"
        )


def prepare_evaluation(
    config: Config, dataset: Dataset, facts: Facts, steps: int = 1, steps_per_epoch: int = 1
) -> Experiment:
    """A model for these facts; the steps shape the learning rates only."""
    breakdown.check(dataset, config)
    if config.run.native:
        library.load()  # an error now where it is not built
    model = mtp_nasnet.build(config.model, facts.ratings, len(facts.style_names))
    initialise = jax.jit(
        functools.partial(fresh_variables, model), compiler_options=compiler_options(run_once=True)
    )
    shapes = jax.eval_shape(initialise, config.seed)
    sigmas = dict.fromkeys(model.outputs, jax.ShapeDtypeStruct((), np.float32))
    optimiser = optim.build(
        config.optim,
        steps,
        steps_per_epoch,
        {**shapes["params"], "log_sigma": sigmas},
        learn_sigma=config.loss.learn_sigma,
    )
    return Experiment(config, dataset, facts, data_mesh(config.run.devices), model, initialise, optimiser)


def _steps(config: Config, plan: TrainPlan) -> int:
    return math.ceil(config.train.epochs * plan.steps_per_epoch)


def _labelled_share(task: str, labels: dict[str, np.ndarray], rows: np.ndarray) -> float:
    """Share of the training pictures with a label; reliability may weigh one at zero, yet it counts."""
    return float(np.mean(labels["style_weight"][rows] > 0)) if task == "style" else 1.0


def fresh_variables(model: mtp_nasnet.MTPNasNet, seed: int | jax.Array) -> dict[str, Any]:
    """Initial parameters and batch statistics; no array depends on a picture's size."""
    # "rbg" compiles in seconds where the default generator takes half a minute for some hundred arrays
    key = jax.random.key(seed, impl="rbg")
    images = jnp.zeros((1, 63, 63, 3), jnp.uint8)
    return dict(model.init(key, images, jnp.full((1, 2), 63, jnp.int32)))


def new_state(experiment: Experiment) -> TrainState:
    """Step 0, on the mesh: seeded weights, with the trunk's loaded where the configuration says so.

    The distribution begins at the training split's mean histogram.
    """
    c = experiment.config
    variables = experiment.initialise(c.seed)
    columns = heads.starting_at(variables["params"]["heads"], experiment.facts.mean_histogram)
    variables["params"] = {**variables["params"], "heads": columns}
    if c.model.weights:
        variables = pretrained.load_backbones(variables, c.model.weights, c.model.backbone)
    return experiment.first_state(variables)


def abstract_state(experiment: Experiment) -> Any:
    """Shapes, types and places of the state, without its values."""
    shapes = jax.eval_shape(experiment.initialise, experiment.config.seed)
    return replicated_shapes(jax.eval_shape(experiment.first_state, shapes), experiment.mesh)
