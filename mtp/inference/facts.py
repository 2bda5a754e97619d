"""What a checkpoint knows of the data that it was trained on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtp.ratings import rating_scale


@dataclasses.dataclass(frozen=True)
class Facts:
    """What training learnt about its data and later predictions must read, stored with the checkpoint.

    ratings: K. threshold, delta, tau: in ratings. mean_histogram: of the training split, the row to beat.
    style_kind: "softmax" or "sigmoid". reliability: the constants of the weights that it trained with
    (`weighting.Reliability`).
    """

    ratings: int
    style_names: tuple[str, ...]
    style_kind: str
    threshold: float
    delta: float
    tau: float
    mean_histogram: tuple[float, ...]
    reliability: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_scale(cls, ratings: int) -> "Facts":
        """Of a network that has seen no data: the scale's own limits, every rating equally likely, no styles."""
        scale = rating_scale(ratings)
        return cls(
            ratings=ratings,
            style_names=(),
            style_kind="softmax",
            **scale._asdict(),
            mean_histogram=(1 / ratings,) * ratings,
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Facts":
        lists = {name: tuple(stored[name]) for name in ("style_names", "mean_histogram")}
        return cls(**{**stored, **lists})
