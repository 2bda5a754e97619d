"""Where the time of a training step goes on the card, by kind of operation, from jax' own profiler."""

from collections.abc import Iterator

from experiments.bench import ours, profile_steps
from experiments.bench.accelerator.steps import configured
from experiments.bench.benchmark import Row
from mtp.data.batches.sizes import Shape


def rows(backbone: str, numbers: str, size: Shape, batch: int) -> Iterator[Row]:
    """A row a kind: milliseconds of the gradients' program, its share, and how many operations there are."""
    predictor = ours.predictor(configured(backbone, batch, numbers))
    program, run = profile_steps.compiled(predictor, size, training=True)
    found = profile_steps.traced(program, run)
    total = sum(found.milliseconds.values())
    what = f"gradients, {backbone}, {numbers}, {batch} of {size[0]}x{size[1]}"
    yield Row(what, f"{found.clock:.1f} ms by the clock", measured=f"{total:.1f} ms of operations")
    for kind, spent in sorted(found.milliseconds.items(), key=lambda item: -item[1]):
        yield Row(
            f"{what}: {kind}",
            f"{spent:.2f} ms",
            measured=f"{100 * spent / total:.0f} %, {found.numbers[kind]:.0f} operations",
        )
