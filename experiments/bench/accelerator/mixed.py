"""Pictures of AVA's mixed sizes, from uint8 on the host to predictions on it, beside PyTorch on the same card.

Ours chooses canvases, fills them and runs them; PyTorch takes pictures one by one, and in batches of one size.
"""

from collections.abc import Iterator

from experiments.bench import mixed
from experiments.bench.accelerator import torch_peer
from experiments.bench.accelerator.card import NUMBERS
from experiments.bench.benchmark import Contender, Missing, Row, limit_row, pairs, rate_row, skipped
from mtp.config import get_config

PAIRS = 3
PEERS = {"one by one": 1.5, "in batches of one size": 1.2}


def rows(backbone: str, numbers: str, device: str = "cuda", pictures: int = 200) -> Iterator[Row]:
    sizes, chosen = mixed.ava_like_sizes()[:pictures], NUMBERS[numbers]
    what = f"AVA-like sizes, {backbone}, {numbers}, {len(sizes)} pictures"
    model = {"backbone": backbone, "dtype": chosen.dtype, "precision": chosen.precision}
    with Contender(mixed.on_canvases, sizes, False, model) as mine:
        for name, target in PEERS.items():
            against = f"PyTorch, channels-last, {name}"
            most_pixels = 1 if name == "one by one" else get_config().eval.batch_pixels
            try:
                with Contender(torch_peer.mixed, backbone, sizes, numbers, most_pixels, device) as peer:
                    measured = pairs(mine, peer, PAIRS)
            except Missing as error:
                yield skipped(what, against, error)
                continue
            yield rate_row(what, against, measured, len(sizes), "pictures/s", target)
        yield limit_row(f"{what}: programs", mine.run()[1], "programs", 6)
