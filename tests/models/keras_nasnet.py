"""Keras' own NASNet for a size of pictures, and what it computes, as one compiled program."""

import math
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.applications.nasnet import NASNet
from keras.src.initializers.random_initializers import VarianceScaling, compute_fans

from mtp.models.nasnet import NASNET_A
from mtp.runtime.settings import compiler_options


def keras_nasnet(name: str, size: tuple[int, int], top: bool = False) -> keras.Model:
    """Keras' own graph for pictures of this size."""
    a, rng = NASNET_A[name], np.random.default_rng(0)

    def drawn(self: VarianceScaling, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """Numbers of the spread that Keras' kernels begin with."""
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        width = math.sqrt(3 * self.scale / fan)
        return rng.random(shape, np.float32) * (2 * width) - width

    # by Keras itself a program would be compiled for each shape of a kernel
    with mock.patch.object(VarianceScaling, "__call__", drawn):
        return NASNet(
            input_shape=(*size, 3), penultimate_filters=a.features, num_blocks=a.blocks,
            stem_block_filters=a.stem, skip_reduction=a.older_skip, include_top=top, weights=None,
            default_size=224,
        )  # fmt: skip


def computed(
    model: keras.Model, images: np.ndarray, training: bool = False
) -> tuple[np.ndarray, list[np.ndarray]]:
    """What a model gives for images (B, H, W, 3) of bytes, and its variables that are not trained after it.

    One program for all of Keras' layers: called as it is, Keras compiles one for each layer and shape.
    """
    given = [[v.value for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables)]

    def apply(trainable: Any, fixed: Any, pixels: jax.Array) -> Any:
        return model.stateless_call(trainable, fixed, pixels / 127.5 - 1, training=training)

    program = jax.jit(apply, compiler_options=compiler_options(run_once=True))
    return jax.device_get(program(*given, jnp.asarray(images, jnp.float32)))
