"""The stem's convolution: 3x3, stride 2, no padding."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mtp.ops.canvas import Sizes, halved_sizes, masked
from mtp.ops.depthwise import padding
from mtp.ops.dispatch import by_platform
from mtp.ops.pointwise import pointwise

Images = Float[Array, "B H W 3"]
Kernel = Float[Array, "3 3 3 F"]
Map = Float[Array, "B h w F"]  # (H - 1) // 2, (W - 1) // 2


def convolve(images: Images, kernel: Kernel) -> Map:
    """XLA's own convolution."""
    return lax.conv_general_dilated(
        images, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def multiply_patches(images: Images, kernel: Kernel) -> Map:
    """The same as one product of matrices: with 3 channels XLA's convolution leaves most of a CPU's vectors empty."""
    height, width = ((side - 1) // 2 for side in images.shape[1:3])
    taps = [
        images[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i in range(3) for j in range(3)
    ]
    patches = jnp.concatenate(taps, axis=-1)
    return pointwise(patches, kernel.reshape(patches.shape[-1], -1))


def same_padded(images: Images, sizes: Sizes) -> tuple[Float[Array, "B H2 W2 3"], Sizes]:
    """Pictures with the zeros of "SAME" padding around them, and their sizes with these: the stem without padding then
    has its windows on the positions n - 1, n - 3, ... of a side of n pixels.
    """
    rows, columns = (padding(side, 3, 2) for side in images.shape[1:3])
    around = jnp.pad(masked(images, sizes), ((0, 0), rows, columns, (0, 0)))
    return around, jnp.where(sizes > 0, 2 * halved_sizes(sizes) + 1, 0)


stem = by_platform(multiply_patches, convolve)
