"""A command that ends with the process that started it: python -m experiments.sweep.tied PARENT COMMAND ...

On Linux the kernel sends SIGTERM, at which a training saves, when the parent has ended, whatever ended it. Elsewhere
the command runs on by itself; the lock of its workdir keeps others away.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # sys/prctl.h; it outlasts execve


def main(parent: int, command: list[str]) -> None:
    """Become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # it may have ended before that line
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
