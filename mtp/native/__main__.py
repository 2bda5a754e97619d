"""python -m mtp.native: build the kernels for this machine and check them, which run.native=auto does, too."""

from mtp.config import ConfigError
from mtp.native import library
from mtp.processes import ending


def main() -> None:
    """Build, check, and say where they lie."""
    with ending.in_a_line(ConfigError):
        print(f"{library.ensure()}: built, and as the plain path")


if __name__ == "__main__":
    ending.run(main)
