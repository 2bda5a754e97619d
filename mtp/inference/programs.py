"""The programs of inference: pure functions of variables and a batch's inputs, jitted once each."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtp import tasks
from mtp.models.model import Inputs, LastLayers, Model, Variables
from mtp.native import accelerated, library
from mtp.ops.pyramid import global_average
from mtp.runtime.settings import compiler_options

Program = Callable[[Variables, Inputs], Mapping[str, Any]]


class Programs:
    """The jitted functions (variables, inputs) -> arrays by name; jax compiles each once a canvas shape.

    native: the network runs on the kernels of `mtp.native`. precision: model.precision.
    Errors: ConfigError where the kernels cannot be built.
    """

    def __init__(self, model: Model, style_kind: str, *, native: bool, precision: str):
        if native and jax.default_backend() == "cpu":
            library.load()  # now, not when the first picture has been read
        self._model, self._style_kind, self._native, self._precision = model, style_kind, native, precision

    @functools.cached_property
    def probabilities(self) -> Program:
        """Each task's probabilities under running statistics."""
        return self._jitted(functools.partial(probabilities, self._model, self._style_kind))

    @functools.cached_property
    def features(self) -> Program:
        """The mean of the last map over each picture's cells."""
        return self._jitted(functools.partial(pooled_map, self._model))

    @functools.cached_property
    def last_features(self) -> Program:
        """What the last layers see."""
        return self._jitted(lambda variables, inputs: {"features": self._last.features(variables, inputs)})

    @functools.cached_property
    def of_features(self) -> Program:
        """Each task's probabilities, of what the last layers see, under "features"."""

        def program(variables: Variables, inputs: Inputs) -> dict[str, Any]:
            return tasks.probabilities(
                self._last.logits(variables["params"], inputs["features"]), self._style_kind
            )

        return self._jitted(program)

    @property
    def _last(self) -> LastLayers:
        assert self._model.last_layers is not None
        return self._model.last_layers

    @functools.cached_property
    def details(self) -> Program:
        """What the network sows."""
        return self._jitted(functools.partial(Model.details, self._model))

    def _jitted(self, function: Callable[..., Any]) -> Program:
        chosen = accelerated(function) if self._native else function

        def program(variables: Variables, inputs: Inputs) -> Any:
            with jax.default_matmul_precision(self._precision):
                return chosen(variables, inputs)

        return jax.jit(program, compiler_options=compiler_options())


def probabilities(
    model: Model, style_kind: str, variables: Variables, inputs: Inputs
) -> dict[str, Float[Array, "B ..."]]:
    """Each task's probabilities of a batch under running statistics."""
    logits, _ = model.logits(variables, inputs)
    return tasks.probabilities(logits, style_kind)


def pooled_map(model: Model, variables: Variables, inputs: Inputs) -> dict[str, Float[Array, "B C"]]:
    """The mean of the last map over each picture's cells."""
    found = model.details(variables, inputs)
    return {"features": global_average(found["map"].astype(jnp.float32), found["map_sizes"])}
