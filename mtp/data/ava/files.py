"""AVA's own files: rows of votes, names of tags and challenges, lists of ids, style labels.

Murray, Marchesotti and Perronnin 2012. Everything here takes a file's bytes and gives values; each bad line becomes
a `Fault` with its number, and the caller decides whether that is an error (`insist`) or a finding.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtp.data import csv_text
from mtp.data.schema import DataError

RATINGS = 10
COLUMNS = 2 + RATINGS + 3  # index, id, counts of the ratings 1..10, two tags, challenge
DIGITS = 9  # the most of an id or a count
# of either sign; it is matched with each of AVA's four million cells
NUMBER = re.compile(rb"-?(?=\d)0*\d{,%d}" % DIGITS)
TAGS = 66
STYLES = 14
CATEGORIES = (
    "animal",
    "architecture",
    "cityscape",
    "floral",
    "fooddrink",
    "landscape",
    "portrait",
    "stilllife",
)
LISTS = (
    "generic_test",
    "generic_ls_train",
    "generic_ss_train",
    *(f"{category}_{part}" for category in CATEGORIES for part in ("train", "test")),
)
# damaged or missing in every copy of the pictures that circulates
KNOWN_BROKEN = (179118, 230701, 277832, 371434, 397289, 440774, 729377)
SHOWN = 20  # faults named in an error


class Fault(NamedTuple):
    """A line that cannot be used; line 0 is the file as a whole."""

    line: int
    message: str


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """N labelled pictures in the file's order.

    ids: (N,) int64. votes: (N, 10) int64, how many raters gave 1..10. tags: (N, 2) int64 in 1..66, 0 for none.
    challenges: (N,) int64, 0 where unknown.
    """

    ids: np.ndarray
    votes: np.ndarray
    tags: np.ndarray
    challenges: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True, eq=False)
class Styles:
    """Ids (n,) and labels (n, 14) of 0 and 1: in the training part one each, in the test part 0 to 4."""

    names: tuple[str, ...]
    train_ids: np.ndarray
    train: np.ndarray
    test_ids: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Package:
    """The lists of the official package, as far as they are there.

    tags, challenges: id -> name. styles: None where the folder has none. lists: name of `LISTS` -> its ids.
    absent: files that were not found. remarks: harmless oddities of the files, one text each.
    """

    tags: Mapping[int, str]
    challenges: Mapping[int, str]
    styles: Styles | None
    lists: Mapping[str, np.ndarray]
    absent: tuple[str, ...]
    remarks: tuple[str, ...]


def insist(path: Path | str, faults: Sequence[Fault], unit: str = "line") -> None:
    """Errors: DataError that names the file and its first faults, where there is any."""
    if faults:
        shown = [f"{unit} {f.line}: {f.message}" if f.line else f.message for f in faults[:SHOWN]]
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(f"{path}: {len(faults)} problems\n  " + "\n  ".join(shown) + more)


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number from 1, text) of every line that is not blank; any line ends, a byte order mark is dropped."""
    for number, line in enumerate(csv_text.unmarked(data).splitlines(), 1):
        if line.strip():
            yield number, line


def remarks(data: bytes, name: str) -> list[str]:
    """What is odd about a text file and does no harm."""
    found = []
    if b"\r\n" in data:
        found.append(f"{name} has CRLF line ends")
    if data and not data.endswith(b"\n"):
        found.append(f"{name} ends without a line end; compare its last line with another copy")
    blank = sum(not line.strip() for line in data.splitlines())
    if blank:
        found.append(f"{name} has {blank} blank line{'s' * (blank > 1)}")
    return found


def parse_rows(data: bytes) -> tuple[Rows, list[Fault]]:
    """AVA.txt: the good rows, and a fault for each other one.

    A row has 15 whole numbers of 0 or more: index, id, ten counts with at least one vote, two tags of 0..66,
    challenge. Of a repeated id the first row stands.
    """
    faults: list[Fault] = []
    good: list[tuple[int, ...]] = []
    numbers: list[int] = []
    for number, line in lines(data):
        cells = line.split()
        if len(cells) != COLUMNS or not all(map(NUMBER.fullmatch, cells)):
            faults.append(Fault(number, _malformed(data, line, cells)))
        else:
            good.append(tuple(map(int, cells)))
            numbers.append(number)
    table = np.array(good, np.int64).reshape(-1, COLUMNS)
    return checked(rows_of(table[:, 1], table[:, 2:12], table[:, 12:14], table[:, 14]), numbers, faults)


