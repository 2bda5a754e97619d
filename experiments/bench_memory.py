"""Peak memory of the training step at 224x336, batch 32.  python -m experiments.bench_memory

Peak resident memory of a process while it takes two steps, less what it held after importing its library; the kernel's
high-water mark is set back before, so that compiling does not count.
"""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import ours, peers
from experiments.benchmark import Contender, Missing, Row, Run, report, skipped
from experiments.peers import nearest_multiple

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
    what = f"6. peak memory of the training step, {SIZE[0]}x{SIZE[1]}, batch {BATCH}"
    plain, recomputing = (measured(ours.train, "jax", SIZE, BATCH, False, remat) for remat in (False, True))
    found = []
    theirs = nearest_multiple(SIZE)
    name = f"PyTorch eager, channels-last, {theirs[0]}x{theirs[1]}"
    try:
        peer = measured(peers.torch_train, "torch", theirs, BATCH, False)
        ratio = plain / peer
        found.append(Row(what, f"{plain:.2f} GB", name, f"{peer:.2f} GB", f"{ratio:.2f}", "<= 1", ratio <= 1))
    except Missing as error:
        found.append(skipped(what, name, error))
    ratio = recomputing / plain
    shown = f"{recomputing:.2f} GB"
    found.append(
        Row(
            f"{what}, remat", shown, "ours without", f"{plain:.2f} GB", f"{ratio:.2f}", "<= 0.5", ratio <= 0.5
        )
    )
    return found


if __name__ == "__main__":
    report("memory", rows())
