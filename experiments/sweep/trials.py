"""What a search is: one configuration, ranges of some of its options, and trials that each take a point of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias


class Between(NamedTuple):
    """A number from low to high, drawn evenly, or evenly on the logarithm's scale."""

    low: float
    high: float
    log: bool = False


class OneOf(NamedTuple):
    """One of some values."""

    values: tuple[Any, ...]


Ranges: TypeAlias = Mapping[str, Between | OneOf]


class Search(NamedTuple):
    """config: FILE.py or FILE.py:PRESET. ranges: by dotted name, NAME[I] for an entry of a tuple; options: what all
    trials share. trials: how many in all; it can be raised. seed: of the trainings, and of what is proposed.
    """

    config: str
    ranges: Ranges
    trials: int = 20
    options: Mapping[str, Any] = {}
    seed: int = 0


class Trial(NamedTuple):
    """One that has ended. proposed: a value for each range. score: of its best checkpoint on the validation split,
    higher is better; None where the training failed. why: it did.
    """

    number: int
    proposed: Mapping[str, Any]
    score: float | None
    why: str = ""
