"""A signal ends a process in one line with a status of its own; what is held saves first; a second one ends at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtp.processes.signals import Stop

ROOT = Path(__file__).parents[2]
BEGIN = """
import sys, threading, time
from mtp.processes import ending
from mtp.processes.signals import Stop
def main():
    with Stop(lambda: "said last") as stop:
"""
# in the main thread, where Python calls no handler meanwhile
IN_C = "import hashlib; print('go', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
SAVES = """
        with stop.held():
            print("go", flush=True)
            while not stop.received:
                time.sleep(0.01)
            print("saved", flush=True)
        stop.end()
"""
SAVES_FOR_EVER = SAVES.replace('print("saved", flush=True)', "time.sleep(60)")
# as a compilation that cannot be cancelled
THREAD = """
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(1).submit(time.sleep, 60)
"""
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def started(body: str) -> subprocess.Popen[str]:
    code = f"{BEGIN}{body if body.startswith(chr(10)) else '        ' + body}\nending.run(main)"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str], *numbers: int) -> tuple[int, str, str]:
    """Status, stdout and stderr after these signals, once the process has said go."""
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    with process:
        try:
            out, error = process.communicate(timeout=10)
        finally:
            process.kill()
    return process.returncode, out, error


@BOTH
def test_compiled_code_is_ended_in_a_line(number):
    assert told(started(IN_C), number) == (128 + number, "", f"stopped by {number.name}; said last\n")


@BOTH
def test_what_is_held_is_saved_first(number):
    assert told(started(THREAD + SAVES), number) == (
        128 + number,
        "saved\n",
        f"stopped by {number.name}; said last\n",
    )


@BOTH
def test_a_second_one_ends_at_once(number):
    assert told(started(SAVES_FOR_EVER), number, number) == (128 + number, "", "")


@pytest.mark.parametrize(
    ("end", "status", "line"),
    [("sys.exit('error: wrong')", 1, "error: wrong"), ("1 / 0", 1, "ZeroDivisionError: division by zero")],
)
def test_an_error_does_not_wait_for_other_threads(end, status, line):
    process = started(f"{THREAD}        print('go', flush=True); {end}\n")
    code, out, error = told(process)
    assert (code, out, error.splitlines()[-1]) == (status, "", line)
    assert ("Traceback" in error) == end.startswith("1")


def test_output_that_finds_no_reader_is_no_success_and_no_traceback():
    process = started(
        """
        with ending.in_a_line():
            print("go", flush=True)
            sys.stdin.read()
            print("more")
"""
    )
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    assert process.stdout.readline() == "go\n"
    process.stdout.close()
    with process:
        process.stdin.close()
        assert process.wait() == 1
        assert "Traceback" not in process.stderr.read()


def test_handlers_are_put_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    wakeup = signal.set_wakeup_fd(-1)
    with pytest.raises(ValueError, match="ours"), Stop(str):
        raise ValueError("ours")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(wakeup) == -1


def test_a_signal_is_noted_while_it_is_held():
    with Stop(str) as stop, stop.held():
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(500):
            if stop.received:
                break
            time.sleep(0.01)
        assert stop.received is signal.SIGTERM
