"""What the benchmarks share: contenders in processes of their own, alternating pairs, rows of one table.

Each contender runs in its own process, so that thread pools do not disturb each other, with huge pages and freed
memory kept: XLA and PyTorch get temporary arrays anew for each run, and a new page costs a fault and being filled with
zeros. Two of them are compared by taking turns, ours and theirs, and the median of the pairs' ratios counts: what else
the machine does then hits both.
"""

import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"
CORES = 2
PAUSE = 0.3  # seconds between turns: idle worker threads of a peer spin for up to 0.2 s
TURN = 0.5  # seconds at least of a turn's runs
# read when a process starts: huge pages, and freed memory is kept, as `mtp.runtime.settings` does for ours
MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
LONG = 4.0  # seconds of a run from which on the first one counts
PACKAGES = ("jax", "flax", "torch", "onnxruntime", "openvino", "keras", "pillow", "grain", "numpy")
HEADER = ("what", "ours", "against", "theirs", "measured", "target", "met")

Run = Callable[[], Any]


class Missing(RuntimeError):
    """A peer cannot run here; the message says why, and its row is skipped."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. measured: the number that the target is about; met: None where none is set."""

    what: str
    ours: str
    against: str = ""
    theirs: str = ""
    measured: str = ""
    target: str = ""
    met: bool | None = None


class Contender:
    """A process that builds a run once and then repeats it on demand.

    build: a function of a module, called in the process with `arguments`; returns the run. ImportError or Missing
    in it becomes Missing here.
    """

    def __init__(self, build: Callable[..., Run], *arguments: Any):
        os.environ["GLIBC_TUNABLES"] = MEMORY
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, build, arguments), daemon=True)
        self._process.start()
        there.close()
        kind, value = self._receive()
        if kind == "missing":
            self.close()
            raise Missing(value)
        self.build_seconds: float = value

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, and waits until it is gone."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def time(self) -> float:
        """Wall seconds of a run: the mean of a turn's, after one that counts not; of long runs one is a turn.

        While the other side ran, a virtual machine may have handed the free memory back to its host, and to get it
        again takes half a second.
        """
        seconds = self.run()[0]
        if seconds > LONG:
            return seconds
        runs: list[float] = []
        while sum(runs) < TURN:
            runs.append(self.run(pause=0)[0])
        return statistics.mean(runs)

    def run(self, pause: float = PAUSE) -> tuple[float, Any]:
        """Wall seconds of one run, and what it returned."""
        time.sleep(pause)
        self._pipe.send(True)
        return self._receive()[1]

    def _receive(self) -> tuple[str, Any]:
        try:
            return self._pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"{self._process.name} ended early; its error stands above") from error


def _serve(pipe: Any, build: Callable[..., Run], arguments: Sequence[Any]) -> None:
    start = time.perf_counter()
    try:
        run = build(*arguments)
        run()
    except (ImportError, Missing) as error:
        pipe.send(("missing", str(error)))
        return
    pipe.send(("ready", time.perf_counter() - start))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        value = run()
        pipe.send(("ran", (time.perf_counter() - start, value)))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Wall seconds of ours and theirs, turn by turn."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours was, pair by pair."""
        return [t / o for o, t in zip(self.ours, self.theirs, strict=True)]


def pairs(ours: Contender, theirs: Contender, count: int) -> Pairs:
    """`count` turns; who begins changes, so that a drift of the machine cancels."""
    times: list[tuple[float, float]] = []
    for turn in range(count):
        if turn % 2:
            second, first = theirs.time(), ours.time()
        else:
            first, second = ours.time(), theirs.time()
        times.append((first, second))
    return Pairs(*(tuple(side) for side in zip(*times, strict=True)))


def rate_row(
    what: str, name: str, measured: Pairs, work: float, unit: str, at_least: float, their_work: float = 0
) -> Row:
    """A row of rates. work: units of a run, `their_work` where the peer's run holds another amount."""
    share = (their_work or work) / work
    ratios = sorted(r / share for r in measured.ratios)
    ratio = statistics.median(ratios)
    return Row(
        what,
        f"{work / statistics.median(measured.ours):.3g} {unit}",
        name,
        f"{(their_work or work) / statistics.median(measured.theirs):.3g} {unit}",
        f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        f">= {at_least:g}",
        ratio >= at_least,
    )


def peer_row(
    what: str,
    name: str,
    mine: Contender,
    build: Callable[..., Run],
    arguments: Sequence[Any],
    *,
    count: int,
    work: float,
    unit: str,
    at_least: float,
) -> Row:
    """A row of rates against a peer that is started for it; a skipped row where the peer is not here."""
    try:
        with Contender(build, *arguments) as peer:
            measured = pairs(mine, peer, count)
    except Missing as error:
        return skipped(what, name, error)
    return rate_row(what, name, measured, work, unit, at_least)


def limit_row(what: str, value: float, unit: str, at_most: float, **more: str) -> Row:
    """A row whose number may not exceed a limit."""
    shown = f"{value:.3g} {unit}"
    return Row(what, shown, measured=shown, target=f"<= {at_most:g} {unit}", met=value <= at_most, **more)


def skipped(what: str, name: str, why: Exception) -> Row:
    """A peer that is not here."""
    return Row(what, "", name, "skipped", str(why).splitlines()[0])


def machine() -> str:
    """Cores, processor, widest vector unit, and matrix unit."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    vectors = "AVX-512" if "avx512f" in info else "AVX2" if "avx2" in info else ""
    parts = [
        f"{multiprocessing.cpu_count()} cores",
        model[1] if model else platform.machine(),
        vectors,
        "AMX" if "amx_bf16" in info else "",
        "CPU",
    ]
    return ", ".join(filter(None, parts))


def versions() -> dict[str, str]:
    """Installed versions of ours and the peers' libraries."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    met = {True: "yes", False: "**no**", None: ""}
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    for row in rows:
        cells = [row.what, row.ours, row.against, row.theirs, row.measured, row.target, met[row.met]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def keep(path: Path, part: str, rows: Sequence[Row], where: str) -> None:
    """The rows of a part with date, machine and versions, for `page`. where: the machine, or the card too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "date": str(date.today()),
        "machine": where,
        "versions": versions(),
        "part": part,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path.write_text(json.dumps(stored, indent=1) + "\n")


def page(head: str, paths: Sequence[Path]) -> str:
    """One table of the parts that are there, as `keep` left them, and where and when each was measured."""
    rows: list[Row] = []
    sources: list[str] = []
    for stored in (json.loads(path.read_text()) for path in paths if path.exists()):
        rows += [Row(**row) for row in stored["rows"]]
        packages = ", ".join(f"{name} {version}" for name, version in stored["versions"].items())
        sources.append(f"- `{stored['part']}`: {stored['date']}, {stored['machine']}; {packages}")
    return f"{head}\n\n{markdown(rows)}\n\n" + "\n".join(sources) + "\n"


def report(part: str, rows: Sequence[Row]) -> None:
    """Prints the rows and keeps them in results/bench_PART.json with date, machine and versions."""
    keep(RESULTS / f"bench_{part}.json", part, rows, machine())
    print(f"{date.today()}, {machine()}\n\n{markdown(rows)}\n", flush=True)


def random_pictures(sizes: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """uint8 noise (H, W, 3) of the given sizes (N, 2)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]
