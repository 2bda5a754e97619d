"""Rows of Table 1 from finished workdirs of `mtp.main`: which ablation of the paper's each is, and its predictions."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import paper
from configs.rows import mt_nasnet, mtp_nasnet, sf_nasnet, vd_nasnet
from mtp.config import OPTIONS, Reach, flat, get_config
from mtp.files import read_json
from mtp.workdirs import UsageError

# section 4's ablations, and their files in configs/rows/
ABLATIONS = {
    "MT-NasNet": mt_nasnet, "SF-NasNet": sf_nasnet, "VD-NasNet": vd_nasnet, "MTP-NasNet": mtp_nasnet,
}  # fmt: skip
# what tells the ablations apart; whether pictures are squares follows from it
DECIDED = ("model.name", "model.columns", "model.tasks", "loss.reliability")
# all that seeds of one row share, and that makes a preset
SHARED = [name for name, option in OPTIONS.items() if option.reach is Reach.TRAINING and name != "seed"]


class DeepRow(NamedTuple):
    """name: the ablation and its preset; predictions (N, K), a seed each; paper: whether it is the paper's preset."""

    name: str
    predictions: list[np.ndarray]
    seeds: list[int]
    paper: bool


def label(config: Mapping[str, Any]) -> tuple[str, bool]:
    """The row's name, and whether all else is the paper's preset; config: of a workdir, by dotted name."""
    decided = {name: flat(row.get_config("paper")) for name, row in ABLATIONS.items()}
    name = next((n for n, row in decided.items() if _alike(config, row, DECIDED)), None)
    preset = flat(paper.get_config()) if name is None else decided[name]
    if name is None:
        columns = "+".join(config["model.columns"])
        if config.get("model.name", "mtp_nasnet") != "mtp_nasnet":
            columns = config["model.name"]
        name = f"{columns}, {'+'.join(config['model.tasks'])}, weights {config['loss.reliability']}"
    same = _alike(config, preset, [option for option in (*SHARED, "eval.size") if option not in DECIDED])
    return f"{name} ({'paper' if same else 'ours'})", same


def _alike(config: Mapping[str, Any], other: Mapping[str, Any], options: Sequence[str]) -> bool:
    """An option that is younger than the workdir had its default there."""
    default = flat(get_config())
    return all(config.get(option, default[option]) == other[option] for option in options)


def read_rows(workdirs: Sequence[Path], images: Sequence[str], test_sha256: str) -> list[DeepRow]:
    """One row a name, its workdirs are its seeds; predictions in the order of `images`.

    Errors: UsageError where a workdir is unfinished, tested on other pictures, predicts no distribution, has the seed
    of another one, or other options than the seeds before it.
    """
    found: dict[str, DeepRow] = {}
    options: dict[str, dict[str, Any]] = {}  # of the first workdir of each row
    for workdir in workdirs:
        results = read_json(workdir / "results.json")
        if results is None:
            raise UsageError(
                f"{workdir} must be a finished workdir; it has no results.json. Run its command to the end"
            )
        split = results["split"]
        if split["name"] != "test" or split["sha256"] != test_sha256:
            raise UsageError(
                f"{workdir} was evaluated on the {split['name']} split {split['sha256'][:12]}, this table's test "
                f"split is {test_sha256[:12]}; train and evaluate it on the same data"
            )
        here = flat(results["config"])
        if "distribution" not in here["model.tasks"]:
            raise UsageError(
                f"{workdir} must predict distributions, which all rows of this table are; it was trained on "
                f"{', '.join(here['model.tasks'])} alone. Leave it out"
            )
        name, is_paper = label(here)
        first = options.setdefault(name, here)
        unlike = [option for option in SHARED if first.get(option) != here.get(option)]
        if unlike:
            raise UsageError(
                f"{workdir} and the workdirs before it of the row {name} differ in {', '.join(unlike)}; seeds of one "
                "row must be alike in all else. Make a table of each"
            )
        row = found.setdefault(name, DeepRow(name, [], [], is_paper))
        if results["seed"] in row.seeds:
            raise UsageError(
                f"{workdir}: {name} has a workdir with seed {results['seed']} already; give each seed once"
            )
        row.seeds.append(results["seed"])
        row.predictions.append(_predictions(workdir / "predictions.csv", images))
    return list(found.values())


def _predictions(path: Path, images: Sequence[str]) -> np.ndarray:
    with path.open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    ratings = sum(name.startswith("pred_") and name[5:].isdigit() for name in next(iter(rows.values())))
    values = np.array([[float(rows[i][f"pred_{k + 1}"]) for k in range(ratings)] for i in images])
    # nine digits each
    return values / values.sum(axis=1, keepdims=True)


def missing(rows: Sequence[DeepRow], data: str, group: str) -> dict[str, str]:
    """The paper's rows that no workdir has, and the command for one seed of each."""
    have = {row.name for row in rows}
    defaults = flat(get_config())
    folder = "--config.data.name=demo" if data == "demo" else f"--config.data.dir={data.removeprefix('ava:')}"
    folder += " --config.data.name=ava" if data.startswith("ava:") else ""
    folder += f" --config.data.group={group}" if group != defaults["data.group"] else ""
    result = {}
    ours = "demo" if data == "demo" else "ours" if data.startswith("ava:") else "fine_tuned"
    for name, row in ABLATIONS.items():
        file = row.__name__.rsplit(".", 1)[-1]
        for shown, preset in (("paper", "paper"), ("ours", ours)):
            full = f"{name} ({shown})"
            if full not in have:
                result[full] = (
                    f"python -m mtp.main --config=configs/rows/{file}.py:{preset} {folder} --config.seed=0 "
                    f"--workdir=runs/{file}-{shown}-seed0"
                )
    result["SANE"] = (
        f"python -m mtp.main --config=configs/rows/sane.py:{ours} {folder} --config.seed=0 --workdir=runs/sane-seed0; "
        "its trunk for scenes has no published weights, so that the printed SANE is another network"
    )
    return result
