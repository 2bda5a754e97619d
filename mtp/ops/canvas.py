"""Canvases: pictures of mixed sizes in one array, each in the bottom-right corner of its slot.

A canvas batch is (B, H, W, 3) with the valid height and width of each picture, (B, 2). Every stride-2 layer
of NASNet-A after the stem centres its windows on positions n-1, n-3, ... of a side of length n, odd or even,
so that, counted from the bottom-right corner, they are the same for every picture of the canvas.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

Sizes = Int[Array, "B 2"]


def stem_sizes(sizes: Sizes) -> Sizes:
    """Sizes after the stem, a 3x3 convolution of stride 2 without padding; (0, 0) stays an empty slot."""
    return jnp.maximum((sizes - 1) // 2, 0)


def halved_sizes(sizes: Sizes) -> Sizes:
    """Sizes after a stride-2 layer with Keras' padding: ceil(n / 2)."""
    return (sizes + 1) // 2


def valid_mask(sizes: Sizes, height: int, width: int) -> Bool[Array, "B height width 1"]:
    """True where a canvas of height x width holds its picture."""
    rows = jnp.arange(height) >= height - sizes[:, :1]
    columns = jnp.arange(width) >= width - sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def masked(x: Float[Array, "B H W C"], sizes: Sizes) -> Float[Array, "B H W C"]:
    """x with everything outside the pictures set to zero, whatever stood there."""
    return jnp.where(valid_mask(sizes, x.shape[1], x.shape[2]), x, 0)


def to_float(images: UInt8[Array, "B H W 3"], sizes: Sizes) -> Float[Array, "B H W 3"]:
    """Pixels 0..255 to -1..1 (Keras' mode "tf"), float32, zero outside the pictures."""
    return masked(images.astype(jnp.float32) / 127.5 - 1.0, sizes)
