import contextlib
import io
import threading

import numpy as np
import pytest
from PIL import Image

from mtp.config import get_config
from mtp.data.batches import pipeline
from mtp.data.batches.pipeline import TrainBatches, evaluation_batches, evaluation_canvases
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import SizeRule
from mtp.data.batches.views import Canvas
from mtp.data.schema import DataError, Dataset
from mtp.models.backbones import odd_sides

N = 21


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def dataset(pictures, read=None):
    files = [png(p) for p in pictures]
    n = len(pictures)
    return Dataset(
        name="fake",
        images=tuple(f"{i:03}.png" for i in range(n)),
        votes=np.ones((n, 5), np.int64),
        sizes=np.array([p.shape[:2] for p in pictures], np.int32),
        splits=("train",) * n,
        groups=None,
        styles=np.zeros((n, 0), np.float32),
        style_names=(),
        metadata={},
        read=read or files.__getitem__,
    )


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    return [rng.integers(1, 256, (*rng.integers(32, 70, 2), 3), np.uint8) for _ in range(N)]


def config(**options):
    c = get_config()
    c.input.update({"batch_size": 4, "sizes": ((32, 48), (48, 32), (33, 33)), **options})
    return c


def make(pictures, labels=None, weights=None, data=None, **options):
    data, c = data or dataset(pictures), config(**options)
    c.seed = 3
    native = SizeRule("native", 0.0, 32)
    flips = {name: c.input[name] for name in ("horizontal_flip", "vertical_flip")}
    view = Canvas(native, odd_sides, **flips)
    plan = TrainPlan.from_config(c, np.arange(len(data)), data.sizes, view)
    return plan, TrainBatches(data, plan, view, labels or {}, weights or {}, c, 32)


def equal(a, b):
    assert a.keys() == b.keys()
    for part in a:
        assert a[part].keys() == b[part].keys()
        for name in a[part]:
            np.testing.assert_array_equal(a[part][name], b[part][name])


@pytest.mark.parametrize("order", ["buckets", "cycle", "native"])
def test_threads_history_and_resumption_change_nothing(mixed, order):
    turns = order != "native"
    _, alone = make(mixed, order=order, quarter_turns=turns, threads=0)
    expected = [alone.load(step) for step in range(12)]
    for threads in (1, 3):
        _, batches = make(mixed, order=order, quarter_turns=turns, threads=threads, ahead=2)
        whole = list(batches.iterate(0, 12))
        resumed = list(batches.iterate(7, 12))
        assert (len(whole), len(resumed)) == (12, 5)
        for a, b in zip(whole + resumed, expected + expected[7:], strict=True):
            equal(a, b)


@pytest.mark.parametrize("order", ["buckets", "cycle", "native"])
def test_labels_follow_pictures_once_an_epoch(mixed, order):
    labels = {"number": np.arange(1, N + 1), "votes": np.ones((N, 5))}
    weights = {"number": np.full(N, 2.0)}
    plan, batches = make(mixed, labels, weights, order=order)
    epoch = list(batches.iterate(0, plan.steps_per_epoch))
    numbers = np.concatenate([b["labels"]["number"] for b in epoch])
    assert sorted(numbers[numbers > 0]) == list(range(1, N + 1))
    for batch, step in zip(epoch, range(len(epoch)), strict=True):
        filler = plan.batch(step).indices < 0
        images, sizes = batch["inputs"]["images"], batch["inputs"]["sizes"]
        assert (batch["weights"]["number"] == np.where(filler, 0, 2)).all()
        assert (batch["slots"]["filled"] == ~filler).all()
        assert not batch["labels"]["votes"][filler].any()
        assert not images[filler].any()
        assert not sizes[filler].any()
        assert (sizes[~filler] > 0).all()
        assert images.dtype == np.uint8
        assert images.shape == (4, *plan.batch(step).shape, 3)
    assert any((b["weights"]["number"] == 0).any() for b in epoch)
    assert (weights["number"] == 2).all()  # the caller's arrays stay as they are


@pytest.mark.parametrize("order", ["buckets", "native"])
def test_the_spec_says_shapes_and_types_before_a_batch_is_read(mixed, order):
    labels, weights = {"votes": np.ones((N, 5), np.float32)}, {"votes": np.ones(N, np.float32)}
    plan, batches = make(mixed, labels, weights, order=order)
    for step in range(plan.steps_per_epoch):
        batch = batches.load(step)
        spec = batches.spec(plan.batch(step).shape)
        found = {
            part: {name: (array.shape, array.dtype) for name, array in arrays.items()}
            for part, arrays in batch.items()
        }
        assert found == {part: {name: tuple(s) for name, s in each.items()} for part, each in spec.items()}


