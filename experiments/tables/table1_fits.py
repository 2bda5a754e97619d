"""Table 1's learners: grids on the validation split, then fits with every seed, all of it kept as it is done."""

import itertools
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from experiments.tables.features import Features
from mtp.config import Config
from mtp.evaluation.metrics import METRICS
from mtp.evaluation.samples import Criteria, Sample
from mtp.files import read_json, write_json
from mtp.ldl import params, projection
from mtp.ldl.learners import LEARNERS
from mtp.ratings import histograms, rating_scale


class Splits(NamedTuple):
    """Projected features (n, p) and votes (n, K) of each split."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    explained: float


class Row(NamedTuple):
    """A learner's row: predictions (N, K) of each seed; record: settings, seconds, objective, why it stopped."""

    name: str
    predictions: list[np.ndarray]
    record: dict[str, Any]


def splits(features: Features, dimensions: int) -> Splits:
    """Standardised and projected by what the training split alone says."""
    rows = {name: features.rows(name) for name in ("train", "validation", "test")}
    empty = [name for name, found in rows.items() if not len(found)]
    if empty:
        raise params.LdlError(
            f"every split needs pictures; {', '.join(empty)} of {features.about['data']} has none"
        )
    found = projection.learn(features.values[rows["train"]], dimensions)
    parts = {name: (found(features.values[r]), features.votes[r]) for name, r in rows.items()}
    return Splits(**parts, explained=found.explained)


def learner_rows(data: Splits, config: Config, folder: Path) -> Iterator[Row]:
    """Every learner's row, then IIS-LLD stopped early."""
    for name in LEARNERS:
        best, tuned = tune(name, data, config, folder / name)
        yield fit_row(name, name, best, data, config.seeds, folder / name, {"grid": tuned})
    stopped = {"bias": False, "init": "zeros", "iterations": config.iis_stopped}
    label = f"iis_lld, no bias, {config.iis_stopped} iterations"
    yield fit_row(label, "iis_lld", stopped, data, config.seeds, folder / "iis_lld_stopped", {})


def grid(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The product of the lists, the last one fastest."""
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def tune(
    name: str, data: Splits, config: Config, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best point of the learner's grid, and all points; points that were measured before are not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "grid.json"
    points = read_json(path) or {"points": []}
    known = {json.dumps(p["options"], sort_keys=True) for p in points["points"]}
    x, votes = data.train
    rng = np.random.default_rng([config.seeds[0], 5])
    some = np.sort(rng.permutation(len(x))[: config.tune_rows])
    truth = histograms(data.validation[1])
    scale = rating_scale(truth.shape[1])
    criteria = Criteria(scale.threshold, scale.delta, config.pkl_floor)
    wanted = grid(config.grid[name].to_dict())
    if name == "aa_knn":
        wanted = [options for options in wanted if options["k"] <= len(some)]
    for options in tqdm(wanted, desc=f"{name} grid", unit="fit", disable=None, leave=False):
        if json.dumps(options, sort_keys=True) in known:
            continue
        fitted, seconds = _fit(name, x[some], votes[some], config.seeds[0], options)
        sample = Sample(criteria, truth, LEARNERS[name].predict(fitted, data.validation[0]))
        score = float(METRICS[config.criterion].function(sample).mean())
        points["points"].append({"options": options, config.criterion: score, **_record(fitted, seconds)})
        write_json(path, points)
    best = min(points["points"], key=lambda p: p[config.criterion])
    return best["options"], points["points"]


def fit_row(
    label: str,
    name: str,
    options: Mapping[str, Any],
    data: Splits,
    seeds: Sequence[int],
    folder: Path,
    more: Mapping[str, Any],
) -> Row:
    """A learner on the whole training split with every seed; one that draws nothing is fitted once."""
    folder.mkdir(parents=True, exist_ok=True)
    predictions: list[np.ndarray] = []
    record: dict[str, Any] = {"options": dict(options), **more, "fits": []}
    for seed in seeds:
        path, times = folder / f"seed{seed}.npz", folder / f"seed{seed}.json"
        if not times.exists():
            fitted, seconds = _fit(name, *data.train, seed, options)
            params.save(path, fitted)
            write_json(times, {"seed": seed, **_record(fitted, seconds)})
        fitted = params.load(path)
        record["fits"].append(read_json(times))
        predictions.append(LEARNERS[name].predict(fitted, data.test[0]))
        if "omega" not in fitted.arrays:
            # nothing random in it
            predictions = predictions * len(seeds)
            break
    record["deterministic"] = len(record["fits"]) == 1 and len(seeds) > 1
    return Row(label, predictions, record)


def _fit(
    name: str, x: np.ndarray, votes: np.ndarray, seed: int, options: Mapping[str, Any]
) -> tuple[params.Params, float]:
    start = time.perf_counter()
    with warnings.catch_warnings():
        # the table says which rows have not converged
        warnings.simplefilter("ignore", params.ConvergenceWarning)
        fitted = LEARNERS[name].fit(x, histograms(votes), votes=votes, key=jax.random.key(seed), **options)
    return fitted, time.perf_counter() - start


def _record(fitted: params.Params, seconds: float) -> dict[str, Any]:
    found = fitted.convergence
    return {
        "seconds": round(seconds, 3),
        "iterations": found.iterations,
        "objective": found.objective[-1] if found.objective else None,
        "converged": found.converged,
        "reason": found.reason,
    }
