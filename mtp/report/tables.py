"""results.json's rows as a table, for the terminal and in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtp.evaluation.intervals import FEW_GROUPS
from mtp.evaluation.metrics import METRICS, Metric

Table = Mapping[str, Metric]

# the main table; results.md shows all others in a second one
COLUMNS = ("emd_r2", "emd_r1", "ped", "cheb", "pkl", "pkl_1e-3", "cos", "srcc", "plcc", "accuracy",
           "accuracy_delta", "skill")  # fmt: skip


def terminal(results: Mapping[str, Any]) -> str:
    """Aligned columns, one line a row, values only; the intervals are in Markdown and JSON.

    Of a model that predicts no distribution all metrics that it has are shown.
    """
    main = _main(results, METRICS) or _measured(results, METRICS)
    table = aligned(*_cells(results, main, with_interval=False))
    styles = [
        f"style mAP {number(p['metrics']['map'], with_interval=True)}, {p['row']}: {p['pictures']} pictures"
        for p in results.get("styles", ())
    ]
    return "\n".join([*_caption(results), "", table, *styles])


def aligned(header: list[str], rows: list[list[str]]) -> str:
    """Columns for the terminal: the first one to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
    return "\n".join(lines)


def markdown(results: Mapping[str, Any], table: Table = METRICS) -> str:
    """The main table with 95 % intervals, the other metrics, the styles where there are any, and a legend."""
    measured, main = results["rows"][0]["metrics"], _main(results, table)
    others = [m for m in _measured(results, table) if m not in main and m.per != "style"]
    grids = [grid(*_cells(results, shown, with_interval=True)) for shown in (main, others) if shown]
    blocks = ["\n".join(_caption(results)), *grids]
    styles = {
        name.removeprefix("ap_"): cell
        for name, cell in measured.items()
        if name.startswith("ap_") or name == "map"
    }
    if results.get("styles"):
        blocks.append(_style_protocols(results["styles"]))
    elif styles:
        body = [[name, number(cell, with_interval=True), str(cell["n"])] for name, cell in styles.items()]
        blocks.append(grid(["style", "average precision ↑", "pictures"], body))
    shown = [
        *main,
        *others,
        *(m for m in table.values() if m.per == "style" and (styles or results.get("styles"))),
    ]
    return "\n\n".join([*blocks, legend(shown)]) + "\n"


def _measured(results: Mapping[str, Any], table: Table) -> list[Metric]:
    """The metrics that the first row has; the model's, whose tasks say which are defined."""
    return [metric for metric in table.values() if metric.name in results["rows"][0]["metrics"]]


def _main(results: Mapping[str, Any], table: Table) -> list[Metric]:
    """Those of them that belong to the main table, in its order."""
    return [table[name] for name in COLUMNS if table[name] in _measured(results, table)]


def legend(shown: Iterable[Metric]) -> str:
    """Formula and source of each metric."""
    lines = [f"- {metric.heading}: `{metric.formula}` ({metric.source})" for metric in shown]
    head = "y is the truth, p the prediction, k a rating of K; equations and sections are Sun and Zhou's."
    return "\n".join([head, "", *lines])


def of_demo(code: str) -> str:
    """What is said of numbers on the generated set; code: SHA-256 of its generator."""
    return f"synthetic pictures and votes (generated demo set, code {code[:12]})"


def _caption(results: Mapping[str, Any]) -> list[str]:
    split, config = results["split"], results["config"]
    data = config["data"]
    lines = [
        f"{split['name']} split, {split['pictures']} pictures, sha256 {split['sha256'][:12]}; "
        f"eval.size {results['eval_size']}, step {results['step']}, seed {results['seed']}"
    ]
    if data["name"] == "demo":
        lines.append(of_demo(results["demo_code"]))
    scales = results.get("ratings", {})
    if scales.get("voted") != scales.get("predicted"):
        lines.append(
            f"votes on 1..{scales['voted']}, predictions on 1..{scales['predicted']} (high above "
            f"{results['predicted_threshold']:g}): only what does not depend on the scale is measured"
        )
    kept = results["rows"][0]["metrics"]["majority_delta"]["n"]
    groups = results.get("groups")
    of_groups = "" if groups is None else f" of {groups} groups"
    lines.append(
        f"threshold {results['threshold']:g}, delta {results['delta']:g} keeps {kept} pictures; "
        f"pkl floor {results['pkl_floor']:g}; 95 % intervals from {results['bootstrap']} resamples{of_groups}"
    )
    if groups is not None and groups < FEW_GROUPS:
        lines.append(f"intervals from resamples of fewer than {FEW_GROUPS} groups are too narrow")
    return lines


def _cells(
    results: Mapping[str, Any], shown: Sequence[Metric], *, with_interval: bool
) -> tuple[list[str], list[list[str]]]:
    """Header and a line a row; a metric that the row has not measured stays empty."""
    body = [
        [
            _name(row),
            *(
                number(row["metrics"][metric.name], with_interval=with_interval)
                if metric.name in row["metrics"]
                else ""
                for metric in shown
            ),
        ]
        for row in results["rows"]
    ]
    return ["row", *(metric.heading for metric in shown)], body


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['row']} ({row['pictures']})" if "pictures" in row else row["row"]


def _style_protocols(protocols: Sequence[Mapping[str, Any]]) -> str:
    """Average precision of each style, a column a protocol; the votes of some pictures may have been trained on."""
    trained = [f", {p['trained_on']} with votes trained on" if p["trained_on"] else "" for p in protocols]
    header = [
        f"{p['row']}: {p['pictures']} pictures{also}" for p, also in zip(protocols, trained, strict=True)
    ]
    body = [
        [name.removeprefix("ap_"), *(number(p["metrics"][name], with_interval=True) for p in protocols)]
        for name in protocols[0]["metrics"]
    ]
    return grid(["average precision ↑", *header], body)


def number(cell: Mapping[str, Any], *, with_interval: bool) -> str:
    """A metric's value, with its interval where that is wanted and known."""
    if cell["value"] is None:
        return "n/a"
    text = f"{cell['value']:.3f}"
    if with_interval and cell["low"] is not None:
        text += f" [{cell['low']:.3f}, {cell['high']:.3f}]"
    return text


def grid(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [header, ["---"] * len(header), *body]
    # a stroke within a cell would end it
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
