"""python -m mtp.main --config=configs/x.py --workdir=runs/x: train, evaluate the test split, print the table.

Running it again goes on where it was, or prints the table of a finished run. With --mode=evaluate a finished
workdir's checkpoint is evaluated, also on other pictures: --config.data.dir=OTHER --config.eval.split=all. With
--mode=predict --images=FOLDER it predicts pictures that have no votes.

SIGTERM and Ctrl-C save and end with status 143 and 130; a second one ends at once.
"""

import functools
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# jax's C++ side reads it once, when it is imported; its remarks on slow compilation are no news to a user
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if __name__ == "__main__":
    # until signals are heeded: no traceback of what is being imported
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app, flags

from mtp import workdirs
from mtp.commands.evaluate import evaluate, predict
from mtp.commands.train import train
from mtp.config import Config, ConfigError, check, configured, flat, get_config, idle, overrides, read_file
from mtp.data.schema import DataError
from mtp.files import DamagedFileError
from mtp.models.weights import WeightsError
from mtp.options import known
from mtp.processes import ending
from mtp.processes.lock import LockError
from mtp.processes.signals import Stop
from mtp.runtime import settings
from mtp.runtime.checkpoint import CheckpointError
from mtp.runtime.log import LogError
from mtp.training.loop import TrainingError
from mtp.workdirs import UsageError

# what the outside can do wrong; any other error is a bug of ours and shows its traceback
OUTSIDE = (
    ConfigError,
    UsageError,
    DataError,
    DamagedFileError,
    CheckpointError,
    WeightsError,
    TrainingError,
    LockError,
    LogError,
)
CONFIG = flags.DEFINE_string(
    "config",
    None,
    "The experiment's file, FILE.py:PRESET where it has presets; without one the defaults. --config.x.y=VALUE sets an "
    "option.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of this run; made where it does not exist.", required=True
)
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict"],
    "evaluate: only evaluate a finished workdir; predict: pictures without votes.",
)
IMAGES = flags.DEFINE_string("images", None, "predict: folder of the pictures, and of folders of them.")
ALLOW_OVERLAP = flags.DEFINE_bool(
    "allow_overlap", False, "Evaluate on pictures that were trained on all the same."
)


def main(_: Sequence[str], given: Mapping[str, Any]) -> None:
    """given: options of the command line, by dotted name."""
    with Stop(lambda: "run the same command again") as stop, ending.in_a_line(*OUTSIDE):
        run(Path(WORKDIR.value).expanduser(), given, stop)


def run(workdir: Path, given: Mapping[str, Any], stop: Stop) -> None:
    """The command of --mode. Errors: those of `OUTSIDE`, and OSError."""
    if (MODE.value == "predict") != (IMAGES.value is not None):
        raise UsageError("--images=FOLDER goes with --mode=predict, and that needs it")
    workdirs.refuse_file(workdir)
    trains = MODE.value == "train"
    config = chosen(CONFIG.value, given) if trains else workdirs.stored_config(workdir, given)
    say_idle(config, given)
    settings.configure(config)
    match MODE.value:
        case "train":
            train(config, workdir, stop, allow_overlap=ALLOW_OVERLAP.value)
        case "evaluate":
            evaluate(config, workdir, given, allow_overlap=ALLOW_OVERLAP.value)
        case "predict":
            predict(config, workdir, Path(str(IMAGES.value)).expanduser())


def chosen(file: str | None, given: Mapping[str, Any]) -> Config:
    """The configuration of an experiment's file and the command line. Errors: ConfigError naming every error."""
    values = {**flat(read_file(file) if file else get_config()), **given}
    check(values, known())
    return configured(values)


def say_idle(config: Config, given: Mapping[str, Any]) -> None:
    """A line for each option of the command line that has no effect."""
    for note in idle(flat(config), known(), given):
        print(f"note: {note}")


if __name__ == "__main__":
    arguments, options = overrides.split(sys.argv[1:])
    ending.run(lambda: app.run(functools.partial(main, given=options), [sys.argv[0], *arguments]))
