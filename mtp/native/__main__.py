"""python -m mtp.native: build the kernels for this machine, and say where they lie."""

import sys
import time

from mtp.config import ConfigError
from mtp.native.library import build
from mtp.processes import ending


def main() -> None:
    """Build and say where."""
    started = time.perf_counter()
    try:
        path = build()
    except ConfigError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {ending.explained(error)}")
    print(f"{path}, {time.perf_counter() - started:.0f} s; used with --config.run.native=True")


if __name__ == "__main__":
    main()
