"""Workers end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys, time
from mtp.processes import workers
if __name__ == "__main__":
    with workers.pool(2) as pool:
        pids = [pool.submit(os.getpid).result() for _ in range(8)]
        sleeps = [pool.submit(time.sleep, 60) for _ in range(4)]
        print(*pids, flush=True)
        sleeps[0].result()
"""


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", ["killed", "interrupted with all"])
def test_workers_end_by_themselves_and_say_nothing(how):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        pids = {int(pid) for pid in process.stdout.readline().split()}
        assert pids and all(map(runs, pids))
        if how != "killed":
            # as a terminal does; the workers leave it to their parent
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
            assert all(map(runs, pids))
        process.kill()
        for _ in range(500):
            if not any(map(runs, pids)):
                break
            time.sleep(0.01)
        assert not any(map(runs, pids))
        said = process.stderr.read()
    # at most the parent's own traceback: it heeds no signals here
    assert said == "" if how == "killed" else said.count("Traceback (most recent call last)") <= 2
