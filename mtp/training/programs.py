"""The training step's programs, ready ahead of the loop: one of gradients a batch shape, one update for all."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from typing import Any

import jax
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered

from mtp.runtime.mesh import replicated, replicated_shapes
from mtp.runtime.settings import compiler_options, return_freed_memory
from mtp.training.objective import Batch
from mtp.training.state import TrainState
from mtp.training.step import TrainStep

ASK = 0.1  # seconds


class Programs:
    """(state, batch) -> (state, metrics), each program compiled on its own; the state is donated.

    state: its arrays or their shapes; batches: the same of a batch of each shape of inputs, in the order in which they
    are needed. Programs are compiled in that order, the update beside the first of the gradients, `at_once` of the
    gradients at the same time.
    A batch of any other shape is an error (KeyError): nothing is ever compiled in the loop.
    """

    def __init__(self, step: TrainStep, state: TrainState, batches: Sequence[Any], mesh: Mesh, at_once: int):
        # Python traces one thing at a time: two programs traced together would both be late
        tracing = ThreadPoolExecutor(1, thread_name_prefix="trace")
        options = compiler_options()

        def start(making: Executor, lower: Callable[..., Lowered], *arguments: Any) -> Future[Compiled]:
            def make() -> Compiled:
                program = tracing.submit(lower, *arguments).result().compile(options)
                return_freed_memory()
                return program

            return making.submit(make)

        def update() -> Lowered:
            program = jax.jit(step.update, donate_argnums=0, out_shardings=replicated(mesh))
            return program.lower(state, replicated_shapes(jax.eval_shape(step.no_gradients, state), mesh))

        def gradients(batch: Any) -> Lowered:
            return jax.jit(step.gradients, out_shardings=replicated(mesh)).lower(state, batch)

        workers = ThreadPoolExecutor(at_once, thread_name_prefix="compile")
        first, *others = batches
        self._gradients = {_shapes(first): start(workers, gradients, first)}
        self._update = start(ThreadPoolExecutor(1, thread_name_prefix="compile update"), update)
        self._gradients |= {_shapes(batch): start(workers, gradients, batch) for batch in others}

    def wait(self) -> int:
        """Until all are there; how many they are."""
        programs = [self._update, *self._gradients.values()]
        return len([program.result() for program in programs])

    def ready(self, batch: Batch, given_up: Callable[[], bool]) -> bool:
        """Wait for this batch's programs; False where that was given up, which is asked ten times a second."""
        missing = {self._gradients[_shapes(batch)], self._update}
        while missing:
            if given_up():
                return False
            done, missing = wait(missing, ASK, FIRST_EXCEPTION)
            for program in done:
                program.result()
        return True

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Mapping]:
        gradients = self._gradients[_shapes(batch)].result()(state, batch)
        return self._update.result()(state, gradients)


def _shapes(batch: Batch) -> tuple:
    """What tells the programs apart."""
    return tuple((name, array.shape) for name, array in sorted(batch["inputs"].items()))
