"""One process at a time: with locks of the kernel's, and on a file system that has none."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from mtp.processes import lock
from mtp.processes.lock import LockError, alone

ROOT = Path(__file__).parents[2]
HOLD = """
import errno, fcntl, sys, time
from pathlib import Path
from mtp.processes import lock
def without(*_):
    raise OSError(errno.ENOLCK, "No locks available")
if sys.argv[2] == "beating":
    fcntl.flock = without
try:
    with lock.alone(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60 if sys.argv[3] == "stay" else 0)
except lock.LockError as error:
    sys.exit(f"error: {error}")
"""
KINDS = pytest.mark.parametrize("kind", ["flock", "beating"])


def holder(path: Path, kind: str, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind, how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def held(path: Path, kind: str):
    """Another process that has the lock."""
    with holder(path, kind, "stay") as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@KINDS
def test_of_two_that_start_at_once_one_goes_on_and_the_other_names_it(kind, tmp_path):
    two = [holder(tmp_path / "LOCK", kind, "stay") for _ in range(2)]
    while all(process.poll() is None for process in two):
        time.sleep(0.01)
    loser, winner = sorted(two, key=lambda process: process.poll() is None)
    said = loser.communicate()[1]
    assert loser.returncode == 1
    assert said.startswith(
        f"error: {tmp_path} is in use by process {winner.pid} on {socket.gethostname()} since 2"
    )
    assert said.endswith("; wait for it, or end it\n") and said.count("\n") == 1
    assert winner.stdout is not None and winner.stdout.readline() == "held\n"
    winner.kill()
    winner.communicate()


@KINDS
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holders_lock_is_taken_over(kind, end, tmp_path):
    with held(tmp_path / "LOCK", kind) as process:
        process.send_signal(end)
        process.wait()
    done = holder(tmp_path / "LOCK", kind, "end")
    assert done.communicate() == ("held\n", "") and done.returncode == 0


@KINDS
def test_who_is_there_can_be_asked_without_taking_the_lock(kind, tmp_path):
    assert lock.holder(tmp_path / "LOCK") is None
    with held(tmp_path / "LOCK", kind) as process:
        before = sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir())
        said = lock.holder(tmp_path / "LOCK")
        assert said is not None and said.startswith(
            f"process {process.pid} on {socket.gethostname()} since 2"
        )
        assert sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir()) == before
        process.kill()
        process.wait()
        assert lock.holder(tmp_path / "LOCK") is None


@KINDS
def test_nothing_is_left_at_the_end(kind, tmp_path):
    assert holder(tmp_path / "LOCK", kind, "end").communicate() == ("held\n", "")
    assert not list(tmp_path.iterdir())


def test_who_waits_goes_on_when_the_other_has_ended(tmp_path, capsys):
    with held(tmp_path / "LOCK", "flock") as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(LockError, match=f"process {process.pid} on"), alone(tmp_path / "LOCK"):
            pytest.fail("two in one place")
        process.kill()
        with alone(tmp_path / "LOCK", wait=True):
            pass
    assert capsys.readouterr().out.count("note: waiting, since") <= 1


def written(path: Path, host: str, pid: int, seconds: float) -> dict[str, object]:
    """The file of a holder that touched it so long ago."""
    there = {"host": host, "pid": pid, "since": "2020-01-01 00:00:00", "command": "x", "token": "t"}
    path.write_text(json.dumps(there))
    os.utime(path, (time.time() - seconds,) * 2)
    return there


@pytest.mark.parametrize(
    ("host", "pid", "seconds", "dead"),
    [
        ("elsewhere", 1, 0, False),
        ("elsewhere", 1, lock.STALE + 5, True),
        (socket.gethostname(), os.getpid(), 0, False),
        (socket.gethostname(), 2**22 + 1, 0, True),
    ],
    ids=["touched", "not touched for long", "runs here", "ran here"],
)
def test_a_holder_without_a_kernels_lock_lives_as_long_as_its_file_is_touched(
    host, pid, seconds, dead, tmp_path
):
    path = tmp_path / "LOCK.held"
    there = written(path, host, pid, seconds)
    if dead:
        release = lock._beating(path)
        assert json.loads(path.read_text())["pid"] == os.getpid()
        release()
        assert not list(tmp_path.iterdir())
    else:
        with pytest.raises(LockError, match=f"process {pid} on {host} since 2020-01-01 00:00:00"):
            lock._beating(path)
        assert json.loads(path.read_text()) == there


def test_of_two_that_remove_a_dead_holders_file_the_second_leaves_the_firsts(tmp_path):
    path = tmp_path / "LOCK.held"
    dead = written(path, "elsewhere", 1, lock.STALE + 5)
    release = lock._beating(path)
    lock._remove_dead(path, dead, "second")
    assert json.loads(path.read_text())["pid"] == os.getpid()
    release()
    assert not list(tmp_path.iterdir())


def test_the_file_is_touched_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    release = lock._beating(tmp_path / "LOCK.held")
    os.utime(tmp_path / "LOCK.held", (0, 0))
    for _ in range(500):
        if (tmp_path / "LOCK.held").stat().st_mtime > 0:
            break
        time.sleep(0.01)
    else:
        pytest.fail("never touched")
    release()


def test_a_file_that_says_nothing_yet_has_a_nameless_holder(tmp_path):
    assert "in use by another process" in lock._in_use(tmp_path / "LOCK")
    (tmp_path / "LOCK").write_text("{")
    assert "in use by another process" in lock._in_use(tmp_path / "LOCK")
