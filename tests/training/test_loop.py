"""The loop's parts that need no run; runs are in test_main.py."""

import os
import signal

from mtp.training.loop import StopSignal


def test_sigterm_is_noted_while_training_and_afterwards_does_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received
    stop.close()
    assert signal.getsignal(signal.SIGTERM) is before
