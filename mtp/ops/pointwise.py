"""The product over channels that a 1x1 convolution is."""

from jaxtyping import Array, Float

Map = Float[Array, "B H W C"]
Kernel = Float[Array, "C F"]
Mixed = Float[Array, "B H W F"]


def pointwise(x: Map, kernel: Kernel) -> Mixed:
    """Of two matrices: with more axes XLA copies x, transposed, for the kernel's gradient."""
    rows = x.reshape(-1, x.shape[-1])
    return (rows @ kernel).reshape(*x.shape[:-1], kernel.shape[1])
