"""A table that compares many rows, some with several seeds: for the terminal, in Markdown, CSV and LaTeX.

content: rows (row, kind, seeds, metrics, printed, record), claims, missing, and whence it all is, as
experiments/table1.py assembles it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from mtp.evaluation.metrics import METRICS
from mtp.report.tables import aligned, grid, legend, number

COLUMNS = ("ped", "cheb", "pkl", "pkl_1e-3", "cos", "emd_r1", "emd_r2", "srcc", "accuracy", "skill")
PRINTED = ("ped", "cheb", "pkl", "cos", "emd")
PRINTED_HEADER = "printed, AVA: " + " / ".join(PRINTED)


def terminal(content: Mapping[str, Any]) -> str:
    """Aligned columns without intervals, then claims and what is missing."""
    header, rows = cells(content, with_interval=False)
    lines = [*caption(content), "", aligned(header, rows), "", aligned(*_claims(content)), ""]
    return "\n".join([*lines, *(f"missing {row}: {what}" for row, what in content["missing"].items())])


def markdown(content: Mapping[str, Any]) -> str:
    """The page: table with intervals, differences, settings of the learners, missing rows, notes."""
    blocks = [
        "# " + content["data"],
        "\n".join(f"{line}  " for line in caption(content)),
        grid(*cells(content, with_interval=True)),
        f"Difference of {content['config']['claim']} to {content['config']['compared_with']}, paired by seed and "
        "picture; seeds and pictures (whole groups) resampled; p by Holm over this page's claims:",
        grid(*_claims(content)),
        f"Settings, chosen by the lowest validation {content['config']['criterion']}:",
        grid(*_settings(content)),
    ]
    if content["missing"]:
        what = [
            [row, text if text.startswith("its") else f"`{text}`"] for row, text in content["missing"].items()
        ]
        blocks += [
            "Rows that are missing, and what to run (seeds 0, 1, 2), then --workdirs:",
            grid(["row", "run"], what),
        ]
    blocks += ["Metrics: " + legend(METRICS[name] for name in COLUMNS), NOTES, f"`{content['command']}`"]
    return "\n\n".join(blocks) + "\n"


def csv_text(content: Mapping[str, Any]) -> str:
    """One line a row: value, low and high of every metric, printed numbers, claim."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = list(content["rows"][0]["metrics"])
    bounds = [f"{name}{suffix}" for name in names for suffix in ("", "_low", "_high")]
    writer.writerow(
        ["row", "kind", "seeds", *bounds, *(f"printed_{name}" for name in PRINTED), "difference", "verdict"]
    )
    claims = {claim["row"]: claim for claim in content["claims"]}
    for row in content["rows"]:
        cells = [row["metrics"][name][part] for name in names for part in ("value", "low", "high")]
        printed = [(row["printed"] or {}).get(name) for name in PRINTED]
        claim = claims.get(row["row"], {})
        texts = ["" if c is None else c for c in [row["seeds"], *cells, *printed, claim.get("value")]]
        writer.writerow([row["row"], row["kind"], *texts, claim.get("verdict", "")])
    return file.getvalue()


