"""Pictures and labels into shards of records, by several processes, each shard whole or not there.

A shard is a file of records and, written after it, a small table of them; a shard with its table is never made
again, so that a build that was killed goes on with the next one. Nothing but the shard in hand is kept in memory.
"""

import dataclasses
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from mtp import files
from mtp.data import images
from mtp.data.ava import parquet
from mtp.data.budget import Shared
from mtp.data.progress import Progress
from mtp.data.schema import DataError
from mtp.processes import workers

PICTURES = 500  # of a shard: 60 MB of AVA


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A row to be written: its labels, and the file that holds its bytes (`row`: of a parquet file)."""

    id: int
    votes: tuple[int, ...]
    tags: tuple[int, int]
    challenge: int
    style: tuple[int, ...]
    style_part: str
    file: str
    row: int = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """What is known of a written shard.

    ids (n,), sizes (n, 2), hashes (n,) of its records in order; lost: id -> why its picture was left out;
    kinds: pictures that are not plain RGB JPEG, counted by format and mode; length: bytes of the records' file.
    """

    ids: np.ndarray
    sizes: np.ndarray
    hashes: np.ndarray
    lost: Mapping[int, str]
    kinds: Mapping[str, int]
    length: int


def write(
    folder: Path,
    jobs: Sequence[Sequence[Picture]],
    serialize: Callable[[dict[str, Any]], bytes],
    max_pixels: int,
    processes: int,
) -> list[Shard]:
    """All shards, those that lie in the folder already taken as they are.

    serialize: an example as a record, picklable. Errors: DataError where a disk is full or a file cannot be
    written; whole shards stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(len(jobs)) if not is_whole(folder, number)]
    total, done = sum(map(len, jobs)), sum(map(len, jobs)) - sum(len(jobs[n]) for n in missing)
    bar = Progress("building", total, done)
    count = min(processes, max(len(missing), 1))
    budget = Shared(folder / "large.lock", count)
    with closing(bar), workers.pool(count) as pool:
        waiting: dict[Future, int] = {}
        try:
            for number in missing:
                if len(waiting) > 2 * processes:
                    _collect(waiting, jobs, bar)
                waiting[pool.submit(_write, folder, number, jobs[number], serialize, max_pixels, budget)] = (
                    number
                )
            while waiting:
                _collect(waiting, jobs, bar)
        except (OSError, BrokenProcessPool) as error:
            pool.shutdown(cancel_futures=True)
            whole = sum(is_whole(folder, number) for number in range(len(jobs)))
            raise DataError(
                f"the build stopped: {error}. {whole} of {len(jobs)} shards are whole and kept in {folder}; make "
                "room (or fix what the message says) and run the same command to go on"
            ) from error
    return [read(folder, number) for number in range(len(jobs))]


def _collect(waiting: dict[Future, int], jobs: Sequence[Sequence[Picture]], bar: Progress) -> None:
    """Wait for a shard; its error is raised here."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        bar.update(len(jobs[waiting.pop(future)]))
        future.result()


def records(folder: Path, number: int) -> Path:
    """The records' file of a shard in the making."""
    return folder / f"{number:05d}.array_record"


def _table(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def is_whole(folder: Path, number: int) -> bool:
    """Whether a shard needs no more work."""
    return _table(folder, number).exists() and records(folder, number).exists()


def read(folder: Path, number: int) -> Shard:
    """A written shard's table."""
    with np.load(_table(folder, number)) as file:
        lost = dict(zip(file["lost_ids"].tolist(), file["lost_reasons"].tolist(), strict=True))
        kinds = dict(zip(file["kinds"].tolist(), file["counts"].tolist(), strict=True))
        return Shard(file["ids"], file["sizes"], file["hashes"], lost, kinds, int(file["length"]))


def _write(
    folder: Path,
    number: int,
    pictures: Sequence[Picture],
    serialize: Callable[[dict[str, Any]], bytes],
    max_pixels: int,
    budget: Shared,
) -> None:
    """One shard: records beside, renamed, then its table. Errors: OSError where it cannot be written."""
    path = records(folder, number)
    temporary = path.with_suffix(".tmp")
    rows: list[tuple[int, tuple[int, int], bytes]] = []
    lost: dict[int, str] = {}
    kinds: Counter[str] = Counter()
    try:
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        for picture, data in _bytes(pictures):
            try:
                seen = images.inspect(data, str(picture.id), max_pixels, budget.hold)
            except images.ImageError as error:
                lost[picture.id] = str(error).removeprefix(f"{picture.id}: ")
                continue
            kinds[f"{seen.format} {seen.mode}{'' if seen.exif_whole else ' with damaged EXIF'}"] += 1
            rows.append((picture.id, (seen.height, seen.width), hashlib.sha256(data).digest()[:8]))
            writer.write(serialize(_example(picture, data)))
        writer.close()
        files.to_disk(temporary)
        os.replace(temporary, path)
        _write_table(folder, number, rows, lost, kinds, path.stat().st_size)
    except (RuntimeError, ValueError) as error:
        # the writer's own word for a disk that is full
        raise OSError(f"{path} cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_table(
    folder: Path,
    number: int,
    rows: Sequence[tuple[int, tuple[int, int], bytes]],
    lost: Mapping[int, str],
    kinds: Mapping[str, int],
    length: int,
) -> None:
    path = _table(folder, number)
    odd = {kind: count for kind, count in kinds.items() if kind != "JPEG RGB"}
    files.write_arrays(
        path,
        dict(
            ids=np.array([row[0] for row in rows], np.int64),
            sizes=np.array([row[1] for row in rows], np.int32).reshape(-1, 2),
            hashes=np.frombuffer(b"".join(row[2] for row in rows), np.uint64),
            lost_ids=np.array(list(lost), np.int64),
            lost_reasons=np.array(list(lost.values()), np.str_),
            kinds=np.array(list(odd), np.str_),
            counts=np.array(list(odd.values()), np.int64),
            length=np.int64(length),
        ),
    )


def _bytes(pictures: Sequence[Picture]) -> Iterator[tuple[Picture, bytes]]:
    """Each picture with its bytes, from files of their own or out of parquet files."""
    for file, group in itertools.groupby(pictures, lambda p: p.file if p.row >= 0 else None):
        if file is None:
            yield from ((picture, Path(picture.file).read_bytes()) for picture in group)
        else:
            inside = list(group)
            yield from zip(inside, parquet.pictures(Path(file), [p.row for p in inside]), strict=True)


def _example(picture: Picture, data: bytes) -> dict[str, Any]:
    return {
        "id": picture.id,
        "image": data,
        "votes": np.array(picture.votes, np.int32),
        "tags": np.array(picture.tags, np.int32),
        "challenge": picture.challenge,
        "style": np.array(picture.style, np.int32),
        "style_part": picture.style_part,
    }
