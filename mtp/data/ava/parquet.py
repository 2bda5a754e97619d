"""Parquet exports in the manner of Hugging Face: image_id, image {bytes, path}, rating_counts[10]; needs pyarrow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtp.data.schema import DataError

ID = ("image_id", "id", "image_num")
COUNTS = ("rating_counts", "votes", "label")


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f'{path}: parquet files need pyarrow; pip install "pyarrow>=26,<27"') from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: this is not a whole parquet file ({error}); fetch it again") from error


def labels(path: Path) -> tuple[list[int], np.ndarray]:
    """Ids and counts (n, 10) of a file's rows, without reading its pictures.

    Errors: DataError where a column is missing or a row has not ten counts.
    """
    file = _open(path)
    names = file.schema_arrow.names
    key, counts = (next((name for name in wanted if name in names), None) for wanted in (ID, COUNTS))
    if key is None or counts is None or "image" not in names:
        raise DataError(
            f"{path}: a row needs an id ({', '.join(ID)}), the bytes of its picture (image) and its ten counts "
            f"({', '.join(COUNTS)}); the columns are {', '.join(names)}"
        )
    table = file.read(columns=[key, counts]).to_pydict()
    ids, votes = [Path(str(value)).stem for value in table[key]], table[counts]
    wrong = [
        i for i, (k, v) in enumerate(zip(ids, votes, strict=True)) if not k.isdigit() or len(v or ()) != 10
    ]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} rows have no whole number as id or not ten counts; the first is row "
            f"{wrong[0]}: {ids[wrong[0]]!r}, {votes[wrong[0]]}"
        )
    return [int(k) for k in ids], np.array(votes, np.int64).reshape(-1, 10)


def pictures(path: Path, rows: Sequence[int]) -> Iterator[bytes]:
    """The picture files' bytes of ascending rows; each row group is read once."""
    file = _open(path)
    wanted, start = list(rows), 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        inside = [row - start for row in wanted if start <= row < stop]
        if inside:
            column = file.read_row_group(group, columns=["image"]).column("image")
            for row in inside:
                value = column[row].as_py()
                yield value["bytes"] if isinstance(value, dict) else value
        start = stop
