"""One option: its default, the values that it can have, where the default comes from, and what it shapes."""

import dataclasses
import enum
from typing import Any

from mtp.config.kinds import Choice, Kind, Named, Several

Known = dict[str, tuple[str, ...]]  # the names that an option of the kind `Named` chooses among


class Reach(enum.Enum):
    """What an option shapes. It decides who may set it: a start in a workdir that is there, an evaluation, both."""

    PLACE = "where the data lie"
    DATA = "the data"
    TRAINING = "the training"
    VALIDATION = "the choice of the best checkpoint, and the evaluation"
    EVALUATION = "the evaluation"
    NOTHING = "no number"

    @property
    def fixed(self) -> bool:
        """Whether all trainings in one workdir must agree on it; where the data lie is free, what lies there is not."""
        return self not in (Reach.PLACE, Reach.EVALUATION, Reach.NOTHING)


@dataclasses.dataclass(frozen=True)
class Option:
    """name: section and name, "loss.emd_r"; meaning: one sentence; source: of the default, a section of the paper or
    "ours"; of_folder: it describes what lies in data.dir, and is forgotten where that names another folder.
    """

    name: str
    default: Any
    kind: Kind | Named
    reach: Reach
    meaning: str
    source: str = "ours"
    unit: str = ""
    of_folder: bool = False

    @property
    def section(self) -> str:
        """The part before the dot; empty for an option outside all sections."""
        return self.name.rpartition(".")[0]

    def kind_among(self, known: Known) -> Kind:
        """The kind, with the names that other packages define."""
        return self.kind.among(known[self.name]) if isinstance(self.kind, Named) else self.kind

    def error(self, value: Any, known: Known) -> str | None:
        """What must hold and what came, in a line; None where the value is one that can be."""
        kind = self.kind_among(known)
        if kind.accepts(value):
            return None
        near = kind.nearest(value) if isinstance(kind, Choice | Several) else None
        unit = f" ({self.unit})" if self.unit else ""
        nearest = f"; the nearest is {near}" if near else ""
        return f"{self.name} must be {kind.says()}{unit}, not {value!r}{nearest}"
