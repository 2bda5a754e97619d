"""The paper's Tables 1 to 3 from a sweep's results, every number beside the printed one.

content: as `experiments.sweep.table.build` gives it. Printed numbers are on AVA, of the paper's own set-up: on other
data, and under another preset, they are there to be looked at and not to be compared with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.sweep.pages import cell
from experiments.tables.printed import NAMES, TABLE_1, TABLE_2, TABLE_3
from mtp.evaluation.intervals import interval, resamples_of, units
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.metrics import METRICS, per_picture
from mtp.ratings import histograms

Grid = tuple[list[str], list[list[str]]]  # header and body
Content = Mapping[str, Any]

# the paper's five columns; the exponent of its EMD is not said
DISTANCES = ("ped", "cheb", "pkl", "cos", "emd_r1", "emd_r2")
PRINTED = ("PED", "Cheb", "PKL", "Cos", "EMD")
SANE = "sane"

PROTOCOL_3 = (
    "Protocol, where section 4.4 leaves it open: crop is a window of the picture at its own scale, anywhere in "
    "training and the middle in evaluation, and a picture with a shorter side is enlarged first, isotropically; warp "
    "and pad resize with antialiasing (Pillow, bilinear); pad scales the longer side to the square's, in the middle of "
    "black (0 in RGB); each network is trained on what it is tested on, with the distribution alone."
)
PROTOCOL_2 = (
    "Protocol, where section 4.3 leaves it open: a picture is high where its mean rating is above the threshold, low "
    "else; delta leaves out pictures by the mean of their votes alone; a prediction is high above the same threshold "
    "(accuracy) or where the two-category head gives it more than 1/2 (of the head). The majority is what a constant "
    "answer scores on the same pictures."
)


def _name(row: str) -> str:
    """The file's name, with the paper's where that has one."""
    return f"{row} ({NAMES[row]})" if row in NAMES else row


def _printed(values: Sequence[float] | None) -> str:
    return "" if values is None else " / ".join(f"{value:.3f}" for value in values)


def table_1(content: Content) -> Grid:
    """Distances of distributions, the printed ones, and the gain over SANE-like where the sweep has that row."""
    gains = gains_over(content, SANE)
    header = [
        "row", "seeds", *(METRICS[name].heading for name in DISTANCES), METRICS["srcc"].heading,
        f"printed, AVA: {' / '.join(PRINTED)}", *(["gain over sane: PED, Cheb, PKL, Cos, EMD r=1"] if gains else []),
    ]  # fmt: skip
    body = [
        [
            _name(row["row"]), str(row["seeds"] or ""), *(cell(row, name) for name in (*DISTANCES, "srcc")),
            _printed(TABLE_1.get(NAMES.get(row["row"], ""))), *([gains.get(row["row"], "")] if gains else []),
        ]
        for row in content["rows"]
        if row["kind"] == "reference" or "emd_r2" in row["metrics"]
    ]  # fmt: skip
    return header, body


def table_2(content: Content) -> Grid:
    """Accuracy at both deltas, of the mean rating and of the head, and what a constant answer scores."""
    delta = content["about"]["delta"]
    names = ("accuracy", "accuracy_delta", "two_category_accuracy", "two_category_accuracy_delta")
    header = [
        "row", "seeds", "accuracy, delta 0", f"delta {delta:g}", "of the head, delta 0", f"delta {delta:g}",
        "printed, AVA, delta 1",
    ]  # fmt: skip
    body = [
        [
            _name(row["row"]),
            str(row["seeds"] or ""),
            *(cell(row, name) for name in names),
            f"{TABLE_2[NAMES[row['row']]] / 100:.4f}" if NAMES.get(row["row"]) in TABLE_2 else "",
        ]
        for row in content["rows"]
        if row["kind"] != "reference" or row["row"] == "vote noise"
    ]
    known = next(row for row in content["rows"] if row["kind"] != "reference")
    majority = [cell({**known, "deviations": {}}, name) for name in ("majority", "majority_delta")]
    return header, [["majority", "", *majority, *majority, ""], *body]


def kept(content: Content) -> str:
    """How many pictures each delta keeps."""
    cells = next(row for row in content["rows"] if row["kind"] != "reference")["metrics"]
    about = content["about"]
    return (
        f"{cells['majority']['n']} pictures at delta 0, {cells['majority_delta']['n']} of them at delta "
        f"{about['delta']:g}; threshold {about['threshold']:g}, ratings 1..{about['ratings']}"
    )


def table_3(content: Content) -> Grid:
    """What the input's size does: distances, how many pixels of a picture the network looks at, the printed row."""
    names = ("ped", "cheb", "pkl", "cos", "emd_r1", "emd_r2", "srcc")
    header = [
        "row", "seeds", "pixels a picture", *(METRICS[name].heading for name in names),
        "printed, AVA: Euc / Cheb / KL / Cos / EMD",
    ]  # fmt: skip
    body = [
        [
            _name(row["row"]), str(row["seeds"] or ""), "" if row["pixels"] is None else f"{row['pixels']:,.0f}",
            *(cell(row, name) for name in names), _printed(TABLE_3.get(NAMES.get(row["row"], ""))),
        ]
        for row in content["rows"]
        if row["kind"] == "reference" or "emd_r2" in row["metrics"]
    ]  # fmt: skip
    return header, body


def gains_over(content: Content, other: str) -> dict[str, str]:
    """Of each row, by how many percent it is better than another one, metric by metric, with 95 % intervals.

    1 - mean / other's mean, of cos mean / other's mean - 1: as the paper's section 4.2 counts. Nothing where the sweep
    has no such row. Seeds are paired; the interval is Student's t over seeds and resamples of pictures (whole groups),
    of a single seed by the resamples alone.
    """
    runs, found = content["runs"], {}
    for row, seeds in runs.items():
        shared = [s for s in seeds if s in runs.get(other, {})] if row != other else []
        ours, theirs = ([runs[name][s].distribution for s in shared] for name in (row, other))
        if shared and all(d is not None for d in (*ours, *theirs)):
            found[row] = ", ".join(
                _gain(ours, theirs, content["evaluation"], name)
                for name in ("ped", "cheb", "pkl", "cos", "emd_r1")
            )
    return found


def _gain(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], evaluation: Evaluation, metric: str
) -> str:
    truth = histograms(evaluation.votes)
    a, b = (
        np.array([per_picture(truth, run, evaluation.criteria)[metric] for run in runs])
        for runs in (ours, theirs)
    )
    sign = -1 if METRICS[metric].better == "low" else 1
    of_runs = sign * (a.mean(axis=1) / b.mean(axis=1) - 1)
    chunks = resamples_of(a.shape[1], evaluation.groups, evaluation.resamples, evaluation.seed)
    resampled = np.concatenate([sign * ((w @ a.mean(axis=0)) / (w @ b.mean(axis=0)) - 1) for w in chunks])
    low, high = interval(of_runs, resampled, units(a.shape[1], evaluation.groups))
    return f"{of_runs.mean():+.1%} [{low:+.1%}, {high:+.1%}]"
