"""The trunk's costly operations as compiled kernels for CPUs."""
