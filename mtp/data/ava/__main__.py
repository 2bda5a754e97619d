"""python -m mtp.data.ava --source=DIR --data_dir=DIR: an AVA download into records that training reads at random.

The source holds AVA.txt (or another label file, --labels), the lists of the official package as far as they are at
hand, and the pictures in any layout (or elsewhere, --images). Nothing in it is changed. The command shows progress,
goes on where it was ended (Ctrl-C, SIGTERM, a kill), uses all processors, and does nothing where the set is built.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # until signals are heeded: no traceback of what is being imported
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app, flags, logging

from mtp.data.ava import source as ava_source
from mtp.data.ava.build import build, summary
from mtp.data.ava.load import describe, load
from mtp.data.schema import DataError
from mtp.processes import ending
from mtp.processes.lock import LockError
from mtp.processes.signals import Stop


def main(_: Sequence[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    with Stop(lambda: "run the same command to go on"), ending.in_a_line(DataError, LockError):
        run()


def run() -> None:
    """Build, and say what was built. Errors: DataError, LockError, OSError."""
    f = flags.FLAGS
    source = ava_source.read(
        Path(f.source).expanduser(),
        Path(f.labels).expanduser() if f.labels else None,
        Path(f.images).expanduser() if f.images else None,
        f.max_skipped,
        f.means_only,
    )
    folder = build(source, Path(f.data_dir).expanduser(), f.processes or os.cpu_count() or 1)
    print(summary(source, folder))
    if "generic_test" in source.package.lists:
        print(f"split official:\n{describe(load(Path(f.data_dir).expanduser(), enlarge=True))}")


if __name__ == "__main__":
    flags.DEFINE_string(
        "source", None, "Folder of the AVA download; nothing in it is changed.", required=True
    )
    flags.DEFINE_string("data_dir", None, "Folder that gets ava/1.0.0 with the records.", required=True)
    flags.DEFINE_string("labels", "", "Label file of any known shape; default: AVA.txt of the source.")
    flags.DEFINE_string("images", "", "Folder of the pictures; default: anywhere in the source.")
    flags.DEFINE_bool("means_only", False, "The label file has the pictures' mean ratings only.")
    flags.DEFINE_float("max_skipped", 0.001, "Largest share of rows without a usable picture.")
    flags.DEFINE_integer("processes", 0, "Processes that read and write; 0: one a processor.")
    ending.run(lambda: app.run(main))
