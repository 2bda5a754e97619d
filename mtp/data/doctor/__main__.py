"""python -m mtp.data.doctor DATASET: what is wrong with a data set, and what to do about it.

DATASET: a folder of pictures with votes.csv, a download of AVA, or a built AVA set. Prints a report and writes it
as doctor.html and doctor.json. With --fix it also writes excluded.csv, which everything that loads the data set
honours; files that are there stay as they are. Looking goes on where it was killed, and looks again only at files
that changed. Exit status: 0: nothing affects training; 1: something does; 2: it could not be examined.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtp import files
from mtp.config import ConfigError, get_config
from mtp.data import exclusions
from mtp.data.doctor import ava, listing, page, pictures, report
from mtp.data.doctor.diagnosis import Diagnosis, diagnose
from mtp.data.doctor.listing import Listing
from mtp.data.schema import DataError
from mtp.processes import ending

DEFAULTS: dict[str, Any] = get_config().to_dict()["data"]


def main(arguments: Sequence[str]) -> int:
    """The exit status. Errors: DataError, ConfigError, OSError where the data set cannot be examined."""
    options = _parser().parse_args(arguments)
    subject = find(options.dataset.expanduser(), options.csv, options.group, options.split)
    out = options.out.expanduser() if options.out else Path("runs") / f"doctor-{subject.name}"
    diagnosis = examine(subject, out, options.min_raters)
    print(report.terminal(diagnosis))
    files.write_json(out / "doctor.json", report.content(diagnosis))
    files.write_text(out / "doctor.html", page.render(diagnosis, DEFAULTS["max_decode_pixels"]))
    print(f"\ndoctor.html and doctor.json lie in {out}")
    if options.fix:
        left_out = diagnosis.exclusions()
        if left_out:
            path = exclusions.write(subject.folder, left_out | dict(subject.excluded))
            print(f"{len(left_out)} pictures added to {path}; nothing else was changed")
        return int(any(fault.kind.affects_training for fault in diagnosis.remaining(left_out)))
    return int(diagnosis.affects_training)


def find(dataset: Path, csv: str, group: str, split: str) -> Listing:
    """The data set that lies in a folder, by what the folder holds. Errors: DataError."""
    if (dataset / csv).is_file():
        return listing.votes_folder(dataset, csv, group)
    found = ava.source(dataset, split) or ava.built(dataset, split)
    if found is None:
        raise DataError(
            f"{dataset} must be a folder with {csv}, an AVA download with AVA.txt, or a set that "
            f"python -m mtp.data.ava built; it holds none of them"
        )
    return found


def examine(subject: Listing, out: Path, min_raters: int) -> Diagnosis:
    """Looks at every picture, as far as `out` does not know it yet, and draws the conclusions."""
    out.mkdir(parents=True, exist_ok=True)
    journal = pictures.Journal(out / "pictures.sqlite")
    try:
        pictures.scan(subject, journal, DEFAULTS["max_decode_pixels"], threads=2 * (os.cpu_count() or 1))
        return diagnose(subject, journal, min_raters)
    finally:
        journal.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mtp.data.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument(
        "--out", type=Path, help="folder of the report and of what was seen; runs/doctor-NAME"
    )
    parser.add_argument("--fix", action="store_true", help="write excluded.csv into DATASET")
    parser.add_argument("--min_raters", type=int, default=10, help="fewer are noted (%(default)s)")
    parser.add_argument("--csv", default=DEFAULTS["csv"], help="label file of a votes folder (%(default)s)")
    parser.add_argument("--group", default=DEFAULTS["group"], help="its column of groups (%(default)s)")
    parser.add_argument("--split", default="official", help="named split of AVA (%(default)s)")
    return parser


if __name__ == "__main__":
    ending.print_anything()
    try:
        status = main(sys.argv[1:])
    except (ConfigError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except sqlite3.Error as error:
        print(f"error: pictures.sqlite of --out cannot be used ({error}); remove it", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        status = 130
    sys.exit(status)
