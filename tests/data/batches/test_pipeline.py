import io

import numpy as np
import pytest
from PIL import Image

from mtp.config import get_config
from mtp.data.batches import buckets, pipeline
from mtp.data.batches.pipeline import TrainBatches, evaluation_batches, evaluation_canvases
from mtp.data.batches.plan import TrainPlan
from mtp.data.schema import DataError, Dataset

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


def make(pictures, labels=None, data=None, **options):
    data, c = data or dataset(pictures), config(**options)
    c.seed = 3
    plan = TrainPlan.from_config(c, np.arange(len(data)), data.sizes)
    return plan, TrainBatches(data, plan, labels or {}, c)


def equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


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
    labels = {"number": np.arange(1, N + 1), "votes": np.ones((N, 5)), "class_weight": np.full(N, 2.0)}
    plan, batches = make(mixed, labels, order=order)
    epoch = list(batches.iterate(0, plan.steps_per_epoch))
    numbers = np.concatenate([b["number"] for b in epoch])
    assert sorted(numbers[numbers > 0]) == list(range(1, N + 1))
    for batch, step in zip(epoch, range(len(epoch)), strict=True):
        filler = plan.batch(step).indices < 0
        assert (batch["class_weight"] == np.where(filler, 0, 2)).all()
        assert not batch["votes"][filler].any()
        assert not batch["images"][filler].any()
        assert not batch["sizes"][filler].any()
        assert (batch["sizes"][~filler] > 0).all()
        assert batch["images"].dtype == np.uint8
        assert batch["images"].shape == (4, *plan.batch(step).shape, 3)
    assert any((b["class_weight"] == 0).any() for b in epoch)
    assert (labels["class_weight"] == 2).all()  # the caller's arrays stay as they are


def test_native_batches_hold_the_decoded_pixels(mixed):
    plan, batches = make(mixed, {"number": np.arange(N)}, order="native", horizontal_flip=False)
    for batch in batches.iterate(0, plan.steps_per_epoch):
        for image, (h, w), number in zip(batch["images"], batch["sizes"], batch["number"], strict=True):
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
        (plan.batch(s).turns, corners(image)) for s in range(steps) for image in batches.load(s)["images"]
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
        odd = plan.batch(step).turns % 2
        assert batches.load(step)["images"].shape[1:3] == ((47, 31) if odd else (31, 47))
        assert (batches.load(step)["sizes"] == ((47, 31) if odd else (31, 47))).all()


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
        raise DataError(f"{index} cannot be read: mend it")

    plan, batches = make(mixed, data=dataset(mixed, read), threads=2)
    with pytest.raises(DataError) as error:
        list(batches.iterate(0, 5))
    first = plan.batch(0).indices[0]
    assert str(error.value) == f"{first} cannot be read: mend it"


def test_a_changed_file_is_an_error(mixed):
    changed = png(np.zeros((40, 90, 3), np.uint8))
    with pytest.raises(DataError, match=r"0\d\d\.png: 40x90 pixels, listed with .* the file changed"):
        make(mixed, data=dataset(mixed, lambda _: changed))[1].load(0)


def evaluate(data, indices, sizes, k=3, batch_pixels=20_000, multiple=1):
    c = config()
    canvases = evaluation_canvases([sizes], k, batch_pixels, multiple)
    batches = evaluation_batches(data, indices, sizes, canvases, c.data, c.input)
    return canvases, list(batches)


@pytest.mark.parametrize("multiple", [1, 2, 8])
def test_evaluation_sees_each_picture_exactly_once(mixed, multiple):
    data, indices = dataset(mixed), np.arange(2, N)
    canvases, batches = evaluate(data, indices, data.sizes[indices], multiple=multiple)
    everyone = np.concatenate([i for i, _ in batches])
    assert sorted(everyone[everyone >= 0]) == indices.tolist()
    slots = {}
    for picked, batch in batches:
        shape = batch["images"].shape
        assert shape[1:3] in canvases
        assert slots.setdefault(shape[1:3], shape[0]) == shape[0] == len(picked)
        assert shape[0] % multiple == 0
        if shape[0] > multiple:
            assert np.prod(shape[:3]) <= 20_000
        for index, image, (h, w) in zip(picked, batch["images"], batch["sizes"], strict=True):
            if index < 0:
                assert (h, w) == (0, 0) and not image.any()
            else:
                assert (h, w) == tuple(buckets.trimmed(data.sizes[index]))
                np.testing.assert_array_equal(image[-h:, -w:], mixed[index][:h, :w])
    assert set(slots) == set(canvases)


def test_evaluation_batches_fill_the_pixel_budget_evenly(mixed):
    data = dataset([mixed[0]] * 9)
    pixels = int(np.prod(buckets.trimmed(np.array(mixed[0].shape[:2]))))
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=8 * pixels)
    assert [len(i) for i, _ in batches] == [5, 5]
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=100 * pixels)
    assert [len(i) for i, _ in batches] == [9]
    _, batches = evaluate(data, np.arange(9), data.sizes, batch_pixels=1)
    assert [len(i) for i, _ in batches] == [1] * 9


def test_evaluation_scales_to_the_asked_size(mixed):
    data = dataset(mixed[:5])
    sizes = np.array([(40 + i, 61 - i) for i in range(5)])
    _, batches = evaluate(data, np.arange(5), sizes)
    for picked, batch in batches:
        for index, size in zip(picked, batch["sizes"], strict=True):
            if index >= 0:
                assert tuple(size) == tuple(buckets.trimmed(sizes[index]))


def test_two_sets_share_their_canvases_and_batch_sizes(mixed):
    """As validation, test and two size rules do: no program more than canvases."""
    data, c = dataset(mixed), config()
    halves = np.arange(N // 3), np.arange(N // 3, N)
    sets = [data.sizes[rows] for rows in halves]
    canvases = evaluation_canvases(sets, 2, 20_000, 1)
    shapes = set()
    for rows, sizes in zip(halves, sets, strict=True):
        batches = list(evaluation_batches(data, rows, sizes, canvases, c.data, c.input))
        seen = np.concatenate([i for i, _ in batches])
        assert sorted(seen[seen >= 0]) == rows.tolist()
        shapes |= {batch["images"].shape for _, batch in batches}
    assert shapes == {(slots, *shape, 3) for shape, slots in canvases.items()}
