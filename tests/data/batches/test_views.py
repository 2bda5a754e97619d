"""What views make of pictures, and two that need more than a canvas, through batches and a training step unchanged."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtp.config import get_config
from mtp.data import pictures
from mtp.data.batches.pipeline import TrainBatches, evaluation_batches, evaluation_canvases
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import FITS, SizeRule, crop, pad, warp
from mtp.data.batches.views import Canvas, Draw, Spec, View, empty_batch, slot_of
from mtp.models.backbones import odd_sides
from mtp.models.model import Model, every_line
from mtp.training.objective import Objective
from mtp.training.state import initial_state
from mtp.training.step import TrainStep

NATIVE = SizeRule("native", 0.0, 32)
UINT8 = np.dtype(np.uint8)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def drawn(slot=0, flips=(0.9, 0.9), turns=0, seed=0, step=0):
    return Draw(seed, step, slot, np.array(flips), turns)


def written(view, shown, size, canvas, draw=None):
    """The arrays of one slot."""
    batch = empty_batch(view.spec(canvas), 1)
    view.write(slot_of(batch, 0), shown, size, draw)
    return {name: array[0] for name, array in batch.items()}


@pytest.mark.parametrize(("reads", "lost"), [(odd_sides, 1), (every_line, 0)])
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (32, 47)])
def test_a_picture_stands_bottom_right_as_far_as_the_network_reads_it(reads, lost, size):
    shown = picture(*size)
    found = written(Canvas(NATIVE, reads), shown, size, (40, 50))
    h, w = (side - lost * (side % 2 == 0) for side in size)
    assert found["sizes"].tolist() == [h, w] and found["sizes"].dtype == np.int32
    np.testing.assert_array_equal(found["images"][40 - h :, 50 - w :], shown[:h, :w])
    found["images"][40 - h :, 50 - w :] = 0
    assert not found["images"].any()
    np.testing.assert_array_equal(Canvas(NATIVE, reads).occupied(np.array([size])), [[h, w]])


def test_rules_say_sizes_of_pictures():
    own = np.array([[16, 40], [300, 600]])
    assert Canvas(NATIVE, every_line).sizes(own).tolist() == [[32, 80], [300, 600]]
    assert Canvas(SizeRule("long", 100.0, 32), every_line).sizes(own).tolist() == [[40, 100], [50, 100]]
    assert Canvas(SizeRule("crop", 64.0, 32), every_line).sizes(own).tolist() == [[64, 64]] * 2
    assert Canvas(NATIVE, every_line).sizes(np.zeros((0, 2), np.int32)).shape == (0, 2)


@pytest.mark.parametrize("name", FITS)
def test_a_view_fits_pictures_its_way(name):
    shown, view = picture(60, 90), Canvas(SizeRule(name, 48.0, 32), every_line, FITS[name])
    found = written(view, shown, (48, 48), (48, 48))["images"]
    np.testing.assert_array_equal(found, FITS[name](shown, 48, 48, (0.5, 0.5)))


@pytest.mark.parametrize("name", FITS)
def test_a_picture_that_is_square_already_stays_bit_for_bit(name):
    shown, view = picture(64, 64), Canvas(SizeRule(name, 64.0, 32), every_line, FITS[name])
    for draw in (None, drawn()):
        np.testing.assert_array_equal(written(view, shown, (64, 64), (64, 64), draw)["images"], shown)


def window_of(found, shown):
    """(top, left) of a window in a picture whose pixels are all different."""
    return tuple(int(n) for n in np.argwhere((shown == found[0, 0]).all(axis=2))[0])


def numbered(height, width):
    """A picture no two of whose pixels are the same."""
    number = np.arange(height * width).reshape(height, width)
    return np.stack([number % 256, number // 256, number % 7], axis=2).astype(np.uint8)


def test_windows_of_crops_lie_anywhere_in_training_and_in_the_middle_else():
    shown, view = numbered(60, 90), Canvas(SizeRule("crop", 32.0, 32), every_line, crop)

    def window(draw):
        found = written(view, shown, (32, 32), (32, 32), draw)["images"]
        top, left = window_of(found, shown)
        np.testing.assert_array_equal(found, shown[top : top + 32, left : left + 32])
        return top, left

    assert window(None) == (14, 29)
    places = [window(drawn(slot)) for slot in range(200)]
    tops, lefts = map(set, zip(*places, strict=True))
    # each of 29 and of 59 places is met, or nearly
    assert len(tops) > 25 and len(lefts) > 50
    assert min(tops) <= 1 and max(tops) >= 27 and min(lefts) <= 2 and max(lefts) >= 56
    assert places == [window(drawn(slot)) for slot in range(200)]
    others = (drawn(seed=1), drawn(step=1), drawn(slot=1))
    assert len({window(draw) for draw in (drawn(), *others)}) == 4


@pytest.mark.parametrize("fit", [warp, pad])
def test_only_windows_depend_on_chance(fit):
    view = Canvas(NATIVE, every_line, fit)
    found = {written(view, picture(60, 90), (40, 50), (40, 50), drawn(s))["images"].tobytes() for s in (0, 1)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("flips", "expected"),
    [((0.9, 0.9), lambda x: x), ((0.1, 0.9), lambda x: x[:, ::-1]), ((0.9, 0.1), lambda x: x[::-1]),
     ((0.1, 0.1), lambda x: x[::-1, ::-1])],
    ids=["none", "horizontal", "vertical", "both"],
)  # fmt: skip
def test_flips_where_chance_says_so_and_the_view_may(flips, expected):
    shown = picture(33, 47)
    both = Canvas(NATIVE, every_line, horizontal_flip=True, vertical_flip=True)
    np.testing.assert_array_equal(
        written(both, shown, (33, 47), (33, 47), drawn(flips=flips))["images"], expected(shown)
    )
    np.testing.assert_array_equal(
        written(Canvas(NATIVE, every_line), shown, (33, 47), (33, 47), drawn(flips=flips))["images"], shown
    )
    np.testing.assert_array_equal(written(both, shown, (33, 47), (33, 47))["images"], shown)  # evaluation


@pytest.mark.parametrize("turns", range(4))
def test_turns_are_counter_clockwise_and_what_is_not_read_is_lost_after_them(turns):
    shown = picture(34, 48)
    turned = [shown, shown.transpose(1, 0, 2)[::-1], shown[::-1, ::-1], shown.transpose(1, 0, 2)[:, ::-1]][
        turns
    ]
    canvas = (48, 34) if turns % 2 else (34, 48)
    whole = written(Canvas(NATIVE, every_line), shown, (34, 48), canvas, drawn(turns=turns))
    np.testing.assert_array_equal(whole["images"], turned)
    odd = tuple(side - 1 for side in canvas)
    read = written(Canvas(NATIVE, odd_sides), shown, (34, 48), odd, drawn(turns=turns))
    np.testing.assert_array_equal(read["images"], turned[:-1, :-1])
    assert tuple(read["sizes"]) == odd


def test_empty_slots_are_zero_and_aligned():
    """jax takes an array over without a copy where it begins at a multiple of 64 bytes."""
    batch = empty_batch({"a": Spec((3, 5), np.dtype(np.float32)), "b": Spec((), np.dtype(np.int32))}, 7)
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
        "a": ((7, 3, 5), "float32"),
        "b": ((7,), "int32"),
    }
    assert all(x.ctypes.data % 64 == 0 and not x.any() for x in batch.values())


@dataclasses.dataclass(frozen=True)
class WholeAndPart:
    """Two arrays a picture, as RAPID's two columns take them (Lu et al. 2014): it warped, and a window of it."""

    side: int

    def sizes(self, own):
        return np.full_like(own, self.side)

    def occupied(self, sizes):
        return np.asarray(sizes)

    def spec(self, canvas):
        square = Spec((self.side, self.side, 3), UINT8)
        return {"whole": square, "part": square}

    def write(self, slot, picture, size, draw):
        where = (0.5, 0.5) if draw is None else tuple(draw.generator("part").random(2))
        slot["whole"][:] = warp(picture, *size)
        slot["part"][:] = crop(picture, *size, where)


