"""Photographs with votes: what they are, how they are read, split, and put into batches (no jax in here)."""
