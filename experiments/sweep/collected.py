"""What a finished job leaves for tables: a small .json and .npz, made from its results.json and predictions.csv.

Nothing else of a job is needed for a table. They can be copied, or kept in version control, by themselves.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.sweep import folder
from experiments.sweep.plan import Job, SweepError
from mtp.config import Config, flat, get_config
from mtp.data import means
from mtp.files import DamagedFileError, read_json, replacing, write_json

FORMAT = 1
# of results.json
KEPT = (
    "split", "seed", "step", "eval_size", "pixels", "mean_histogram", "threshold", "delta", "pkl_floor", "bootstrap",
    "groups", "versions", "demo_code", "weights", "config", "rows",
)  # fmt: skip
TASKS = {"distribution": "predicted", "two_category": "p_high"}  # and the arrays of their predictions
Lines = Sequence[Mapping[str, str]]


class Result(NamedTuple):
    """A job's results. about: the .json. images: N names; groups: N names, or None where there are none.

    votes: (N, K) counts. predicted: (N, K), rows sum to one. p_high: (N,). Either is None where the network has no such
    task.
    """

    about: Mapping[str, Any]
    images: np.ndarray
    groups: np.ndarray | None
    votes: np.ndarray
    predicted: np.ndarray | None
    p_high: np.ndarray | None


def collect(job: Job, out: Path, seconds: float) -> None:
    """Write both files of a job whose workdir is finished; the .json, which says that all is there, at the end.

    seconds: that the training took. Errors: SweepError where the predictions are not finite; DamagedFileError.
    """
    workdir = folder.workdir(out, job)
    results = read_json(workdir / "results.json")
    if results is None or not results.get("finished", True):
        raise SweepError(
            f"{workdir} must be a finished workdir; its results.json is missing or of an unfinished run"
        )
    arrays = _arrays(workdir / "predictions.csv", results)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    about = {
        "format": FORMAT, "row": job.row, "fold": job.fold, **{k: results[k] for k in KEPT if k in results},
        "means_only": "votes" not in arrays, "seconds": round(seconds, 1),
        "npz_sha256": hashlib.sha256(file.getvalue()).hexdigest(),
    }  # fmt: skip
    path = folder.result(out, job, ".npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())
    write_json(folder.result(out, job, ".json"), about)


def _arrays(path: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    ratings, tasks = range(1, len(results["mean_histogram"]) + 1), results["config"]["model"]["tasks"]
    found = {"images": np.array([line["image"] for line in lines])}
    columns = {"distribution": [f"pred_{k}" for k in ratings], "two_category": ["p_high"]}
    for task, name in TASKS.items():
        if task in tasks:
            found[name] = _finite(path, lines, columns[task]).astype(np.float32)
    if results["groups"] is not None:
        found["groups"] = _groups(path, lines, results["config"]["data"]["group"])
    votes = _numbers(lines, ["votes"])
    if np.isfinite(votes).all():
        # nine digits each, which give counts back exactly
        found["votes"] = np.rint(votes * _numbers(lines, [f"truth_{k}" for k in ratings])).astype(np.int64)
    else:
        found["truth_mean"] = _numbers(lines, ["truth_mean"])[:, 0]
    return found


def _finite(path: Path, lines: Lines, columns: Sequence[str]) -> np.ndarray:
    values = _numbers(lines, columns)
    if not np.isfinite(values).all():
        raise SweepError(f"{path}: predictions must be finite; {_first_bad(lines, values)}")
    return values


def _numbers(lines: Lines, columns: Sequence[str]) -> np.ndarray:
    """(N, columns); NaN for an empty cell."""
    return np.array([[float(line[c] or "nan") for c in columns] for line in lines])


def _first_bad(lines: Lines, predicted: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(predicted).all(axis=1))
    return f"those of {len(bad)} pictures are not, the first is {lines[bad[0]]['image']}"


def _groups(path: Path, lines: Lines, name: str) -> np.ndarray:
    """A picture without a group is one of its own, as in training."""
    column = next((c for c in (f"data_{name}", name) if c in lines[0]), None)
    if column is None:
        raise SweepError(f"{path} must have the column {name} (data.group), since the pictures have groups")
    return np.array([line[column] or line["image"] for line in lines])


def exists(job: Job, out: Path) -> bool:
    """Whether the job counts as done, whatever is left of its workdir."""
    return folder.result(out, job, ".json").exists()


def read(job: Job, out: Path, config: Config) -> Result | None:
    """A job's results, None where there are none. config: of the job.

    Errors: SweepError where they are of another configuration or not finite; DamagedFileError.
    """
    path = folder.result(out, job, ".json")
    mend = f"delete it, and `local` makes it again from {folder.workdir(out, job)}"
    about = read_json(path, mend)
    if about is None:
        return None
    if about.get("format") != FORMAT:
        raise DamagedFileError(f"{path} must be of format {FORMAT}, it is of {about.get('format')}; {mend}")
    differ = unlike(about["config"], config)
    if differ:
        raise SweepError(
            f"{path} is of another configuration: {'; '.join(differ)}. Remove it and its workdir, or change the "
            "configuration back"
        )
    return _with_arrays(about, path.with_name(f"{path.name.removesuffix('.json')}.npz"), mend)


def _with_arrays(about: Mapping[str, Any], path: Path, mend: str) -> Result:
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != about["npz_sha256"]:
        raise DamagedFileError(f"{path} is {'damaged' if content else 'missing'}; copy it again, or {mend}")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    predicted, p_high = (
        arrays[name].astype(np.float64) if name in arrays else None for name in TASKS.values()
    )
    if any(values is not None and not np.isfinite(values).all() for values in (predicted, p_high)):
        raise SweepError(f"{path}: predictions must be finite, and are not")
    votes = arrays.get("votes")
    if votes is None:
        votes = means.votes(arrays["truth_mean"], len(about["mean_histogram"]))
    if predicted is not None:
        predicted /= predicted.sum(axis=1, keepdims=True)
    high = None if p_high is None else p_high[:, 0]
    return Result(about, arrays["images"], arrays.get("groups"), votes, predicted, high)


def unlike(stored: Mapping[str, Any], config: Config) -> list[str]:
    """Options that shape numbers and differ, in words; one that is younger than the results had its default."""
    there, here = flat(get_config()) | flat(stored), flat(config)
    return [
        f"{name} there {there.get(name)!r}, now {here.get(name)!r}"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name) and folder.shapes_numbers(name)
    ]
