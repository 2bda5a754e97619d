"""Published weights: a reader for each format, and which file belongs to which network."""

from mtp.models.weights.arrays import IMAGENET, Weights, WeightsError, imagenet_probabilities

__all__ = ["IMAGENET", "Weights", "WeightsError", "imagenet_probabilities"]
