"""The exactness contract on a card: a picture in a mixed batch is what it is alone, and what it is on the CPU.

Differences are of a picture's cells of the last map, and of the logits of all columns, as a share of the largest one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import ours
from experiments.bench.accelerator.card import NUMBERS
from experiments.bench.benchmark import Row, limit_row, random_pictures
from mtp.data.batches.sizes import Shape
from mtp.data.batches.views import Arrays, empty_batch, slot_of
from mtp.inference.predictor import Predictor
from mtp.models.model import Model, Variables

SIZES = ((224, 336), (336, 224), (224, 224), (301, 225), (97, 64), (33, 35), (480, 640), (211, 640))
COLUMNS = ("gap", "fcn", "spp")
LIMIT = 1e-4  # of float32; bfloat16's is told

Found = Mapping[str, np.ndarray]  # the pictures' cells of the map, and their logits


def predictor(backbone: str, numbers: str) -> Predictor:
    """A network of all columns with the weights of a seed."""
    chosen = NUMBERS[numbers]
    config = ours.trunk_and_linear_head(
        False, backbone=backbone, dtype=chosen.dtype, precision=chosen.precision, columns=COLUMNS
    )
    config.model.tasks = ("distribution", "two_category")
    return ours.predictor(config)


def on_canvas(predictor: Predictor, sizes: tuple[Shape, ...], pictures: list[np.ndarray]) -> Arrays:
    """A batch of pictures on the smallest canvas that holds all."""
    view = predictor.view("native")
    occupied = view.occupied(np.array(sizes)).max(axis=0)
    inputs = empty_batch(view.spec((int(occupied[0]), int(occupied[1]))), len(sizes))
    for slot, (size, picture) in enumerate(zip(sizes, pictures, strict=True)):
        view.write(slot_of(inputs, slot), picture, size, None)
    return inputs


def observed(predictor: Predictor, inputs: Arrays, device: Any) -> list[Found]:
    """Of each picture of a batch."""

    def program(variables: Variables, inputs: Any) -> Any:
        with jax.default_matmul_precision(predictor.config.model.precision):
            details = Model.details(predictor.model, variables, inputs)
            logits, _ = predictor.model.logits(variables, inputs)
        wide = jax.tree.map(lambda x: x.astype(jnp.float32), (details["map"], logits))
        return *wide, details["map_sizes"]

    maps, logits, sizes = jax.tree.map(
        np.asarray, jax.jit(program)(*jax.device_put((predictor.variables, dict(inputs)), device))
    )
    both = np.concatenate([x.reshape(len(sizes), -1) for x in logits.values()], axis=1)
    return [
        {"map": one[one.shape[0] - h :, one.shape[1] - w :], "logits": each}
        for one, each, (h, w) in zip(maps, both, sizes, strict=True)
    ]


def difference(found: list[Found], expected: list[Found], name: str) -> float:
    """The largest of a picture's differences, as a share of the largest expected value."""
    return max(
        float(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max())
        for a, b in zip(found, expected, strict=True)
    )


def gradients(predictor: Predictor, inputs: Arrays, device: Any) -> Any:
    """Of a training step on the batch, by each parameter."""
    predictor.config.input.batch_size = len(inputs["sizes"])
    step, state = ours.training_step(predictor)
    batch = {"inputs": dict(inputs), **ours.labels(predictor.model.outputs, len(inputs["sizes"]))}
    found = jax.jit(step.gradients)(*jax.device_put((state, batch), device))
    return jax.tree.map(np.asarray, found.params)


def apart(found: Any, expected: Any) -> float:
    """Of two trees of gradients: the norm of their difference, as a share of the norm of what is expected."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    squares = [(np.sum(np.square(a - b, dtype=float)), np.sum(np.square(b, dtype=float))) for a, b in pairs]
    return float(np.sqrt(sum(d for d, _ in squares) / sum(e for _, e in squares)))


def rows(backbone: str, sizes: tuple[Shape, ...] = SIZES) -> Iterator[Row]:
    """The contract in float32, and how far bfloat16 is from it."""
    card, cpu = jax.devices()[0], jax.devices("cpu")[0]
    pictures = random_pictures(np.array(sizes))
    exact = predictor(backbone, "float32")
    mixed = on_canvas(exact, sizes, pictures)
    here, there = observed(exact, mixed, card), observed(exact, mixed, cpu)
    alone = [
        observed(exact, on_canvas(exact, (size,), [picture]), card)[0]
        for size, picture in zip(sizes, pictures, strict=True)
    ]
    for name in ("map", "logits"):
        what = f"{backbone}, float32, {name}: {len(sizes)} sizes in one batch"
        yield limit_row(f"{what}, beside each alone", difference(here, alone, name), "of the largest", LIMIT)
        yield limit_row(f"{what}, beside the CPU", difference(here, there, name), "of the largest", LIMIT)
    expected = gradients(exact, mixed, cpu)
    what = f"{backbone}, gradients of a training step beside the CPU's"
    yield limit_row(f"{what}, float32", apart(gradients(exact, mixed, card), expected), "of their norm", 1e-3)
    for numbers in ("tf32", "bfloat16"):
        fast = predictor(backbone, numbers)
        found = observed(fast, mixed, card)
        for name in ("map", "logits"):
            told = f"{difference(found, there, name):.2g} of the largest"
            yield Row(f"{backbone}, {numbers}, {name}, beside float32 on the CPU", told)
        told = f"{apart(gradients(fast, mixed, card), expected):.2g} of their norm"
        yield Row(f"{what}, {numbers}", told)
