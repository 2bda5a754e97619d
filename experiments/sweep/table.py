"""The table of a sweep, from collected results alone: rows over seeds, reference rows, differences.

The same results give the same table, whenever and wherever it is made.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.sweep.collected import Result
from experiments.sweep.plan import Sweep
from experiments.sweep.states import State
from experiments.tables.claims import Pair, claims
from mtp.evaluation import references
from mtp.evaluation.measure import Cells, Evaluation, measure
from mtp.evaluation.samples import Criteria

Found = Mapping[tuple[str, int, int | None], Result]  # by row, seed and fold


class Run(NamedTuple):
    """A row's predictions with one seed, of all test pictures: (N, K), and (N,) of the two-category head; None where it
    has no such task.
    """

    distribution: np.ndarray | None
    p_high: np.ndarray | None


def build(file: str, sweep: Sweep, found: Sequence[State]) -> dict[str, Any]:
    """rows (row, kind, seeds, metrics, deviations, pixels), claims, unfinished jobs, and whence it all is; evaluation:
    the truth; runs: each row's by seed.

    pixels: that the row's network looks at, mean of the test pictures; None of a reference row. A seed counts where all
    of its folds are done. Where no seed of any row is complete there are no rows.
    """
    results = {(s.job.row, s.job.seed, s.job.fold): s.result for s in found if s.result is not None}
    folds = tuple(range(sweep.folds)) if sweep.folds else (None,)
    runs = {row: _runs(row, sweep.seeds, folds, results) for row in sweep.rows}
    content = {
        "file": file,
        "sweep": sweep,
        "unfinished": [(s.job.name, s.state, s.text) for s in found if s.state != "done"],
        "jobs": len(found),
    }
    if not any(runs.values()):
        return {**content, "rows": [], "claims": [], "runs": runs}
    names = (sweep.compared_with, *sweep.rows)
    row = next(name for name in names if runs.get(name))
    of_folds = [results[row, next(iter(runs[row])), fold] for fold in folds]
    evaluation, fixed = _evaluation(of_folds, sweep.seeds[0])
    rows = [_row(name, "reference", [Run(values, None)], evaluation) for name, values in fixed.items()]
    rows += [
        {**_row(name, "row", list(seeds.values()), evaluation), "pixels": _pixels(name, results)}
        for name, seeds in runs.items()
        if seeds
    ]
    against = [(name, sweep.compared_with) for name in runs if name != sweep.compared_with]
    pairs = {
        (name, other): pair
        for name, other in (*against, *sweep.comparisons)
        if (pair := _pair(runs[name], runs.get(other, {}), fixed.get(other))) is not None
    }
    means_only = evaluation.means_only
    return {
        **content,
        "rows": rows,
        "evaluation": evaluation,
        "runs": runs,
        "claims": [] if means_only else _claims(pairs, evaluation, sweep.claim),
        "about": _about(of_folds, evaluation, row, results),
    }


def _runs(row: str, seeds: Sequence[int], folds: Sequence[int | None], results: Found) -> dict[int, Run]:
    """By seed, of the seeds whose folds are all there; folds one after the other."""
    whole = [seed for seed in seeds if all((row, seed, fold) in results for fold in folds)]
    return {seed: _pooled([results[row, seed, fold] for fold in folds]) for seed in whole}


def _pooled(parts: Sequence[Result]) -> Run:
    def joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
        known = [array for array in arrays if array is not None]
        return np.concatenate(known) if len(known) == len(arrays) else None

    return Run(joined([part.predicted for part in parts]), joined([part.p_high for part in parts]))


def _pixels(row: str, results: Found) -> float | None:
    of_row = [result for (name, _, _), result in results.items() if name == row]
    known = [(r.about["pixels"], len(r.votes)) for r in of_row if r.about.get("pixels") is not None]
    if len(known) < len(of_row):
        return None
    pixels, pictures = zip(*known, strict=True)
    return float(np.average(pixels, weights=pictures))


def _evaluation(parts: Sequence[Result], seed: int) -> tuple[Evaluation, dict[str, np.ndarray]]:
    """The truth of all folds, and the reference rows; a picture's mean histogram is that of its own fold's training."""
    about = parts[0].about
    votes = np.concatenate([part.votes for part in parts])
    fixed = references.rows(votes, np.array(about["mean_histogram"]), seed=seed)
    fixed["mean histogram"] = np.concatenate(
        [references.mean_histogram(len(p.votes), np.array(p.about["mean_histogram"])) for p in parts]
    )
    groups = [part.groups for part in parts if part.groups is not None]
    evaluation = Evaluation(
        votes=votes, mean_histogram=fixed["mean histogram"], vote_noise=fixed["vote noise"],
        criteria=Criteria(about["threshold"], about["delta"], about["pkl_floor"]),
        groups=np.concatenate(groups).tolist() if groups else None,
        resamples=about["bootstrap"], seed=seed, means_only=about["means_only"],
    )  # fmt: skip
    if evaluation.means_only:
        del fixed["vote noise"]
    return evaluation, fixed


def _row(name: str, kind: str, runs: Sequence[Run], evaluation: Evaluation) -> dict[str, Any]:
    heads = all(run.p_high is not None for run in runs)
    samples = [
        evaluation.sample(run.distribution, **({"p_high": run.p_high} if heads else {})) for run in runs
    ]
    cells = measure(samples, evaluation.groups, evaluation.resamples, evaluation.seed)
    single = [measure([sample], None, 0, 0) for sample in samples]
    seeds = len(runs) if kind == "row" else None
    return {
        "row": name,
        "kind": kind,
        "seeds": seeds,
        "metrics": cells,
        "deviations": dict(_deviations(single)),
        "pixels": None,
    }


def _deviations(of_seeds: Sequence[Cells]) -> Iterator[tuple[str, float]]:
    """Standard deviation over seeds of each metric that is defined for two seeds or more."""
    for name in of_seeds[0]:
        values = [cells[name]["value"] for cells in of_seeds]
        if len(values) > 1 and None not in values:
            yield name, float(np.std(values, ddof=1))


def _pair(ours: Mapping[int, Run], theirs: Mapping[int, Run], constant: np.ndarray | None) -> Pair | None:
    """With the seeds that both rows have; constant: of a reference row. Nothing where no distribution is shared."""
    pairs = [
        (run.distribution, theirs[seed].distribution if constant is None else constant)
        for seed, run in ours.items()
        if constant is not None or seed in theirs
    ]
    known = [(mine, other) for mine, other in pairs if mine is not None and other is not None]
    return Pair([mine for mine, _ in known], [other for _, other in known]) if known else None


def _claims(
    pairs: Mapping[tuple[str, str], Pair], evaluation: Evaluation, metric: str
) -> list[dict[str, Any]]:
    """Those of `claims`, each with the row that it is a difference to."""
    named = {f"{row} - {other}": pair for (row, other), pair in pairs.items()}
    found = claims(named, evaluation, metric)
    return [
        {**claim, "row": row, "compared_with": other}
        for claim, (row, other) in zip(found, pairs, strict=True)
    ]


def _about(parts: Sequence[Result], evaluation: Evaluation, row: str, results: Found) -> dict[str, Any]:
    about = parts[0].about
    means = [part.about["mean_histogram"] for part in parts]
    other = {r[0] for r, result in results.items() if result.about["mean_histogram"] != means[r[2] or 0]}
    return {
        "split": about["split"]["name"],
        "sha256": [part.about["split"]["sha256"] for part in parts],
        "pictures": len(evaluation.votes),
        "groups": None if evaluation.groups is None else len(set(evaluation.groups)),
        "ratings": evaluation.votes.shape[1],
        "threshold": about["threshold"],
        "delta": about["delta"],
        "pkl_floor": about["pkl_floor"],
        "bootstrap": evaluation.resamples,
        "means_only": evaluation.means_only,
        "versions": about["versions"],
        "demo_code": about.get("demo_code"),
        "mean_of": row,
        "other_means": sorted(other),
    }
