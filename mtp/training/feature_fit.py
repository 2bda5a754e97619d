"""Training on features: the trunk stays as it was loaded, and the tasks' last layers are fitted to their optimum.

Each picture is seen once, as in evaluation, and what the last layers see of it is kept by its content, so that another
fit on the same pictures takes seconds. The result is step 1 of an ordinary run.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtp.config import ConfigError
from mtp.processes.signals import Stop
from mtp.runtime.checkpoint import Checkpoints
from mtp.runtime.log import Writer
from mtp.tasks import TASKS, Loss, LossOptions
from mtp.training import last_layers
from mtp.training.experiment import Training
from mtp.training.labels import training_labels
from mtp.training.last_layers import LastLayer
from mtp.training.loop import VALIDATION, say, score, validate
from mtp.training.state import TrainState


def fit(
    experiment: Training, checkpoints: Checkpoints, workdir: Path, meta: Mapping[str, Any], stop: Stop
) -> int:
    """Fit, save and validate; the step. Where that is done already, nothing happens.

    Errors: ConfigError where the network's logits are not linear in features; DataError of `last_layers.fit`.
    """
    refuse_others(experiment)
    with closing(Writer(workdir, experiment.config.log.tensorboard)) as writer:
        if checkpoints.latest_step() is None:
            writer.truncate(0)
            state = experiment.new_state()
            layers = fitted(experiment, state)
            writer.write(1, {f"train/strength_{task}": layer.strength for task, layer in layers.items()})
            with stop.held():
                checkpoints.save(1, *with_layers(experiment, state, layers).parts(), meta, rated=True)
                checkpoints.wait()
            if stop.received:
                stop.end()
        if checkpoints.awaits_rating(1):
            model, others, _ = checkpoints.restore(*experiment.abstract_state.parts())
            metrics = validate(experiment, TrainState.joined(model, others))
            if metrics:
                writer.write(1, {f"{VALIDATION}{k}": v for k, v in metrics.items()})
                say(1, metrics)
            checkpoints.rate(1, score(experiment, metrics))
    return 1


def refuse_others(experiment: Training) -> None:
    """Errors: ConfigError where the network's logits are not linear in features."""
    if experiment.model.last_layers is None:
        c = experiment.config.model
        raise ConfigError(
            "train.method=features needs logits that are linear in features of a picture: model.name=mtp_nasnet with "
            "model.columns among gap, spp and levels, and model.heads=parallel; nima; or dma_net or dcnn with "
            f"model.dense_hidden=0 and model.style_column=none. It is {c.name} with model.columns={c.columns}, "
            f"model.heads={c.heads} and model.dense_hidden={c.dense_hidden}"
        )


def fitted(experiment: Training, state: TrainState) -> dict[str, LastLayer]:
    """The last layer of each task."""
    dataset, config = experiment.dataset, experiment.config
    rows = dataset.indices("train")
    predictor = experiment.predictor.with_variables(state.evaluation_variables())
    features = predictor.last_features(dataset, rows)
    labels, importance = training_labels(dataset, experiment.facts, config, experiment.model.outputs)
    groups = dataset.images if dataset.groups is None else dataset.groups
    options = LossOptions(
        config.loss.target, config.loss.emd_r, config.loss.emd_squared, experiment.facts.style_kind
    )
    layers = {}
    for name, outputs in experiment.model.outputs.items():
        task = TASKS[name]
        layers[name] = last_layers.fit(
            features,
            labels[name][rows],
            importance[name][rows],
            outputs,
            with_options(task.convex or task.loss, options),
            with_options(task.loss, options),
            [groups[row] for row in rows],
            config.seed,
        )
        print(
            f"{name}: fitted to {len(rows)} pictures with {features.shape[1]} features, regularised by "
            f"{layers[name].strength:.0e}"
        )
    return layers


def with_options(loss: Loss, options: LossOptions) -> last_layers.Loss:
    """(labels, logits) -> a value a picture."""
    return lambda truth, logits: loss(truth, logits, options)


def with_layers(experiment: Training, state: TrainState, layers: Mapping[str, LastLayer]) -> TrainState:
    """The state after the fit, as that of step 1."""
    last = experiment.model.last_layers
    assert last is not None
    params = last.replaced(state.params, {task: layer[:2] for task, layer in layers.items()})
    params = jax.device_put(params, jax.tree.map(lambda leaf: leaf.sharding, state.params))
    average = state.average and {**state.average, "params": jax.tree.map(jnp.copy, params)}
    return state.replace(step=state.step + np.int32(1), params=params, average=average)
