"""A training run: everything that follows from configuration and data, before a step is taken."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mtp.config import Config, ConfigError
from mtp.data.batches.pipeline import TrainBatches
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import FITS, Shape, SizeRule
from mtp.data.batches.views import Canvas, View
from mtp.data.load import load
from mtp.data.schema import Dataset
from mtp.evaluation import plan as evaluation_plan
from mtp.inference.facts import Facts
from mtp.inference.feature_store import FeatureStore
from mtp.inference.models import build_model
from mtp.inference.predictor import Predictor
from mtp.models.model import Model
from mtp.runtime.mesh import batch_sharding, data_mesh, replicated, replicated_shapes
from mtp.runtime.settings import compiler_options
from mtp.tasks import TASKS, Criterion
from mtp.training import optim
from mtp.training.labels import labelled_share, learn_facts, training_labels
from mtp.training.objective import Objective
from mtp.training.state import SIGMA, TrainState, initial_state
from mtp.training.step import TrainStep


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """One run: its data and their batches, its network, its step, and the predictor that validates it."""

    config: Config
    dataset: Dataset
    facts: Facts
    mesh: Mesh
    model: Model
    optimiser: optax.GradientTransformation
    plan: TrainPlan
    batches: TrainBatches
    train_step: TrainStep

    @property
    def steps(self) -> int:
        """Steps of the whole run; a fit on features is one."""
        return 1 if self.config.train.method == "features" else total_steps(self.config, self.plan)

    @property
    def criterion(self) -> Criterion:
        """What the best checkpoint is chosen by: that of the first trained task."""
        return TASKS[next(iter(self.model.outputs))].criterion

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, types and places of the state, without its values."""
        variables = jax.eval_shape(self._initialise, self.config.seed)
        return replicated_shapes(jax.eval_shape(self._first_state, variables), self.mesh)

    def abstract_batches(self, step: int) -> list[Any]:
        """Arrays of a batch of each canvas shape, without values; that of the batch of `step` first."""
        first = self.plan.batch(step).shape
        shapes = sorted(self.plan.shapes, key=lambda shape: shape != first)
        return [self._abstract_batch(shape) for shape in shapes]

    def _abstract_batch(self, shape: Shape) -> dict[str, Any]:
        place = batch_sharding(self.mesh)
        return {
            part: {name: jax.ShapeDtypeStruct(*spec, sharding=place) for name, spec in arrays.items()}
            for part, arrays in self.batches.spec(shape).items()
        }

    def new_state(self) -> TrainState:
        """Step 0, on the mesh: seeded weights, with published ones where the configuration says so.

        The distribution begins at the training split's mean histogram.
        """
        weights = self.config.model.weights
        variables = self._initialise(self.config.seed)
        params = self.model.begin(variables["params"], self.facts.mean_histogram)
        variables = {**variables, "params": params}
        return self._first_state(self.model.load(variables, weights) if weights else variables)

    @functools.cached_property
    def _initialise(self) -> Any:
        """seed -> variables, jitted: shapes and values share a trace."""
        return jax.jit(self.model.init, compiler_options=compiler_options(run_once=True))

    @functools.cached_property
    def _first_state(self) -> Any:
        """variables -> `initial_state` on the mesh, jitted."""
        begin = functools.partial(
            initial_state,
            log_sigma=initial_sigmas(self.config, self.model),
            optimiser=self.optimiser,
            ema=self.config.optim.ema_decay > 0,
        )
        options = compiler_options(run_once=True)
        return jax.jit(begin, out_shardings=replicated(self.mesh), compiler_options=options)

    @functools.cached_property
    def evaluation_canvases(self) -> dict[Shape, int]:
        """Canvas shapes of the run's validation and its final evaluations: one program each for all of them."""
        return evaluation_plan.canvases(self.predictor, self.dataset)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Predicts with the initial variables; `with_variables` gives it others."""
        variables, _ = self.abstract_state.parts()
        store = FeatureStore.of(self.config) if self.config.train.method == "features" else None
        return Predictor.of(self.config, self.facts, self.model, variables, mesh=self.mesh, store=store)


def prepare(config: Config) -> Training:
    """Data, network, plan, batches and step of a run.

    Errors: DataError and ConfigError where the data do not go with the options.
    """
    dataset = load(config.data)
    if config.train.method == "features":
        if config.eval.split == "validation":
            raise ConfigError(
                "train.method=features fits to the validation pictures, too, so that eval.split cannot be validation; "
                "choose test"
            )
        # whatever has to be chosen is chosen by inner folds of the training pictures
        dataset = dataset.with_split("validation", joining="train")
    mesh = data_mesh(config.run.devices)
    check_target(dataset, config)
    check_batch(config, mesh)
    facts = learn_facts(dataset, config)
    model = build_model(config, facts)
    view = training_view(config, model)
    plan = TrainPlan.from_config(config, dataset.indices("train"), dataset.sizes, view)
    labels, weights = training_labels(dataset, facts, config, model.outputs)
    optimiser = build_optimiser(config, model, total_steps(config, plan), plan.steps_per_epoch)
    pictures = config.input.batch_size
    objective = Objective(
        config.loss,
        {task: pictures * labelled_share(dataset, task, facts) for task in model.outputs},
        facts.style_kind,
    )
    return Training(
        config, dataset, facts, mesh, model, optimiser, plan,
        batches=TrainBatches(dataset, plan, view, labels, weights, config, model.min_side),
        train_step=build_step(config, model, objective, optimiser),
    )  # fmt: skip


def build_optimiser(
    config: Config, model: Model, steps: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """The optimiser of a network's parameters and the tasks' log sigmas."""
    params = jax.eval_shape(model.init, config.seed)["params"]
    groups = {**model.group_of_parameters(params), SIGMA: dict.fromkeys(model.outputs, "sigma")}
    return optim.build(config.optim, steps, steps_per_epoch, groups, learn_sigma=config.loss.learn_sigma)


def build_step(
    config: Config, model: Model, objective: Objective, optimiser: optax.GradientTransformation
) -> TrainStep:
    """The training step of a network."""
    pretrained = bool(config.model.weights)
    return TrainStep(model, objective, optimiser, config, pretrained, native=config.run.native == "on")


def training_view(config: Config, model: Model) -> View:
    """How pictures stand in training batches, and their augmentation (options: `input`)."""
    c = config.input
    canvas = Canvas(
        rule=SizeRule.parse(c.size, c.sizes, model.min_side),
        reads=model.reads,
        fit=FITS[c.fit],
        horizontal_flip=c.horizontal_flip,
        vertical_flip=c.vertical_flip,
        training=True,
    )
    return model.view(canvas)


def initial_sigmas(config: Config, model: Model) -> dict[str, float]:
    """log sigma of each task that is trained; 0 where loss.log_sigma, in the order of all tasks, has none."""
    given: Mapping[str, float] = dict(zip(TASKS, config.loss.log_sigma, strict=False))
    return {task: given.get(task, 0.0) for task in model.outputs}


def total_steps(config: Config, plan: TrainPlan) -> int:
    """Steps of train.epochs, rounded up."""
    return math.ceil(config.train.epochs * plan.steps_per_epoch)


def check_batch(config: Config, mesh: Mesh) -> None:
    """Errors: ConfigError where a batch does not divide into its parts, one a device and micro-batch."""
    pictures, parts = config.input.batch_size, config.optim.accumulate
    if pictures % (parts * mesh.size):
        raise ConfigError(
            f"input.batch_size must divide by optim.accumulate = {parts} times the {mesh.size} device(s) of "
            f"run.devices; it is {pictures}"
        )


def check_target(dataset: Dataset, config: Config) -> None:
    """Errors: ConfigError where the data have means only, and the loss or the weights need histograms."""
    c = config.loss
    if dataset.means_only and (c.target, c.reliability) != ("mean", "none"):
        raise ConfigError(
            f"{dataset.name} has the pictures' mean ratings only, which tell no histogram and no reliability: set "
            f"loss.target=mean and loss.reliability=none; they are {c.target} and {c.reliability}"
        )
