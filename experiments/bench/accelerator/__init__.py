"""Exactness and speed on a GPU or TPU, beside PyTorch on the same card: `python -m experiments.bench.accelerator`."""
