"""Training steps and forward passes of one backbone with one kind of numbers, beside PyTorch on the same card.

Rates are in megapixels of input a second, since PyTorch's NASNet takes multiples of 32 pixels only.
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from experiments.bench import ours
from experiments.bench.accelerator import torch_peer
from experiments.bench.accelerator.card import NUMBERS, products
from experiments.bench.benchmark import Contender, Missing, Row, Run, pairs, rate_row
from experiments.bench.peers import nearest_multiple
from mtp.config import Config
from mtp.data.batches.sizes import Shape

SIZES, BATCH, PAIRS = ((224, 336), (336, 224), (224, 224)), 128, 5
TARGETS = {"training step": 1.2, "forward pass": 1.0}
IN_TORCH = ("mobile", "lite0", "lite1", "lite2")


class Costs(NamedTuple):
    """Of the program of a step's gradients: seconds to trace and compile it, bytes of its temporaries, operations."""

    seconds: float
    temporaries: int
    operations: float


def configured(backbone: str, batch: int, numbers: str) -> Config:
    chosen = NUMBERS[numbers]
    c = ours.trunk_and_linear_head(False, backbone=backbone, dtype=chosen.dtype, precision=chosen.precision)
    c.input.batch_size = batch
    return c


def train(backbone: str, size: Shape, batch: int, numbers: str) -> Run:
    """One step of forward, loss, backward and AdamW on a batch that stays on the card."""
    return ours.training(configured(backbone, batch, numbers), size)[0]


def forward(backbone: str, size: Shape, batch: int, numbers: str) -> Run:
    """From canvases on the card to distributions on the host."""
    predicting = ours.predictor(configured(backbone, batch, numbers))
    inputs: Any = jax.device_put(ours.batch_of(predicting, size, batch))
    return functools.partial(ours.answer, predicting, inputs)


def costs(backbone: str, size: Shape, batch: int, numbers: str, cache: str) -> Run:
    """`Costs`, with compiled programs kept in a folder; every run returns them."""
    ours.cached(cache)
    begun_with = ours.predictor(configured(backbone, batch, numbers))
    step, state = ours.training_step(begun_with)
    given = ours.training_batch(begun_with, size)
    begun = time.perf_counter()
    program = jax.jit(step.gradients).lower(state, given).compile()
    seconds = time.perf_counter() - begun
    memory: Any = program.memory_analysis()
    analysed: Any = program.cost_analysis()
    found = Costs(seconds, int(memory.temp_size_in_bytes), float(analysed.get("flops", 0)))
    return lambda: found


KINDS: dict[str, tuple[Callable[..., Run], Callable[..., Run]]] = {
    "training step": (train, torch_peer.train),
    "forward pass": (forward, torch_peer.forward),
}


def rows(
    backbone: str,
    numbers: str,
    *,
    compiled: bool = False,
    sizes: tuple[Shape, ...] = SIZES,
    batch: int = BATCH,
    device: str = "cuda",
) -> Iterator[Row]:
    """Both kinds at each size. compiled: against torch.compile."""
    with Contender(products, numbers) as squares:
        peak = max(squares.run()[1] for _ in range(3))
    for size in sizes:
        for kind, (mine, theirs) in KINDS.items():
            what = f"{kind}, {backbone}, {numbers}, {batch} of {size[0]}x{size[1]}"
            with Contender(mine, backbone, size, batch, numbers) as contender:
                yield _against(
                    what, kind, contender, theirs, backbone, numbers, size, batch, compiled, device
                )
                seconds = statistics.median(contender.time() for _ in range(3))
            if kind == "training step":
                yield from _costs(what, backbone, size, batch, numbers, seconds, peak)


def _against(
    what: str,
    kind: str,
    mine: Contender,
    build: Callable[..., Run],
    backbone: str,
    numbers: str,
    size: Shape,
    batch: int,
    compiled: bool,
    device: str,
) -> Row:
    their_size = nearest_multiple(size)
    name = "PyTorch torch.compile" if compiled else "PyTorch eager"
    against = f"{name}, channels-last" + ("" if their_size == size else f", {their_size[0]}x{their_size[1]}")
    work, their_work = (batch * h * w / 1e6 for h, w in (size, their_size))
    try:
        if backbone not in IN_TORCH:
            raise Missing(f"{backbone} has no network in PyTorch here")
        with Contender(build, backbone, their_size, batch, numbers, compiled, device) as peer:
            measured = pairs(mine, peer, PAIRS)
    except Missing as error:
        seconds = statistics.median(mine.time() for _ in range(PAIRS))
        return Row(what, f"{work / seconds:.3g} MP/s", against, "skipped", str(error).splitlines()[0])
    return rate_row(what, against, measured, work, "MP/s", TARGETS[kind], their_work)


def _costs(
    what: str, backbone: str, size: Shape, batch: int, numbers: str, seconds: float, peak: float
) -> Iterator[Row]:
    """The share of the card's products, memory, and compile times from an empty cache and from a full one."""
    with tempfile.TemporaryDirectory() as cache:
        found: list[Costs] = []
        for _ in range(2):
            with Contender(costs, backbone, size, batch, numbers, cache) as contender:
                found.append(contender.run()[1])
    cold, warm = found
    yield Row(
        f"{what}: share of products of {numbers}",
        f"{cold.operations / seconds / 1e12:.3g} TFLOP/s",
        "square matrices, here",
        f"{peak / 1e12:.3g} TFLOP/s",
        f"{100 * cold.operations / seconds / peak:.1f} %",
    )
    yield Row(f"{what}: temporaries", f"{cold.temporaries / 1e9:.2f} GB")
    yield Row(f"{what}: tracing and compiling", f"{cold.seconds:.0f} s, {warm.seconds:.0f} s from the cache")
