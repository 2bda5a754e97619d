"""Peak memory of the training step at 224x336, batch 32.  python -m experiments.bench.memory

Peak resident memory of a process while it takes two steps, less what it held after importing its library; the kernel's
high-water mark is set back before, so that compiling does not count.
"""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.bench import ours, peers
from experiments.bench.benchmark import Contender, Missing, Row, Run, report, skipped
from experiments.bench.peers import nearest_multiple

SIZE, BATCH = (224, 336), 32
STATUS = Path("/proc/self/status")


def _resident(name: str) -> float:
    """VmRSS or VmHWM of this process in GB."""
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found
    return int(found[1]) * 1024 / 1e9


def peak(build: Callable[..., Run], library: str, *arguments: Any) -> Run:
    """A run of two steps that returns their peak in GB."""
    if not STATUS.exists():
        raise Missing("peak memory is read from /proc, which this system has not")
    __import__(library)
    before, step = _resident("VmRSS"), build(*arguments)

    def run() -> float:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        step()
        step()
        return _resident("VmHWM") - before

    return run


def measured(build: Callable[..., Run], library: str, *arguments: Any) -> float:
    with Contender(peak, build, library, *arguments) as contender:
        return contender.run()[1]


def rows() -> list[Row]:
    found, theirs = [], nearest_multiple(SIZE)
    name = f"PyTorch eager, channels-last, {theirs[0]}x{theirs[1]}"
    peer: float | Missing
    try:
        peer = measured(peers.torch_train, "torch", theirs, BATCH, False)
    except Missing as error:
        peer = error
    for path, native in ours.PATHS.items():
        what = f"6. peak memory of the training step, {SIZE[0]}x{SIZE[1]}, batch {BATCH}, {path}"
        try:
            whole, recomputing = (
                measured(ours.train, "jax", SIZE, BATCH, native, remat) for remat in (False, True)
            )
        except Missing as error:
            found.append(skipped(what, "", error))
            continue
        if isinstance(peer, Missing):
            found.append(skipped(what, name, peer))
        else:
            found.append(_share(what, whole, name, peer, 1))
        found.append(_share(f"{what}, remat", recomputing, "ours without", whole, 0.5))
    return found


def _share(what: str, mine: float, name: str, theirs: float, limit: float) -> Row:
    ratio = mine / theirs
    return Row(
        what, f"{mine:.2f} GB", name, f"{theirs:.2f} GB", f"{ratio:.2f}", f"<= {limit}", ratio <= limit
    )


if __name__ == "__main__":
    report("memory", rows())
