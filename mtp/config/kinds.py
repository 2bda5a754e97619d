"""What values an option can take: each kind says it in words, tests a value, and reads one from a command line."""

import ast
import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

Limit: TypeAlias = int | float | None


@runtime_checkable
class Kind(Protocol):
    """What values an option can take."""

    def accepts(self, value: Any) -> bool:
        """Whether an option of this kind can have the value."""
        ...

    def says(self) -> str:
        """The values that can be, as the end of a sentence "X must be ..."."""
        ...

    def read(self, text: str) -> Any:
        """The value that a text stands for; the text itself, which is then refused, where it stands for none."""
        ...


def tupled(value: Any) -> Any:
    """JSON and Python literals have lists where options have tuples."""
    return tuple(map(tupled, value)) if isinstance(value, list | tuple) else value


def _tried(convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except ValueError:
        return text


@dataclasses.dataclass(frozen=True)
class Boolean:
    """True or False; on a command line also 1 or 0."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def says(self) -> str:
        return "True or False"

    def read(self, text: str) -> Any:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


@dataclasses.dataclass(frozen=True)
class Integer:
    """low, high: the least and the greatest, themselves allowed; None: no limit."""

    low: int | None = None
    high: int | None = None

    def accepts(self, value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def says(self) -> str:
        if self.low is not None and self.high is not None:
            return f"an integer from {self.low} to {self.high}"
        return "an integer" if self.low is None else f"an integer of at least {self.low}"

    def read(self, text: str) -> Any:
        return _tried(int, text)


@dataclasses.dataclass(frozen=True)
class Real:
    """low, high: limits that are allowed themselves; above, below: limits that are not. Always finite."""

    low: Limit = None
    high: Limit = None
    above: Limit = None
    below: Limit = None

    def accepts(self, value: Any) -> bool:
        # not math.isfinite, which an integer of 400 digits overflows
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not abs(value) <= sys.float_info.max
        ):
            return False
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def says(self) -> str:
        if self.above is not None:
            return f"a number above {self.above:g}" + (f" and below {self.below:g}" if self.below else "")
        if self.low is None:
            return "a number"
        if self.high is None and self.below is None:
            return f"a number of at least {self.low:g}"
        return f"a number from {self.low:g} to " + (
            f"{self.high:g}" if self.below is None else f"below {self.below:g}"
        )

    def read(self, text: str) -> Any:
        return _tried(float, text)


@dataclasses.dataclass(frozen=True, init=False)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)

    def accepts(self, value: Any) -> bool:
        return any(type(value) is type(known) and value == known for known in self.values)

    def says(self) -> str:
        return "one of " + ", ".join(str(value) or '""' for value in self.values)

    def read(self, text: str) -> Any:
        return _tried(type(self.values[0]), text)

    def nearest(self, value: Any) -> str | None:
        """The choice that looks most like a value."""
        words = [str(known) for known in self.values if known != ""]
        found = difflib.get_close_matches(str(value), words, 1, 0.5)
        return found[0] if found else None


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of one or more of some choices, each at most once."""

    of: Choice

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, tuple) or not value or not all(map(self.of.accepts, value)):
            return False
        return len(set(value)) == len(value)

    def says(self) -> str:
        return f"a tuple of {self.of.says().replace('one of', 'one or more of')}, each at most once"

    def read(self, text: str) -> Any:
        return _tuple(text)

    def nearest(self, value: Any) -> str | None:
        """The choice that looks most like the first entry that is none."""
        strange = (
            [entry for entry in value if not self.of.accepts(entry)] if isinstance(value, tuple) else [value]
        )
        return self.of.nearest(strange[0]) if strange else None


@dataclasses.dataclass(frozen=True)
class OneOrSeveral(Several):
    """One of some choices, or a tuple of several, which may be the same."""

    def accepts(self, value: Any) -> bool:
        several = isinstance(value, tuple) and len(value) > 0 and all(map(self.of.accepts, value))
        return several or self.of.accepts(value)

    def says(self) -> str:
        return f"{self.of.says()}, or a tuple of several"

    def read(self, text: str) -> Any:
        return _tuple(text) if text.startswith("(") else text


@dataclasses.dataclass(frozen=True)
class Named:
    """A name that another package defines; whoever checks says which there are.

    several: a tuple of them; or_several: one, or a tuple.
    """

    several: bool = False
    or_several: bool = False

    def among(self, names: tuple[str, ...]) -> Choice | Several:
        """The kind, once the names are known."""
        if self.or_several:
            return OneOrSeveral(Choice(*names))
        return Several(Choice(*names)) if self.several else Choice(*names)

    def read(self, text: str) -> Any:
        return (
            OneOrSeveral(Choice()).read(text) if self.or_several else _tuple(text) if self.several else text
        )


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text. what: what it names; empty: whether it may be left empty."""

    what: str
    empty: bool = True

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and (self.empty or value != "") and "\0" not in value

    def says(self) -> str:
        return f'{self.what}, or ""' if self.empty else self.what

    def read(self, text: str) -> Any:
        return text


@dataclasses.dataclass(frozen=True)
class Location(Text):
    """The path of a file or folder; a leading ~ stands for the user's home."""

    def read(self, text: str) -> Any:
        return os.path.expanduser(text)


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A text that a regular expression matches as a whole. what: the same in words."""

    expression: str
    what: str

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.expression, value) is not None

    def says(self) -> str:
        return self.what

    def read(self, text: str) -> Any:
        return text


@dataclasses.dataclass(frozen=True)
class Tuple:
    """Values of one kind. length: how many there must be; None: one or more. what: an entry in words."""

    of: Any
    length: int | None = None
    what: str = ""

    def accepts(self, value: Any) -> bool:
        fits = isinstance(value, tuple) and (len(value) == self.length if self.length else len(value) > 0)
        return fits and all(map(self.of.accepts, value))

    def says(self) -> str:
        number = str(self.length) if self.length else "one or more"
        return f"a tuple of {number} values, each {self.what or self.of.says()}"

    def read(self, text: str) -> Any:
        return _tuple(text)


@dataclasses.dataclass(frozen=True)
class OrNone:
    """None, or a number."""

    of: Real

    def accepts(self, value: Any) -> bool:
        return value is None or self.of.accepts(value)

    def says(self) -> str:
        return f"None or {self.of.says()}"

    def read(self, text: str) -> Any:
        return None if text.lower() == "none" else self.of.read(text)


def _tuple(text: str) -> Any:
    """Spelt (1, 2), [1, 2] or 1,2; a single entry is a tuple of one; words need no quotes: fcn,spp."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        words = text.strip("()[] ").split(",")
        return tuple(word.strip(" '\"") for word in words if word.strip())
    return tupled(value) if isinstance(value, list | tuple) else (value,)