def latex(content: Mapping[str, Any]) -> str:
    """A tabular with booktabs rules."""
    header, rows = cells(content, with_interval=False)
    marks = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&"})
    arrows = {"↓": r"$\downarrow$", "↑": r"$\uparrow$"}

    def line(cells: Sequence[str]) -> str:
        text = " & ".join(cell.translate(marks) for cell in cells)
        for arrow, command in arrows.items():
            text = text.replace(arrow, command)
        return text + r" \\"

    body = "\n".join(line(row) for row in rows)
    columns = "l" + "r" * (len(header) - 1)
    comments = "\n".join(f"% {text}" for text in caption(content))
    return (
        f"{comments}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(header)}\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


NOTES = """Notes

- Printed numbers are the paper's Table 1, on AVA; the exponent r of its EMD is not said. They stand beside learners as
  the paper's own rows, and beside deep rows of preset `paper` only. On other data than AVA they cannot be compared.
- Seeds "any": nothing in the learner is drawn, every seed gives the same.
- Three of the printed rows cannot be taken at their word: SVDR's is no normalised predictor's (its PKL is below twice
  its squared Cheb), IIS-LDL's is worse than the constant mean histogram and near a mixture with the uniform
  distribution, and kNN's is that of some 15 random pictures. `python -m experiments.tables.printed_rows VOTES` shows it
  from AVA's votes; the rows "mean of 15 random pictures" and "iis_lld, no bias, 10 iterations" are for comparison here.
  Nothing is tuned towards them.
- svdr_like is a reconstruction from SVDR's abstract. Its loss and kNN's do not know the order of the ratings."""


def caption(content: Mapping[str, Any]) -> list[str]:
    """What the table is of, a line each."""
    n, features, config = content["pictures"], content["features"], content["config"]
    shas = features["split_sha256"]
    return [
        f"{content['data']}: {n['train']} train, {n['validation']} validation, {n['test']} test pictures in "
        f"{content['groups']} groups; ratings 1..{content['ratings']}; test split sha256 {shas['test'][:12]}",
        f"features: {features['backbone']} (sha256 {features['backbone_sha256'][:12]}), "
        f"eval.size {features['eval_size']}, {features['width']} -> {features['dimensions']} components with "
        f"{features['explained']:.1%} of the variance",
        f"emd_r1, emd_r2: r = 1, 2; pkl floor {config['pkl_floor']:g}; threshold {content['threshold']:g}; seeds "
        f"{', '.join(map(str, config['seeds']))}; 95 % intervals from {config['bootstrap']} resamples",
    ]


def cells(content: Mapping[str, Any], *, with_interval: bool) -> tuple[list[str], list[list[str]]]:
    """Header and body of the table of rows."""
    header = ["row", "seeds", *(METRICS[name].heading for name in COLUMNS), PRINTED_HEADER]
    body = []
    for row in content["rows"]:
        printed = row["printed"] or {}
        numbers = [number(row["metrics"][name], with_interval=with_interval) for name in COLUMNS]
        texts = " / ".join(f"{value:.3f}" for value in printed.values())
        body.append([row["row"], _seeds(row), *numbers, texts])
    return header, body


def _seeds(row: Mapping[str, Any]) -> str:
    """How many seeds a row has; "any" where nothing in it is drawn."""
    if row["record"].get("deterministic"):
        return "any"
    return "" if row["seeds"] is None else str(row["seeds"])


def _claims(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    return claim_cells(content["claims"], {row["row"]: _seeds(row) for row in content["rows"]})


def claim_cells(
    claims: Sequence[Mapping[str, Any]], seeds: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Header and body of a table of differences; seeds: what is said of each row's."""
    header = ["row", "seeds", "difference", "95 % interval", "p (Holm)", "verdict"]
    body = [
        [
            c["row"], seeds[c["row"]], f"{c['value']:+.4f}", f"[{c['low']:+.4f}, {c['high']:+.4f}]",
            "" if c["p_holm"] is None else f"{c['p_holm']:.3g}", c["verdict"],
        ]
        for c in claims
    ]  # fmt: skip
    return header, body


def _settings(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    body = []
    for row in content["rows"]:
        fits = row["record"].get("fits")
        if fits:
            options = ", ".join(f"{k} {v}" for k, v in row["record"]["options"].items())
            last = fits[-1]
            objective = "" if last["objective"] is None else f"{last['objective']:.6g}"
            ends = last["reason"] if last["converged"] else f"**not converged**: {last['reason']}"
            points = str(len(row["record"].get("grid", []))) if "grid" in row["record"] else ""
            body.append(
                [
                    row["row"],
                    options,
                    points,
                    f"{last['seconds']:.2f}",
                    str(last["iterations"]),
                    objective,
                    ends,
                ]
            )
    return ["row", "options", "grid points", "fit, s", "iterations", "objective", "stopped because"], body
