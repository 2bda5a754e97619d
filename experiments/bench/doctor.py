"""How fast the doctor looks, and how much memory it takes.  python -m experiments.bench.doctor

Makes votes folders of generated JPEGs in a temporary folder (300 MB), runs the doctor on each in a process of its
own, first afresh and then with everything seen, and prints seconds, seconds of processor time (which other work on
the machine hardly touches) and the largest resident memory as a Markdown table. The small pictures show how memory
grows with their number. About five minutes on 2 cores.
"""

import datetime
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

CASES = ((1000, (640, 480)), (3000, (640, 480)), (1000, (96, 72)), (48_565, (96, 72)))


def make(folder: Path, count: int, size: tuple[int, int]) -> int:
    """A folder of `count` different pictures with votes; their mean length in bytes."""

    def draw(number: int) -> int:
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (size[1], size[0], 1), dtype=np.int16)
        path = folder / f"{number:06d}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
        return path.stat().st_size

    with ThreadPoolExecutor() as pool:
        lengths = list(pool.map(draw, range(count)))
    rows = "".join(f"{number:06d}.jpg,5,6,7,4,3\n" for number in range(count))
    (folder / "votes.csv").write_text("image,c1,c2,c3,c4,c5\n" + rows)
    return int(np.mean(lengths))


def run(folder: Path, out: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and the largest resident memory in MB, of one run of the doctor."""
    command = [sys.executable, "-m", "mtp.data.doctor", str(folder), f"--out={out}"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"error: the doctor ended with status {os.waitstatus_to_exitcode(status)} on {folder}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main() -> None:
    print(f"{datetime.date.today()}, {os.cpu_count()} cores, CPU\n")
    print("| pictures | size | kB each | run | s | pictures/s | processor s | pictures/processor s | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for count, (width, height) in CASES:
        with tempfile.TemporaryDirectory() as place:
            folder, out = Path(place) / "pictures", Path(place) / "out"
            folder.mkdir()
            length = make(folder, count, (width, height))
            for name in ("first", "again"):
                seconds, processor, memory = run(folder, out)
                print(
                    f"| {count} | {width}x{height} | {length / 1000:.1f} | {name} | {seconds:.1f} "
                    f"| {count / seconds:.0f} | {processor:.1f} | {count / processor:.0f} | {memory:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
