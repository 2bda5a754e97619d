"""The trunk's costly operations as compiled kernels for CPUs, which stand in for the plain layers from outside.

They are built once, on request, by `python -m mtp.native`; `accelerated` runs a function of plain models on them.
"""

from mtp.native.interceptor import accelerated

__all__ = ["accelerated"]
