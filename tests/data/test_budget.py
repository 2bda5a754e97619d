"""Pixels in flight stay within the budget, whatever the number of threads or processes, and nothing waits for ever."""

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtp.data import budget, images
from mtp.data.budget import Budget, Shared

ROOT = Path(__file__).parents[2]


class Watch:
    """How many pixels are in hand at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def work(self, hold, pixels: int) -> None:
        with hold(pixels):
            with self._lock:
                self.now += pixels
                self.most = max(self.most, self.now)
            time.sleep(0.001)
            with self._lock:
                self.now -= pixels


def test_never_more_than_the_budget_but_a_larger_one_alone():
    watch, limit = Watch(), Budget(100)
    sizes = np.random.default_rng(0).integers(1, 60, 200).tolist()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: watch.work(limit.hold, n), sizes))
    assert 60 < watch.most <= 100
    watch = Watch()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: watch.work(limit.hold, n), [*sizes, 250, *sizes, 300]))
    assert watch.most == 300 and watch.now == 0


def test_a_thread_may_ask_twice_for_one_picture():
    limit = Budget(100)
    with limit.hold(80), limit.hold(90):
        pass
    with limit.hold(100):
        pass


def test_pixels_come_back_after_an_error():
    limit = Budget(10)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.hold(10):
            raise ZeroDivisionError


HOLDER = """
import sys, time
from pathlib import Path
from mtp.data.budget import PIXELS, Shared

log, lock = map(Path, sys.argv[1:])
with Shared(lock, processes=4).hold(PIXELS // 2), log.open("a") as file:
    file.write("in\\n")
    file.flush()
    time.sleep(0.1)
    file.write("out\\n")
"""


def test_large_pictures_are_one_at_a_time_among_processes(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "log"), str(tmp_path / "lock")]
    holders = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [holder.wait() for holder in holders] == [0] * 4
    assert (tmp_path / "log").read_text() == "in\nout\n" * 4


def test_small_pictures_wait_for_nobody(tmp_path):
    with Shared(tmp_path / "lock", processes=4).hold(budget.PIXELS // 4):
        assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_decoding_and_inspection_count(kind, monkeypatch):
    """With room for one picture, eight threads decode one at a time."""
    watch, limit = Watch(), Budget(100 * 80)
    held: list[int] = []

    def hold(pixels: int):
        held.append(pixels)
        return limit.hold(pixels)

    monkeypatch.setattr(images.IN_FLIGHT, "hold", hold)
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80)).save(buffer, kind)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: images.decode(buffer.getvalue(), "a", 10**6), range(20)))
    assert held == [8000] * 20 and watch.now == 0
    images.inspect(buffer.getvalue(), "a", 10**6, hold)
    assert len(held) == 21


PEAK = """
import io, resource
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from mtp.data import images

buffer = io.BytesIO()
Image.new("1", (9000, 9000)).save(buffer, "PNG")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(6) as pool:
    list(pool.map(lambda _: images.decode(buffer.getvalue(), "a", 10**8).shape, range(6)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process' memory is counted in other units")
def test_six_threads_take_the_memory_of_one_large_picture():
    """81 megapixels: 81 MB in Pillow, 243 as RGB."""
    peak = int(subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, check=True).stdout)
    assert peak < 600  # MB; without a budget 1,900