@dataclasses.dataclass(frozen=True)
class Bag:
    """Windows of a picture (N, P, P, 3), an unordered bag as DMA-Net takes it (Lu et al. 2015)."""

    patches: int
    side: int

    def sizes(self, own):
        return np.full_like(own, self.side)

    def occupied(self, sizes):
        return np.asarray(sizes)

    def spec(self, canvas):
        return {"patches": Spec((self.patches, self.side, self.side, 3), UINT8)}

    def write(self, slot, picture, size, draw):
        middles = np.linspace(0, 1, self.patches)[:, None].repeat(2, axis=1)
        places = middles if draw is None else draw.generator("patches").random((self.patches, 2))
        for patch, (down, across) in zip(slot["patches"], places, strict=True):
            patch[:] = crop(picture, *size, (down, across))


class Pooled(nn.Module):
    """A distribution from the mean colours of every input, whatever their names and axes."""

    @nn.compact
    def __call__(self, inputs, statistics=None):
        means = [jnp.mean(x.astype(jnp.float32) / 255, axis=(-3, -2)) for _, x in sorted(inputs.items())]
        bags = [x if x.ndim == 2 else jnp.max(x, axis=1) for x in means]
        return {"distribution": nn.Dense(5, name="heads")(jnp.concatenate(bags, axis=-1))}


