"""The card that programs run on, the numbers that they compute with, and what its matrix products reach."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.bench.benchmark import Run

SIDE, PRODUCTS = 8192, 20


class Numbers(NamedTuple):
    """model.dtype and model.precision; amp: PyTorch's autocast to bfloat16; tf32: its products of float32 by TF32."""

    dtype: str
    precision: str
    amp: bool
    tf32: bool


NUMBERS = {
    "bfloat16": Numbers("bfloat16", "default", amp=True, tf32=True),
    "tf32": Numbers("float32", "default", amp=False, tf32=True),
    "float32": Numbers("float32", "highest", amp=False, tf32=False),
}


def name() -> str:
    """Of the card and its platform, with how many there are."""
    found = jax.devices()
    return f"{len(found)} x {found[0].device_kind} ({found[0].platform})"


def products(numbers: str, side: int = SIDE) -> Run:
    """Floating-point operations a second of a product of two square matrices, which bounds any network's."""
    chosen = NUMBERS[numbers]
    factor = jnp.full((side, side), 1e-3, chosen.dtype)

    @jax.jit
    def chained(x: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(chosen.precision):
            for _ in range(PRODUCTS):
                x = x @ factor
        return x

    def run() -> float:
        begun = time.perf_counter()
        jax.block_until_ready(chained(factor))
        return PRODUCTS * 2 * side**3 / (time.perf_counter() - begun)

    return run