def test_native_batches_hold_the_decoded_pixels(mixed):
    plan, batches = make(mixed, {"number": np.arange(N)}, order="native", horizontal_flip=False)
    for batch in batches.iterate(0, plan.steps_per_epoch):
        inputs, numbers = batch["inputs"], batch["labels"]["number"]
        for image, (h, w), number in zip(inputs["images"], inputs["sizes"], numbers, strict=True):
            if h:
                np.testing.assert_array_equal(image[-h:, -w:], mixed[number][:h, :w])


def corners(picture):
    """Which quadrant of a picture is bright: (row, column) of 0 and 1."""
    h, w = picture.shape[0] // 2, picture.shape[1] // 2
    bright = [[picture[i * h : (i + 1) * h, j * w : (j + 1) * w].mean() for j in (0, 1)] for i in (0, 1)]
    return tuple(int(k) for k in np.unravel_index(np.argmax(bright), (2, 2)))


@pytest.fixture(scope="module")
def asymmetric():
    """Bright at the top left, wider than high."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:10, :10] = 255
    return [picture] * 8


def seen(made, steps=12):
    plan, batches = made
    return {
        (plan.batch(s).turns, corners(image))
        for s in range(steps)
        for image in batches.load(s)["inputs"]["images"]
    }


def test_flips_on_the_right_axes(asymmetric):
    assert seen(make(asymmetric, horizontal_flip=False)) == {(0, (0, 0))}
    assert seen(make(asymmetric, horizontal_flip=True)) == {(0, (0, 0)), (0, (0, 1))}
    assert seen(make(asymmetric, horizontal_flip=False, vertical_flip=True)) == {(0, (0, 0)), (0, (1, 0))}
    assert len(seen(make(asymmetric, horizontal_flip=True, vertical_flip=True))) == 4


def test_quarter_turns_counterclockwise_on_the_turned_canvas(asymmetric):
    plan, batches = make(asymmetric, horizontal_flip=False, quarter_turns=True)
    assert seen((plan, batches), 40) == {(0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (3, (0, 1))}
    for step in range(8):
        odd, inputs = plan.batch(step).turns % 2, batches.load(step)["inputs"]
        assert inputs["images"].shape[1:3] == ((47, 31) if odd else (31, 47))
        assert (inputs["sizes"] == ((47, 31) if odd else (31, 47))).all()


def test_waiting_is_counted_without_the_consumers_time(mixed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pipeline.time, "perf_counter", lambda: now[0])
    data = dataset(mixed)

    def read(index):
        now[0] += 1.0  # seconds
        return data.read(index)

    plan, batches = make(mixed, data=dataset(mixed, read), threads=0)
    running = batches.iterate(0, 3)
    for _ in running:
        now[0] += 100.0
    assert running.waited == sum((plan.batch(step).indices >= 0).sum() for step in range(3))


def test_an_error_in_a_reading_thread_arrives_whole(mixed):
    def read(index):
        raise DataError(f"{index} cannot be read: fix it")

    plan, batches = make(mixed, data=dataset(mixed, read), threads=2)
    with pytest.raises(DataError) as error:
        list(batches.iterate(0, 5))
    first = plan.batch(0).indices[0]
    assert str(error.value) == f"{first} cannot be read: fix it"


def test_a_picture_that_turns_out_damaged_is_one_line_that_names_it_and_the_doctor(mixed):
    files = [png(picture) for picture in mixed]
    files[3] = files[3][:-40]
    _, batches = make(mixed, data=dataset(mixed, files.__getitem__), threads=2)
    with pytest.raises(
        DataError, match=r"^003\.png: the file is damaged .*python -m mtp\.data\.doctor finds"
    ) as error:
        list(batches.iterate(0, N))
    assert "\n" not in str(error.value)


def test_a_picture_counts_in_the_budget_of_pixels_until_it_lies_in_its_slot(mixed, monkeypatch):
    taken: list[int] = []
    here = threading.get_ident()  # threads of other tests may still read ahead

    @contextlib.contextmanager
    def hold(pixels: int):
        taken.extend([pixels] * (threading.get_ident() == here))
        yield
        taken.extend([-pixels] * (threading.get_ident() == here))

    monkeypatch.setattr(pipeline.IN_FLIGHT, "hold", hold)
    plan, batches = make(mixed)
    batches.load(0)
    wanted = [mixed[index].shape[0] * mixed[index].shape[1] for index in plan.batch(0).indices]
    # decoding counts within it
    assert taken == [sign * pixels for pixels in wanted for sign in (1, 1, -1, -1)]


def test_a_changed_file_is_an_error(mixed):
    changed = png(np.zeros((40, 90, 3), np.uint8))
    with pytest.raises(DataError, match=r"0\d\d\.png: 40x90 pixels, listed with .* the file changed"):
        make(mixed, data=dataset(mixed, lambda _: changed))[1].load(0)


def evaluate(data, indices, sizes, k=3, batch_pixels=20_000, devices=1):
    c, view = config(), Canvas(SizeRule("native", 0.0, 32), odd_sides)
    canvases = evaluation_canvases([view.occupied(sizes)], k, batch_pixels, devices)
    return canvases, list(evaluation_batches(data, indices, sizes, canvases, view, c, 32))


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_evaluation_sees_each_picture_exactly_once(mixed, devices):
    data, indices = dataset(mixed), np.arange(2, N)
    canvases, batches = evaluate(data, indices, data.sizes[indices], devices=devices)
    everyone = np.concatenate([rows for rows, _ in batches])
    assert sorted(everyone[everyone >= 0]) == list(range(len(indices)))
    slots = {}
    for rows, inputs in batches:
        shape = inputs["images"].shape
        assert shape[1:3] in canvases
        assert slots.setdefault(shape[1:3], shape[0]) == shape[0] == len(rows)
        assert shape[0] % devices == 0
        if shape[0] > devices:
            assert np.prod(shape[:3]) <= 20_000
        for row, image, (h, w) in zip(rows, inputs["images"], inputs["sizes"], strict=True):
            if row < 0:
                assert (h, w) == (0, 0) and not image.any()
            else:
                index = indices[row]
                assert (h, w) == tuple(odd_sides(data.sizes)[index])
                np.testing.assert_array_equal(image[-h:, -w:], mixed[index][:h, :w])
    assert set(slots) == set(canvases)


def test_evaluation_batches_fill_the_pixel_budget_evenly(mixed):
    data = dataset([mixed[0]] * 9)
    pixels = int(np.prod(odd_sides(np.array([mixed[0].shape[:2]]))))
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=8 * pixels)
    assert [len(i) for i, _ in batches] == [5, 5]
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=100 * pixels)
    assert [len(i) for i, _ in batches] == [9]
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=1)
    assert [len(i) for i, _ in batches] == [1] * 9


def test_evaluation_scales_to_the_asked_size(mixed):
    data, indices = dataset(mixed[:9]), np.arange(4, 9)
    sizes = np.array([(40 + i, 61 - i) for i in range(5)])
    _, batches = evaluate(data, indices, sizes)
    seen = 0
    for rows, inputs in batches:
        for row, size in zip(rows, inputs["sizes"], strict=True):
            if row >= 0:
                assert tuple(size) == tuple(odd_sides(sizes)[row])
                seen += 1
    assert seen == 5


def test_two_sets_share_their_canvases_and_batch_sizes(mixed):
    """As validation, test and two size rules do: no program more than canvases."""
    data, c, view = dataset(mixed), config(), Canvas(SizeRule("native", 0.0, 32), odd_sides)
    halves = np.arange(N // 3), np.arange(N // 3, N)
    sets = [data.sizes[rows] for rows in halves]
    canvases = evaluation_canvases([view.occupied(sizes) for sizes in sets], 2, 20_000, 1)
    shapes = set()
    for indices, sizes in zip(halves, sets, strict=True):
        batches = list(evaluation_batches(data, indices, sizes, canvases, view, c, 32))
        seen = np.concatenate([rows for rows, _ in batches])
        assert sorted(seen[seen >= 0]) == list(range(len(indices)))
        shapes |= {inputs["images"].shape for _, inputs in batches}
    assert shapes == {(slots, *shape, 3) for shape, slots in canvases.items()}


def test_pictures_under_the_networks_smallest_side_are_enlarged_isotropically():
    small = np.full((20, 50, 3), 90, np.uint8)
    read = pipeline.read(dataset([small]), 0, 10_000, 32)
    assert read.shape == (32, 80, 3) and (read == 90).all()
    np.testing.assert_array_equal(pipeline.read(dataset([small]), 0, 10_000, 1), small)