def _malformed(data: bytes, line: bytes, cells: Sequence[bytes]) -> str:
    last = line if data.endswith(line) else b""
    cut = "; the file ends there without a line end: it was cut short, fetch it again" if last else ""
    if line.lstrip()[:1] == b"<":
        return "this is a web page, not AVA.txt; fetch it again"
    if len(cells) != COLUMNS:
        return f"a row has {COLUMNS} columns, this one has {len(cells)}{cut}"
    wrong = [c for c in cells if not NUMBER.fullmatch(c)]
    most = f" of at most {DIGITS} digits" if any(c.removeprefix(b"-").isdigit() for c in wrong) else ""
    named = ", ".join(repr(c.decode(errors="replace")[:40]) for c in wrong[:3])
    return f"all columns are whole numbers{most}; {named}{cut}"


def rows_of(ids: np.ndarray, votes: np.ndarray, tags: np.ndarray, challenges: np.ndarray) -> Rows:
    """Rows from columns of any integer type."""
    return Rows(*(np.asarray(column, np.int64) for column in (ids, votes, tags, challenges)))


def checked(
    rows: Rows, numbers: Sequence[int], faults: list[Fault], unit: str = "line"
) -> tuple[Rows, list[Fault]]:
    """Rows whose values can be, and all faults in order; numbers: each row's line (or other unit)."""
    line = np.array(numbers, np.int64)
    _, first, place = np.unique(rows.ids, return_index=True, return_inverse=True)
    first = first[place]
    wrong = {
        "id": rows.ids <= 0,
        "votes": (rows.votes < 0).any(axis=1),
        "none": (rows.votes >= 0).all(axis=1) & (rows.votes.sum(axis=1) == 0),
        "tags": ((rows.tags < 0) | (rows.tags > TAGS)).any(axis=1),
        "challenge": rows.challenges < 0,
        "repeated": first != np.arange(len(rows)),
    }
    say = {
        "id": lambda i: f"an id is a whole number above 0; it is {rows.ids[i]}",
        "votes": lambda i: f"counts of votes are 0 or more; they are {' '.join(map(str, rows.votes[i]))}",
        "none": lambda i: "a picture needs at least one vote; all counts are 0. Remove the line",
        "tags": lambda i: f"tags lie in 0..{TAGS}; they are {rows.tags[i, 0]} and {rows.tags[i, 1]}",
        "challenge": lambda i: f"a challenge is 0 or more; it is {rows.challenges[i]}",
        "repeated": lambda i: f"id {rows.ids[i]} stands in {unit} {line[first[i]]} already; keep one",
    }
    for kind, mask in wrong.items():
        faults += [Fault(int(line[i]), say[kind](i)) for i in np.flatnonzero(mask)]
    keep = ~np.any(list(wrong.values()), axis=0)
    kept = Rows(rows.ids[keep], rows.votes[keep], rows.tags[keep], rows.challenges[keep])
    return kept, sorted(faults)


def parse_names(data: bytes) -> tuple[dict[int, str], list[Fault]]:
    """tags.txt, challenges.txt, styles.txt: "<id> <name>" a line; a name may contain spaces and commas."""
    names: dict[int, str] = {}
    faults = []
    for number, line in lines(data):
        key, _, name = line.decode("utf-8", "replace").strip().partition(" ")
        if not (key.isascii() and key.isdigit()) or not name.strip():
            faults.append(Fault(number, f"a line is an id and a name; it is {line[:60]!r}"))
        elif int(key) in names:
            faults.append(Fault(number, f"id {key} is {names[int(key)]!r} already; keep one"))
        else:
            names[int(key)] = name.strip()
    return names, faults


def parse_ids(data: bytes) -> tuple[np.ndarray, list[Fault]]:
    """A .jpgl list: one id a line, (n,) int64 in the file's order, the first of repeated ones."""
    found: dict[int, int] = {}
    faults = []
    for number, line in lines(data):
        text = line.strip().removesuffix(b".jpg")
        if not text.isdigit():
            faults.append(Fault(number, f"a line is one id; it is {line[:60]!r}"))
        elif int(text) in found:
            faults.append(
                Fault(number, f"id {int(text)} stands in line {found[int(text)]} already; keep one")
            )
        else:
            found[int(text)] = number
    return np.array(list(found), np.int64), faults


