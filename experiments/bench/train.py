"""Training step (forward, loss, backward, AdamW) of trunk and linear head.  python -m experiments.bench.train

Rates are in megapixels of input a second, since PyTorch's network cannot take 224x336 and gets 224x320. `compiled` is
a part of its own, and takes the batches of 8 only: torch.compile needs five minutes for each program.
"""

import sys

from experiments.bench import ours, peers
from experiments.bench.benchmark import Contender, Missing, Row, pairs, rate_row, report, skipped
from experiments.bench.peers import nearest_multiple
from mtp.data.batches.sizes import Shape

CASES = (((224, 224), 8), ((224, 336), 8), ((224, 224), 32), ((224, 336), 32))
PAIRS = {8: 5, 32: 3}


def rows(compiled: bool = False) -> list[Row]:
    name, target = ("PyTorch torch.compile", 1.0) if compiled else ("PyTorch eager, channels-last", 1.5)
    found = []
    for size, batch in CASES[:2] if compiled else CASES:
        theirs = nearest_multiple(size)
        against = name if theirs == size else f"{name}, {theirs[0]}x{theirs[1]}"
        what = f"3. training step {size[0]}x{size[1]}, batch {batch}"
        try:
            with Contender(peers.torch_train, theirs, batch, compiled) as peer:
                found += _against(what, size, batch, against, peer, theirs, target)
        except Missing as error:
            found.append(skipped(what, against, error))
    return found


def _against(
    what: str, size: Shape, batch: int, against: str, peer: Contender, theirs: Shape, target: float
) -> list[Row]:
    found = []
    work, their_work = (batch * h * w / 1e6 for h, w in (size, theirs))
    for path, native in ours.PATHS.items():
        try:
            with Contender(ours.train, size, batch, native) as mine:
                measured = pairs(mine, peer, PAIRS[batch])
        except Missing as error:
            found.append(skipped(f"{what}, {path}", against, error))
            continue
        found.append(rate_row(f"{what}, {path}", against, measured, work, "MP/s", target, their_work))
    return found


if __name__ == "__main__":
    chosen = "compiled" in sys.argv[1:]
    report("train_compiled" if chosen else "train", rows(chosen))
