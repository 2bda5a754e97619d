"""The training step's programs, ready ahead of the loop: one of gradients a batch shape, one update for all."""

import ctypes
import dataclasses
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered

from mtp.data.batches.buckets import Shape
from mtp.runtime.mesh import compiler_options, replicated, replicated_shapes
from mtp.training import executables
from mtp.training.step import TrainState, TrainStep


def return_freed_memory() -> None:
    """Give the system back what compiling has freed, a gigabyte and more, which glibc keeps; nothing elsewhere."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:
        trim(0)


class Programs:
    """(state, batch) -> (state, metrics), each program made on its own; the state is donated.

    state: its arrays or their shapes; batches: the same of a batch of each canvas shape, in the order in which they
    are needed. Programs are made in that order, the update beside the first of the gradients: read whole where an
    earlier start has kept them, one a core at the same time, else traced and compiled, `at_once` of the gradients
    under way at the same time.
    A batch of any other shape is an error of the compiled program: nothing is ever compiled in the loop.
    """

    def __init__(
        self, step: TrainStep, state: TrainState, batches: Mapping[Shape, Any], mesh: Mesh, at_once: int
    ):
        reading = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="read")
        # Python traces one thing at a time: two programs traced together would both be late
        tracing = ThreadPoolExecutor(1, thread_name_prefix="trace")
        options = compiler_options()

        def start(
            making: Executor, used: TrainStep, lower: Callable[..., Lowered], *arguments: Any
        ) -> Future[Compiled]:
            # `lower` must be of `used`, `state`, its arguments and the mesh alone
            kept = executables.address(lower.__name__, (used, options), (state, *arguments), mesh)
            found = reading.submit(executables.read, kept, mesh) if kept else None

            def make() -> Compiled:
                program = found.result() if found else None
                if program is None:
                    lowered = tracing.submit(lower, *arguments).result()
                    program = executables.compiled(lowered, options, kept)
                return_freed_memory()
                return program

            return making.submit(make)

        def update() -> Lowered:
            program = jax.jit(step.update, donate_argnums=0, out_shardings=replicated(mesh))
            return program.lower(state, replicated_shapes(jax.eval_shape(step.no_gradients, state), mesh))

        # without the optimiser, so that those kept serve runs of every length
        slopes = dataclasses.replace(step, optimiser=optax.identity())

        def gradients(batch: Any) -> Lowered:
            return jax.jit(slopes.gradients, out_shardings=replicated(mesh)).lower(state, batch)

        workers = ThreadPoolExecutor(at_once, thread_name_prefix="compile")
        (first, batch), *others = batches.items()
        self._gradients = {first: start(workers, slopes, gradients, batch)}
        self._update = start(ThreadPoolExecutor(1, thread_name_prefix="compile update"), step, update)
        self._gradients |= {shape: start(workers, slopes, gradients, batch) for shape, batch in others}

    def wait(self) -> int:
        """Until all are there; how many they are."""
        programs = [self._update, *self._gradients.values()]
        return len([program.result() for program in programs])

    def __call__(self, state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Mapping]:
        height, width = batch["images"].shape[1:3]
        gradients = self._gradients[height, width].result()(state, batch)
        return self._update.result()(state, gradients)
