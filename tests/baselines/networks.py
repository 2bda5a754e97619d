"""What the tests of the baselines build, draw and write alike; their trunk is `tests.runs.SMALL`."""

import jax
import jax.numpy as jnp
import numpy as np

from mtp.config import get_config
from mtp.data import pictures
from mtp.data.batches.pipeline import TrainBatches
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import FITS, SizeRule
from mtp.data.batches.views import Canvas, Draw, empty_batch, slot_of
from mtp.inference.models import MODELS
from mtp.runtime.settings import compiler_options

SIDE = 33


def build(name, ratings=5, styles=3, **options):
    """The network of some options on the small trunk."""
    config = get_config().model
    config.update({"name": name, "backbone": "small", "dense_hidden": 8, **options})
    return MODELS[name](config, ratings, styles)


def once(function):
    """Jitted to run a single time."""
    return jax.jit(function, compiler_options=compiler_options(run_once=True))


def random_variables(model, seed=0):
    """Variables whose biases and statistics are no zeros and ones, so that nothing cancels by chance."""
    rng = np.random.default_rng(seed)
    variables = jax.device_get(once(model.init)(seed))
    return jax.tree.map(lambda x: (x + rng.uniform(0.05, 0.3, x.shape)).astype(np.float32), variables)


def picture(height, width, seed=0):
    """Noise."""
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def view_of(model, *, training, rule="crop", side=SIDE, fit=None, flip=False):
    """The model's view at squares of a side."""
    return model.view(
        Canvas(
            SizeRule(rule, float(side), 32),
            model.reads,
            FITS[fit or rule],
            horizontal_flip=flip,
            training=training,
        )
    )


def drawn(slot=0, seed=0, step=0, flip=False):
    """What chance decides for a slot; flip: whether it is mirrored where the view may."""
    return Draw(seed, step, slot, np.array([0.1 if flip else 0.9, 0.9]), 0)


def written(view, shown, size, draws, slots=None):
    """Inputs of a batch of these pictures; empty slots behind them."""
    canvas = tuple(int(n) for n in view.occupied(np.array([size])).max(axis=0))
    batch = empty_batch(view.spec(canvas), slots or len(shown))
    for number, (one, draw) in enumerate(zip(shown, draws, strict=True)):
        view.write(slot_of(batch, number), one, size, draw)
    return {name: jnp.asarray(values) for name, values in batch.items()}


def training_batches(model, shown, side=SIDE, fit="crop"):
    """(plan, batches) of squares of some pictures."""
    config = get_config()
    config.input.update({"batch_size": 4, "threads": 0, "sizes": ((side, side),)})
    data = pictures.of_arrays(shown)
    view = view_of(model, training=True, side=side, fit=fit, flip=True)
    plan = TrainPlan.from_config(config, np.arange(len(data)), data.sizes, view)
    truth = np.random.default_rng(1).dirichlet(np.ones(5), len(data)).astype(np.float32)
    ones = np.ones(len(data), np.float32)
    return plan, TrainBatches(data, plan, view, {"distribution": truth}, {"distribution": ones}, config, 32)