def toy(view):
    def example():
        return {name: jnp.zeros((1, *each.shape), each.dtype) for name, each in view.spec((0, 0)).items()}

    return Model(Pooled(), {"distribution": 5}, example, {"heads": "heads"})


TOYS = pytest.mark.parametrize("view", [WholeAndPart(16), Bag(4, 16)], ids=["two arrays", "bag"])
SHAPES = {"whole": (16, 16, 3), "part": (16, 16, 3), "patches": (4, 16, 16, 3)}


@pytest.fixture(scope="module")
def seven():
    rng = np.random.default_rng(0)
    return [picture(*rng.integers(16, 60, 2), seed) for seed in range(7)]


def batches_of(view, shown, order="native"):
    config = get_config()
    config.input.update({"order": order, "batch_size": 4, "threads": 0, "sizes": ((16, 16),)})
    data = pictures.of_arrays(shown)
    plan = TrainPlan.from_config(config, np.arange(len(data)), data.sizes, view)
    truth = np.random.default_rng(1).dirichlet(np.ones(5), len(data)).astype(np.float32)
    ones = np.ones(len(data), np.float32)
    return plan, TrainBatches(data, plan, view, {"distribution": truth}, {"distribution": ones}, config, 1)


@TOYS
@pytest.mark.parametrize("order", ["native", "buckets", "cycle"])
def test_batches_carry_any_arrays(view, order, seven):
    plan, batches = batches_of(view, seven, order)
    assert isinstance(view, View) and plan.shapes == [(16, 16)]
    epoch = [batches.load(step) for step in range(plan.steps_per_epoch)]
    for step, batch in enumerate(epoch):
        spec = batches.spec(plan.batch(step).shape)["inputs"]
        assert {name: x.shape for name, x in batch["inputs"].items()} == {n: s.shape for n, s in spec.items()}
        assert all(x.shape[1:] == SHAPES[name] for name, x in batch["inputs"].items())
        real = plan.batch(step).indices >= 0
        for x in batch["inputs"].values():
            assert x[real].any(axis=(1, 2, 3)).all() and not x[~real].any()
        again = batches.load(step)
        for name, x in batch["inputs"].items():
            np.testing.assert_array_equal(x, again["inputs"][name])
    assert sum((batch["weights"]["distribution"] > 0).sum() for batch in epoch) == 7


@TOYS
def test_evaluation_batches_carry_any_arrays(view, seven):
    data, config = pictures.of_arrays(seven), get_config()
    sizes = view.sizes(data.sizes)
    canvases = evaluation_canvases([view.occupied(sizes)], 3, 3 * 16 * 16, 1)
    rows, inputs = zip(*evaluation_batches(data, np.arange(7), sizes, canvases, view, config, 1), strict=True)
    assert canvases == {(16, 16): 3}
    assert sorted(np.concatenate(rows).tolist()) == [-1, -1, *range(7)]
    for places, batch in zip(rows, inputs, strict=True):
        for slot, row in enumerate(places):
            if row >= 0:
                alone = written(view, seven[row], (16, 16), (16, 16))
                for name, values in alone.items():
                    np.testing.assert_array_equal(batch[name][slot], values)


@TOYS
def test_a_training_step_takes_any_arrays(view, seven):
    """Plain gradient descent: the loss of the same batch falls."""
    _, batches = batches_of(view, seven)
    config, model, optimiser = get_config(), toy(view), optax.sgd(0.5)
    step = jax.jit(
        TrainStep(model, Objective(config.loss, {"distribution": 4.0}, "softmax"), optimiser, config, False)
    )
    state = initial_state(model.init(0), {"distribution": 0.5}, optimiser, ema=False)
    state, before = step(state, batches.load(0))
    _, after = step(state, batches.load(0))
    assert float(after["loss"]) < float(before["loss"]) - 1e-4