def parse_labels(data: bytes, *, single: bool) -> tuple[np.ndarray, list[Fault]]:
    """train.lab (single: a style number a line) or test.multilab (14 columns of 0 and 1): (n, 14) float32."""
    labels, faults = [], []
    for number, line in lines(data):
        cells = line.split()
        row = np.zeros(STYLES, np.float32)
        if single and len(cells) == 1 and cells[0].isdigit() and 1 <= int(cells[0]) <= STYLES:
            row[int(cells[0]) - 1] = 1
        elif not single and len(cells) == STYLES and set(cells) <= {b"0", b"1"}:
            row[:] = [cell == b"1" for cell in cells]
        else:
            must = f"a style number of 1..{STYLES}" if single else f"{STYLES} columns of 0 and 1"
            faults.append(Fault(number, f"a line is {must}; it is {line[:60]!r}"))
        labels.append(row)
    return np.array(labels, np.float32).reshape(-1, STYLES), faults


def find(source: Path, name: str) -> Path | None:
    """The file called `name` in the folder, or in a folder of it at most two levels down; the nearest one."""
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        found = sorted(source.glob(pattern))
        if found:
            return found[0]
    return None


def read_package(source: Path) -> Package:
    """Every list of the official package that lies in the folder.

    Errors: DataError naming file and lines where one is not what it should be. A missing one is no error.
    """
    absent: list[str] = []
    odd: list[str] = []

    def read(name: str) -> bytes | None:
        path = find(source, name)
        if path is None:
            absent.append(name)
            return None
        data = path.read_bytes()
        odd.extend(remarks(data, name))
        return data

    def names(name: str) -> dict[int, str]:
        found, faults = parse_names(read(name) or b"")
        insist(name, faults)
        return found

    tags, challenges = names("tags.txt"), names("challenges.txt")
    lists = {}
    for name in LISTS:
        data = read(f"{name}.jpgl")
        if data is not None:
            lists[name], faults = parse_ids(data)
            insist(f"{name}.jpgl", faults)
    folder = find(source, "style_image_lists")
    styles = _styles(folder) if folder else None
    if styles is None:
        absent.append("style_image_lists")
    return Package(tags, challenges, styles, lists, tuple(absent), tuple(odd))


def _styles(folder: Path) -> Styles:
    """The folder style_image_lists. Errors: DataError where a file is missing, wrong, or two do not match."""
    parts: dict[str, np.ndarray] = {}
    missing = [n for n in ("styles.txt", "train.jpgl", "train.lab", "test.jpgl", "test.multilab")
               if not (folder / n).is_file()]  # fmt: skip
    if missing:
        raise DataError(f"{folder}: style labels need {', '.join(missing)} too; fetch the folder again")
    names, faults = parse_names((folder / "styles.txt").read_bytes())
    insist(folder / "styles.txt", faults)
    if sorted(names) != list(range(1, STYLES + 1)):
        raise DataError(f"{folder / 'styles.txt'}: styles are numbered 1..{STYLES}, not {sorted(names)}")
    for part, file in (("train", "train.lab"), ("test", "test.multilab")):
        ids, faults = parse_ids((folder / f"{part}.jpgl").read_bytes())
        insist(folder / f"{part}.jpgl", faults)
        parts[part], faults = parse_labels((folder / file).read_bytes(), single=part == "train")
        insist(folder / file, faults)
        if len(ids) != len(parts[part]):
            raise DataError(
                f"{folder}: {part}.jpgl has {len(ids)} ids and {file} {len(parts[part])} labels; they go line by line"
            )
        parts[f"{part}_ids"] = ids
    both = np.intersect1d(parts["train_ids"], parts["test_ids"])
    if len(both):
        raise DataError(
            f"{folder}: {len(both)} ids are in train.jpgl and in test.jpgl; the first is {both[0]}"
        )
    ordered = tuple(names[i] for i in range(1, STYLES + 1))
    return Styles(ordered, parts["train_ids"], parts["train"], parts["test_ids"], parts["test"])


def without_row(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Ids of a list that have no row of votes, in the list's order; the official test list has 70."""
    return ids[~np.isin(ids, known)]
