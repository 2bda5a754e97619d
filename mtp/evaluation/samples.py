"""What a metric may read: pictures with their truth, predictions and reference rows, and the criteria."""

import dataclasses
from functools import cached_property

import numpy as np

from mtp.evaluation.distances import check_rows
from mtp.evaluation.statistics import moments
from mtp.ratings import is_clear, is_high


@dataclasses.dataclass(frozen=True)
class Criteria:
    """Choices that metrics depend on.

    threshold: a mean rating above it is high. delta: pictures whose true mean lies within it of the threshold are
    unclear. pkl_floor: probabilities are raised to it before their logarithm. predicted_threshold: of predictions on
    another rating scale than the votes'; None: the same.
    """

    threshold: float
    delta: float
    pkl_floor: float
    predicted_threshold: float | None = None


def _empty() -> np.ndarray:
    return np.zeros((0, 0))


@dataclasses.dataclass(frozen=True)
class Sample:
    """N pictures; arrays of what is not known are empty.

    truth, prediction: histograms (N, K), prediction empty where the network predicts none, or on another scale (N, K')
    where the criteria have a threshold of its own for it. mean_histogram, vote_noise:
    the reference rows (N, K) that skill is measured between. p_high: (N,), the two-category head's probability. styles:
    (N, S) of 0, 1 or NaN for unlabelled pictures; predicted_styles: (N, S). means_only: of the truth only the mean
    rating is known.

    Errors: ValueError where truth and prediction are not rows on the simplex, of one shape if on one scale.
    """

    criteria: Criteria
    truth: np.ndarray = dataclasses.field(default_factory=_empty)
    prediction: np.ndarray = dataclasses.field(default_factory=_empty)
    mean_histogram: np.ndarray = dataclasses.field(default_factory=_empty)
    vote_noise: np.ndarray = dataclasses.field(default_factory=_empty)
    p_high: np.ndarray = dataclasses.field(default_factory=_empty)
    styles: np.ndarray = dataclasses.field(default_factory=_empty)
    predicted_styles: np.ndarray = dataclasses.field(default_factory=_empty)
    style_names: tuple[str, ...] = ()
    means_only: bool = False

    def __post_init__(self) -> None:
        if self.prediction.size and self.one_scale:
            check_rows(self.truth, self.prediction)

    def __len__(self) -> int:
        return max(len(self.truth), len(self.styles))

    @property
    def one_scale(self) -> bool:
        """Whether votes and predictions are ratings of one scale."""
        return self.criteria.predicted_threshold is None

    def knows(self, label: str) -> bool:
        """Whether a metric that needs this label (of `Metric.label`) is defined here."""
        return {
            "histogram": self.prediction.size > 0 and self.one_scale and not self.means_only,
            "rating": self.prediction.size > 0 and self.one_scale,
            "mean": self.prediction.size > 0,
            "truth": self.truth.size > 0,
            "high": self.truth.size > 0 and self.p_high.size > 0,
            "styles": self.styles.size > 0 and self.predicted_styles.size > 0,
        }[label]

    def part(self, kept: np.ndarray) -> "Sample":
        """The pictures of a mask (N,)."""
        if kept.all():
            return self
        values = {field.name: vars(self)[field.name] for field in dataclasses.fields(self)}
        arrays = {name: a for name, a in values.items() if isinstance(a, np.ndarray) and a.size}
        return dataclasses.replace(self, **{name: a[kept] for name, a in arrays.items()})

    @cached_property
    def _truth_moments(self) -> tuple[np.ndarray, np.ndarray]:
        return moments(self.truth)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        return moments(self.prediction)

    @property
    def truth_mean(self) -> np.ndarray:
        """True mean ratings (N,)."""
        return self._truth_moments[0]

    @property
    def mean(self) -> np.ndarray:
        """Predicted mean ratings (N,)."""
        return self._moments[0]

    @property
    def truth_std(self) -> np.ndarray:
        """True standard deviations of the ratings (N,)."""
        return self._truth_moments[1]

    @property
    def std(self) -> np.ndarray:
        """Predicted standard deviations of the ratings (N,)."""
        return self._moments[1]

    @property
    def truth_high(self) -> np.ndarray:
        """Whether the true mean rating is above the threshold (N,)."""
        return is_high(self.truth_mean, self.criteria.threshold)

    @property
    def high(self) -> np.ndarray:
        """Whether the predicted mean rating is above its scale's threshold (N,)."""
        own = self.criteria.predicted_threshold
        return is_high(self.mean, self.criteria.threshold if own is None else own)

    @property
    def clear(self) -> np.ndarray:
        """Whether the true mean rating is further than delta from the threshold (N,)."""
        return is_clear(self.truth_mean, self.criteria.threshold, self.criteria.delta)

    @property
    def labelled(self) -> np.ndarray:
        """Whether the picture's styles are known (N,)."""
        return np.isnan(self.styles).sum(axis=1) == 0
