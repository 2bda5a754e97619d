"""The diagnosis for the terminal and as JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mtp.data import faults
from mtp.data.doctor.diagnosis import Diagnosis
from mtp.data.schema import SPLITS
from mtp.names import shown

SHOWN = 3  # faults of a kind on the terminal
BAR = 40  # characters of the longest bar
SIZES = 8  # most frequent sizes that are named
ASPECTS = (0, 0.5, 0.6, 0.7, 0.8, 0.95, 1.05, 1.25, 1.4, 1.6, 2, np.inf)  # width / height
HEADINGS = {
    faults.STOPS: "Training stops at these",
    faults.HARMS: "Training would run, but its numbers would be wrong",
    faults.NOTE: "Good to know",
}


def terminal(diagnosis: Diagnosis) -> str:
    """Counts, the first few of each fault and what to do, sizes, the verdict."""
    lines = [f"{diagnosis.listing.name}: {summary(diagnosis)}", *diagnosis.listing.remarks]
    for severity, heading in HEADINGS.items():
        kinds = [(kind, found) for kind, found in diagnosis.by_kind() if kind.severity == severity]
        if kinds:
            lines += ["", heading]
            for kind, found in kinds:
                lines += [f"  {kind.name}: {len(found)}  ({kind.text})"]
                lines += [f"      {fault.image}  {fault}".rstrip() for fault in found[:SHOWN]]
                lines += [f"      and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
                lines += [f"    do: {kind.fix}"]
    if len(diagnosis.sizes):
        lines += ["", "Aspect ratios (width / height)", *_bars(aspects(diagnosis.sizes))]
        common, others = sizes(diagnosis.sizes)
        lines += ["", "Sizes (width x height in pixels)", *_bars(common)]
        lines += [f"  {others}"] if others else []
    return "\n".join(map(shown, [*lines, "", verdict(diagnosis)]))


def summary(diagnosis: Diagnosis) -> str:
    """One line: what was looked at."""
    listing = diagnosis.listing
    counts = ", ".join(f"{listing.splits.count(split)} {split}" for split in SPLITS)
    text = f"{listing.form}, {len(listing.images)} pictures ({counts}), ratings 1..{listing.votes.shape[1]}"
    return f"{text}, {len(listing.excluded)} left out by excluded.csv" if listing.excluded else text


def verdict(diagnosis: Diagnosis) -> str:
    """One or two sentences: whether it can be trained on, and what fixes it."""
    wrong = [fault for fault in diagnosis.faults if fault.kind.affects_training]
    if not wrong:
        return "Nothing here affects training."
    left = diagnosis.exclusions()
    stay = sum(not fault.kind.exclude or not fault.image for fault in wrong)
    text = f"{len(wrong)} fault{'s' * (len(wrong) != 1)} affecting training."
    if left:
        text += f" Fix, or run again with --fix to leave {len(left)} picture{'s' * (len(left) != 1)} out."
    return f"{text} {stay} cannot be fixed by leaving pictures out." if stay else text


def aspects(shapes: np.ndarray) -> list[tuple[str, int]]:
    """Width / height in classes: (label, pictures); shapes: (M, 2) height and width."""
    counts = np.histogram(shapes[:, 1] / shapes[:, 0], ASPECTS)[0]
    between = [f"{a:g} to {b:g}" for a, b in pairwise(ASPECTS[1:-1])]
    labels = [f"under {ASPECTS[1]:g}", *between, f"{ASPECTS[-2]:g} and more"]
    return list(zip(labels, map(int, counts), strict=True))


def sizes(shapes: np.ndarray) -> tuple[list[tuple[str, int]], str]:
    """The most frequent sizes: (label, pictures); and what is said of the others."""
    count = Counter((int(width), int(height)) for height, width in shapes)
    rows = [(f"{width}x{height}", n) for (width, height), n in count.most_common(SIZES)]
    rest = len(count) - len(rows)
    others = f"and {rest} other sizes, {len(shapes) - sum(n for _, n in rows)} pictures" if rest else ""
    return rows, others


def _bars(rows: Sequence[tuple[str, int]]) -> Iterator[str]:
    most = max(n for _, n in rows)
    wide = max(len(label) for label, _ in rows)
    for label, n in rows:
        yield f"  {label.rjust(wide)} {str(n).rjust(len(str(most)))} {'█' * round(BAR * n / most)}".rstrip()


def content(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything, for doctor.json: every fault by name, sizes and aspect ratios in full."""
    listing = diagnosis.listing
    count = Counter((int(width), int(height)) for height, width in diagnosis.sizes)
    return {
        "name": listing.name,
        "form": listing.form,
        "pictures": len(listing.images),
        "decodable": len(diagnosis.sizes),
        "splits": {split: listing.splits.count(split) for split in SPLITS},
        "ratings": listing.votes.shape[1],
        "excluded": dict(listing.excluded),
        "remarks": list(listing.remarks),
        "affects_training": diagnosis.affects_training,
        "faults": [
            {
                "kind": kind.name, "severity": kind.severity, "text": kind.text, "fix": kind.fix,
                "count": len(found),
                "found": [
                    {"image": f.image, "place": f.place, "detail": f.detail, "others": list(f.others)} for f in found
                ],
            }
            for kind, found in diagnosis.by_kind()
        ],
        "sizes": [{"width": w, "height": h, "pictures": n} for (w, h), n in count.most_common()],
        "aspects": [{"aspect": label, "pictures": n} for label, n in aspects(diagnosis.sizes)],
    }  # fmt: skip
