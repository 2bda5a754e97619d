"""The table of a sweep for people: on the terminal, in Markdown, as CSV."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from experiments.sweep.plan import Sweep
from mtp.evaluation.intervals import FEW_GROUPS
from mtp.evaluation.metrics import METRICS
from mtp.report.comparison import claim_cells
from mtp.report.tables import COLUMNS, aligned, grid, legend, number, of_demo

SHOWN = (*COLUMNS, "two_category_accuracy", "two_category_accuracy_delta")
NOTHING = "no seed of any row is finished yet"
HEADER = ["job", "state", "why"]


def product(sweep: Sweep) -> str:
    """2 rows x 1 seed x 5 folds."""
    counts = {"row": len(sweep.rows), "seed": len(sweep.seeds), "fold": sweep.folds}
    return " x ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count)


def terminal(content: Mapping[str, Any]) -> str:
    """Aligned columns without intervals, differences, and what is not finished."""
    blocks = ["\n".join(_caption(content)), *([] if content["rows"] else [NOTHING])]
    if content["rows"]:
        blocks.append(aligned(*_cells(content, with_interval=False)))
    if content["claims"]:
        heading, cells = claims(content)
        blocks += [heading, aligned(*cells)]
    lines = [f"{state} {name}" + (f": {text}" if text else "") for name, state, text in content["unfinished"]]
    return "\n\n".join([*blocks, *(["\n".join(lines)] if lines else [])])


def markdown(content: Mapping[str, Any]) -> str:
    """The page: the table with intervals, differences, unfinished jobs, a legend."""
    blocks = [f"# {content['file']}", "\n".join(f"{line}  " for line in _caption(content))]
    blocks.append(grid(*_cells(content, with_interval=True)) if content["rows"] else NOTHING)
    if content["claims"]:
        heading, cells = claims(content)
        blocks += [heading, grid(*cells)]
    if content["unfinished"]:
        body = [[name, state, text.replace("\n", " ")] for name, state, text in content["unfinished"]]
        blocks += ["Not in the table:", grid(HEADER, body)]
    blocks.append("Metrics: " + legend(METRICS[name] for name in _shown(content)))
    return "\n\n".join(blocks) + "\n"


def csv_text(content: Mapping[str, Any]) -> str:
    """A line a row: mean, deviation over seeds, low and high of every metric; its difference and verdict."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [name for name in METRICS if any(name in row["metrics"] for row in content["rows"])]
    parts = [f"{name}{suffix}" for name in names for suffix in ("", "_sd", "_low", "_high")]
    differences = ("difference", "difference_low", "difference_high", "p_holm", "verdict")
    writer.writerow(["row", "kind", "seeds", *parts, *differences])
    of_row = {
        claim["row"]: claim
        for claim in content["claims"]
        if claim["compared_with"] == content["sweep"].compared_with
    }
    for row in content["rows"]:
        cells = [cell for name in names for cell in _numbers(row, name)]
        claim = [of_row.get(row["row"], {}).get(key) for key in ("value", "low", "high", "p_holm", "verdict")]
        writer.writerow(
            ["" if c is None else c for c in (row["row"], row["kind"], row["seeds"], *cells, *claim)]
        )
    return file.getvalue()


def _numbers(row: Mapping[str, Any], name: str) -> list[float | None]:
    cell = row["metrics"].get(name, {})
    return [cell.get("value"), row["deviations"].get(name), cell.get("low"), cell.get("high")]


def _caption(content: Mapping[str, Any]) -> list[str]:
    sweep, rows = content["sweep"], content["rows"]
    done = content["jobs"] - len(content["unfinished"])
    lines = [f"{product(sweep)}: {done} of {content['jobs']} jobs are done"]
    if not rows:
        return lines
    about = content["about"]
    groups = about["groups"]
    few = " (too few: their intervals are too narrow)" if groups is not None and groups < FEW_GROUPS else ""
    hashes = ", ".join(sha[:12] for sha in about["sha256"])
    lines += [
        f"{about['split']} split{'s of the folds' if sweep.folds else ''}, {about['pictures']} pictures"
        + (f" in {groups} groups{few}" if groups is not None else "")
        + f", ratings 1..{about['ratings']}, sha256 {hashes}",
        f"mean over seeds ± standard deviation over seeds; 95 % intervals from {about['bootstrap']} resamples of "
        f"{'pictures' if groups is None else 'groups'}, and over seeds where there are several",
        f"threshold {about['threshold']:g}, delta {about['delta']:g}, pkl floor {about['pkl_floor']:g}; "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    ]
    if about["demo_code"]:
        lines.append(of_demo(about["demo_code"]))
    if about["other_means"]:
        lines.append(
            f"the mean histogram is that of the pictures that trained {about['mean_of']}; other pictures trained "
            + ", ".join(about["other_means"])
        )
    if about["means_only"]:
        lines.append("only mean ratings are known: no difference of histograms")
    return lines


def _shown(content: Mapping[str, Any]) -> list[str]:
    return [name for name in SHOWN if any(name in row["metrics"] for row in content["rows"])]


def _cells(content: Mapping[str, Any], *, with_interval: bool) -> tuple[list[str], list[list[str]]]:
    shown = _shown(content)
    header = ["row", "seeds", *(METRICS[name].heading for name in shown)]
    body = [
        [row["row"], _seeds(row), *(cell(row, name, with_interval=with_interval) for name in shown)]
        for row in content["rows"]
    ]
    return header, body


def _seeds(row: Mapping[str, Any]) -> str:
    return "" if row["seeds"] is None else str(row["seeds"])


def cell(row: Mapping[str, Any], name: str, *, with_interval: bool = True) -> str:
    """0.123 ± 0.004 [0.110, 0.136]; nothing where the row has no such number."""
    if name not in row["metrics"]:
        return ""
    value, space, interval = number(row["metrics"][name], with_interval=with_interval).partition(" ")
    deviation = row["deviations"].get(name)
    return value + ("" if deviation is None else f" ± {deviation:.3f}") + space + interval


def _claim_heading(content: Mapping[str, Any]) -> str:
    sweep = content["sweep"]
    return (
        f"Difference of {sweep.claim} to {sweep.compared_with}{' and between other rows' * bool(sweep.comparisons)}, "
        "paired by seed and picture; seeds and pictures (whole groups) resampled; p by Holm over this page's claims:"
    )


def named_claims(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The differences of a sweep; the name of one to another row than the sweep's is that of both."""
    own = content["sweep"].compared_with
    return [
        claim
        if claim["compared_with"] == own
        else {**claim, "row": f"{claim['row']} - {claim['compared_with']}"}
        for claim in content["claims"]
    ]


def claims(content: Mapping[str, Any]) -> tuple[str, tuple[list[str], list[list[str]]]]:
    """What the differences of a sweep are, and their table's header and body."""
    named = named_claims(content)
    return _claim_heading(content), claim_cells(named, {c["row"]: str(c["seeds"]) for c in named})
