"""Networks that the tables compare with, on any backbone and under the same protocol."""
