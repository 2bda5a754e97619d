"""The trunk's costly operations as compiled kernels for CPUs, which stand in for the plain layers from outside.

They are built and checked once for each processor. `accelerated` runs a function of plain models on them; `resolved`
says whether run.native=auto means them here.
"""

from mtp.native.choice import resolved
from mtp.native.interceptor import accelerated

__all__ = ["accelerated", "resolved"]
