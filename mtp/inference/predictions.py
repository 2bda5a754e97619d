"""What a network predicts of pictures."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Rows in the order of `indices`, positions in the pictures.

    of_task: by task: the distribution over ratings (N, K), the probability of high quality (N,), of each style (N, S).
    """

    indices: Int[np.ndarray, " N"]
    of_task: Mapping[str, Float[np.ndarray, "N ..."]]

    @property
    def distribution(self) -> np.ndarray | None:
        """(N, K) distributions over the ratings; None where the network has no such task."""
        return self.of_task.get("distribution")

    @property
    def p_high(self) -> np.ndarray | None:
        """(N,) probabilities of high quality; None where the network has no such task."""
        return self.of_task.get("two_category")

    @property
    def style(self) -> np.ndarray | None:
        """(N, S) probabilities of the styles; None where the network has no such task."""
        return self.of_task.get("style")

    def part(self, kept: Bool[np.ndarray, " N"]) -> "Predictions":
        """The rows of a mask."""
        return Predictions(self.indices[kept], {task: rows[kept] for task, rows in self.of_task.items()})
