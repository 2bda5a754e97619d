"""What reading AVA costs.  python -m experiments.bench.ava FOLDER WORK > experiments/results/bench_ava.txt

FOLDER: AVA_part.txt and the official package's lists. WORK: an empty folder for generated pictures and what is built of
them (2 GB). Measures parsing, building, random access, an epoch's order, and how long a run takes to its first
compilation; nothing is timed against a limit.
"""

import dataclasses
import io
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from mtp.config import get_config
from mtp.data import images
from mtp.data.ava import files as ava_files
from mtp.data.ava import load as ava_load
from mtp.data.ava import table as ava_table
from mtp.data.batches.plan import TrainPlan
from mtp.data.batches.sizes import SizeRule
from mtp.data.batches.views import Canvas
from mtp.data.schema import MIN_SIDE

ROWS = 255_530  # of the whole AVA.txt
LIMIT = 100_000_000


def whole(part: bytes) -> bytes:
    """As many rows as AVA.txt has: those of the part, repeated under new ids."""
    cells = [line.split(b" ", 2)[2] for line in part.splitlines()]
    return b"".join(b"%d %d %s\n" % (i, i, cells[i % len(cells)]) for i in range(1, ROWS + 1))


def jpegs(width: int, height: int, count: int = 40) -> list[bytes]:
    """Pictures with edges, gradients and noise, as large in bytes as photographs of that size."""
    rng, result = np.random.default_rng(0), []
    for _ in range(count):
        small = rng.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
        pixels = np.asarray(
            Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), np.float32
        )
        pixels = pixels + rng.normal(0, 8, (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        result.append(file.getvalue())
    return result


def download(folder: Path, rows: list[bytes], package: Path, width: int, height: int) -> float:
    """An AVA download with these rows; the mean length of its pictures in bytes."""
    for name in ("style_image_lists", "aesthetics_image_lists"):
        shutil.copytree(package / name, folder / name, copy_function=shutil.copyfile)
    for name in ("tags.txt", "challenges.txt"):
        shutil.copyfile(package / name, folder / name)
    (folder / "AVA.txt").write_bytes(b"\n".join(rows) + b"\n")
    (folder / "images").mkdir()
    bank = jpegs(width, height)
    for number, row in enumerate(rows):
        key, picture = row.split()[1].decode(), bank[number % len(bank)]
        # a comment with the id makes every file another one
        comment = b"\xff\xfe" + (2 + 8).to_bytes(2, "big") + f"{key:>8}".encode()
        (folder / "images" / f"{key}.jpg").write_bytes(picture[:2] + comment + picture[2:])
    return float(np.mean([len(picture) for picture in bank]))


def build(source: Path, data_dir: Path) -> tuple[float, float, float, float]:
    """Seconds, seconds of processor time, and the largest memory in MB of the command and of one of its processes."""
    # getrusage's peak of a command begins with that of the process that started it; VmHWM does not
    # and the command ends by os._exit, after which nothing runs
    code = (
        "import os, re, resource, runpy, sys\n"
        "leave = os._exit\n"
        "def tell_and_leave(status):\n"
        "    own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "    print(own / 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
        "    sys.stdout.flush()\n"
        "    leave(status)\n"
        "if __name__ == '__main__':\n"
        "    os._exit = tell_and_leave\n"
        "    runpy.run_module('mtp.data.ava', run_name='__main__')\n"
    )
    script = data_dir.with_suffix(".py")
    script.write_text(code)
    start, used = time.perf_counter(), processor()
    done = subprocess.run(
        [sys.executable, str(script), f"--source={source}", f"--data_dir={data_dir}"],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        check=True,
        capture_output=True,
        text=True,
    )
    own, child = done.stdout.splitlines()[-1].split()
    return time.perf_counter() - start, processor() - used, float(own), float(child)


def processor() -> float:
    """Seconds of processor time of all processes that this one started and that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report_build(count: int, size: str, source: Path, data_dir: Path) -> None:
    """Rate by the clock, which other work on the machine slows down, and by processor time, which it does not."""
    seconds, used, own, child = build(source, data_dir)
    print(
        f"build of {count} pictures of {size}: {seconds:.1f} s, {count / seconds:.0f} pictures/s by the clock;"
    )
    print(f"  processor time {1e3 * used / count:.2f} ms a picture")
    print(
        f"  peak memory {own:.0f} MB in the command, {child:.0f} MB in the largest of its processes",
        flush=True,
    )


def random_access(data_dir: Path, count: int, threads: int) -> tuple[float, float]:
    """Pictures read and decoded a second by the clock, in random order, each once; ms of processor time each."""
    dataset = ava_load.load(data_dir)
    order = np.random.default_rng(0).permutation(len(dataset))[:count]

    def read(index: int) -> None:
        images.decode(dataset.read(int(index)), dataset.images[index], LIMIT)

    read(0)
    start, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, order))
    return count / (time.perf_counter() - start), 1e3 * (time.process_time() - used) / count


def epoch_order() -> tuple[float, float]:
    """MB that the plan and the order of an epoch of all of AVA hold, and seconds for the first batch."""
    import tracemalloc

    config = get_config()
    sizes = np.random.default_rng(0).integers(300, 801, (ROWS, 2)).astype(np.int32)
    # without a network's own reading, for which jax would be imported into the memory measured here
    view = Canvas(SizeRule.parse("native", config.input.sizes, MIN_SIDE), reads=lambda sizes: sizes)
    tracemalloc.start()
    start = time.perf_counter()
    plan = TrainPlan.from_config(config, np.arange(ROWS), sizes, view)
    plan.batch(0)
    seconds, held = time.perf_counter() - start, tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / 1e6, seconds


def enlarged(data_dir: Path, target: Path) -> Path:
    """A built set whose table has as many rows as AVA: its own under more ids (a start reads no picture)."""
    name = Path("ava") / "1.0.0" / ava_table.NAME
    shutil.copytree(data_dir, target)
    table = ava_table.load(data_dir / name)
    more = np.setdiff1d(np.arange(1, 2 * ROWS), table.ids)[: ROWS - len(table)]
    columns = ("votes", "tags", "challenges", "sizes", "styles_train", "styles_test")
    repeated = {column: getattr(table, column)[np.arange(ROWS) % len(table)] for column in columns}
    repeated |= {"ids": np.concatenate([table.ids, more]), "hashes": np.arange(ROWS, dtype=np.uint64)}
    ava_table.save(target / name, dataclasses.replace(table, **repeated))
    return target


def start_up(data_dir: Path, workdir: Path) -> tuple[float, float]:
    """Seconds from the command to the line that comes before compilation, by the clock and of processor time."""
    start, used = time.perf_counter(), processor()
    with subprocess.Popen(
        [sys.executable, "-m", "mtp.main", "--config=configs/ava.py", "--config.model.weights=",
         f"--config.data.dir={data_dir}", f"--workdir={workdir}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "programs to compile" in line:
                seconds = time.perf_counter() - start
                process.kill()
                process.wait()
                return seconds, processor() - used
    raise RuntimeError("the run ended before it compiled")


def small_sizes(folder: Path, work: Path) -> None:
    """Building 1,000 and all rows with small pictures: rate and memory, then a start on the larger one."""
    rows = (folder / "AVA_part.txt").read_bytes().splitlines()
    for count in (1_000, len(rows)):
        source, data_dir = work / f"source-{count}", work / f"data-{count}"
        source.mkdir()
        download(source, rows[:count], folder, 120, 80)
        report_build(count, "120x80", source, data_dir)
        print(f"  the same command again: {build(source, data_dir)[0]:.1f} s", flush=True)
        shutil.rmtree(source)
    seconds, used = start_up(enlarged(data_dir, work / "whole"), work / "run")
    print(f"start of training on {ROWS} pictures, to the first compilation: {seconds:.1f} s by the clock,")
    print(f"  {used:.1f} s of processor time", flush=True)


def usual_size(folder: Path, work: Path, count: int = 4_000) -> None:
    """Building and reading pictures of 640x480."""
    rows = (folder / "AVA_part.txt").read_bytes().splitlines()[:count]
    source, data_dir = work / "source-640", work / "data-640"
    source.mkdir()
    length = download(source, rows, folder, 640, 480)
    report_build(count, f"640x480, {length / 1e3:.0f} kB each", source, data_dir)
    for threads in (1, 2):
        rate, used = random_access(data_dir, 1_500, threads)
        print(
            f"random read and decode, 640x480, {threads} threads: {rate:.0f} pictures/s by the clock,",
            end=" ",
        )
        print(f"processor time {used:.2f} ms a picture", flush=True)


def main() -> None:
    folder, work = Path(sys.argv[1]), Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} cores, CPU, Python {platform.python_version()}")
    print(f"load average at the start {os.getloadavg()[0]:.1f}")
    data = whole((folder / "AVA_part.txt").read_bytes())
    start = time.perf_counter()
    rows, faults = ava_files.parse_rows(data)
    print(
        f"parsing and validating {len(rows)} rows ({len(faults)} faults): {time.perf_counter() - start:.2f} s"
    )
    held, seconds = epoch_order()
    print(
        f"order of an epoch of {ROWS} pictures: {held:.1f} MB, first batch after {seconds:.2f} s", flush=True
    )
    usual_size(folder, work)
    small_sizes(folder, work)
    print(f"peak memory of this script {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
