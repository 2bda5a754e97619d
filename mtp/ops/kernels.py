"""The implementations of the trunk's costly operations, which a model is built with."""

import dataclasses

from mtp.ops import batch_norm, depthwise, inference, pooling
from mtp.ops.batch_norm import Normalised
from mtp.ops.depthwise import Depthwise
from mtp.ops.inference import Joined, Projection, Separable, Stem
from mtp.ops.pooling import FactorisedPaths, StridedPools, WindowSums


@dataclasses.dataclass(frozen=True)
class Kernels:
    """By default those in plain JAX; `mtp.native` has others for CPUs."""

    depthwise: Depthwise = depthwise.depthwise
    normalised: Normalised = batch_norm.normalised
    window_sums: WindowSums = pooling.window_sums
    factorised_paths: FactorisedPaths = pooling.factorised_paths
    separable: Separable = inference.separable
    projection: Projection = inference.projection
    joined: Joined = inference.joined
    strided_pools: StridedPools = pooling.strided_pools
    stem: Stem = inference.stem


PLAIN = Kernels()
