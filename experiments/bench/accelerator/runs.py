"""Whole runs of the command line on the card: the demo, what determinism costs, kill -9, photographs with votes."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.bench.benchmark import Row, limit_row
from experiments.command_line import command, finish

DEMO, VOTES = "configs/demo.py", "configs/votes.py"
DETERMINISTIC = {"run.deterministic": True}
PREDICTIONS = "predictions.csv"
WAITING = 5.0  # per cent of the time of the steps


def timed(config: str, workdir: Path, options: Mapping[str, Any]) -> float:
    """Seconds of a run to its end."""
    begun = time.perf_counter()
    finish(config, workdir, options)
    return time.perf_counter() - begun


def killed(config: str, workdir: Path, after: int, options: Mapping[str, Any]) -> None:
    """A run that kill -9 ends once a checkpoint of a step after `after` is there."""
    with subprocess.Popen(command(config, workdir, options), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            saved = [int(one.name) for one in (workdir / "checkpoints").glob("[0-9]*") if one.name.isdigit()]
            if max(saved, default=0) > after:
                process.send_signal(signal.SIGKILL)
                return
            time.sleep(0.05)
    raise RuntimeError(f"{workdir} ended before it could be killed")


def records(workdir: Path) -> list[Mapping[str, Any]]:
    """Those of training steps."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "train/loss" in line]


def rate(workdir: Path) -> float:
    """Pictures a second of the steps, without the first record's, which hold what is compiled."""
    batch = json.loads((workdir / "config.json").read_text())["input"]["batch_size"]
    found = records(workdir)
    steps = found[-1]["step"] - found[0]["step"]
    return batch * steps / sum(line["time/since_last_log_s"] for line in found[1:])


def waited(workdir: Path) -> float:
    """Per cent of the steps' time that went by waiting for pictures, without the first record's."""
    found = records(workdir)
    seconds = sum(line["time/since_last_log_s"] for line in found[1:])
    return 100 * (found[-1]["train/waited_s"] - found[0]["train/waited_s"]) / seconds


def rows(options: Mapping[str, Any]) -> Iterator[Row]:
    """The demo, plain and deterministic, and one that is killed and goes on; options: of every run."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, fixed, ended = (Path(scratch, name) for name in ("plain", "deterministic", "killed"))
        yield Row(DEMO, f"{timed(DEMO, plain, options):.0f} s")
        yield Row(f"{DEMO}: training", f"{rate(plain):.0f} pictures/s")
        yield limit_row(f"{DEMO}: waiting for pictures", waited(plain), "% of the steps", WAITING)
        timed(DEMO, fixed, {**options, **DETERMINISTIC})
        yield Row(
            f"{DEMO}: training, run.deterministic",
            f"{rate(fixed):.0f} pictures/s",
            "without",
            f"{rate(plain):.0f} pictures/s",
            f"{rate(fixed) / rate(plain):.2f}",
        )
        killed(DEMO, ended, records(fixed)[-1]["step"] // 2, {**options, **DETERMINISTIC})
        timed(DEMO, ended, {**options, **DETERMINISTIC})
        one, other = ((workdir / PREDICTIONS).read_bytes() for workdir in (fixed, ended))
        yield Row(
            f"{DEMO}, run.deterministic: kill -9 in the middle, and on",
            PREDICTIONS,
            "never killed",
            PREDICTIONS,
            "the same bytes" if one == other else "other bytes",
            "the same bytes",
            one == other,
        )


def photographs(folder: str) -> Iterator[Row]:
    """`configs/votes.py` on a folder of photographs with votes, from nothing and with features that are kept."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, state in enumerate(("first run", "second seed")):
            workdir = Path(scratch, str(number))
            given = {"data.dir": folder, "seed": number}
            seconds = timed(VOTES, workdir, given)
            table = json.loads((workdir / "results.json").read_text())["rows"]
            emd = {row["row"]: row["metrics"]["emd_r2"]["value"] for row in table}
            told = f"emd_r2 {emd['model']:.3f}, mean histogram {emd['mean histogram']:.3f}"
            yield Row(f"{VOTES}, {Path(folder).name}, {state}", f"{seconds:.0f} s", measured=told)
