"""PyTorch on the same card: the peers' networks with channels-last, autocast and torch.compile."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.bench import peers
from experiments.bench.accelerator.card import NUMBERS
from experiments.bench.benchmark import Missing, Run, random_pictures
from experiments.bench.ours import RATINGS
from experiments.bench.peers import nearest_multiple
from mtp.data.batches.sizes import Shape

DEVICES = ("cuda", "cpu")


def _network(backbone: str, numbers: str, device: str) -> Any:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Missing("this torch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = NUMBERS[numbers].tf32
    torch.backends.cudnn.benchmark = True  # its fastest convolutions
    return peers.network(backbone).to(device)


@contextlib.contextmanager
def _autocast(numbers: str, device: str) -> Iterator[None]:
    import torch

    with torch.autocast(device, torch.bfloat16, enabled=NUMBERS[numbers].amp):
        yield


def _on_device(size: Shape, batch: int, device: str) -> Any:
    import torch

    values = np.random.default_rng(0).random((batch, *size, 3), np.float32) * 2 - 1
    return torch.from_numpy(values).to(device).permute(0, 3, 1, 2)


def train(backbone: str, size: Shape, batch: int, numbers: str, compiled: bool, device: str) -> Run:
    """A step of forward, cross-entropy with a distribution, backward, AdamW; gives its loss."""
    import torch

    net, x = _network(backbone, numbers, device).train(), _on_device(size, batch, device)
    truth = np.random.default_rng(0).dirichlet(np.ones(RATINGS), batch).astype(np.float32)
    wanted = torch.from_numpy(truth).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=device == "cuda")
    apply = torch.compile(net) if compiled else net

    def run() -> float:
        optimiser.zero_grad(set_to_none=True)
        with _autocast(numbers, device):
            loss = torch.nn.functional.cross_entropy(apply(x), wanted)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return run


def forward(backbone: str, size: Shape, batch: int, numbers: str, compiled: bool, device: str) -> Run:
    """From a batch on the device to outputs on the host."""
    import torch

    net, x = _network(backbone, numbers, device).eval(), _on_device(size, batch, device)
    apply = torch.compile(net) if compiled else net

    def run() -> np.ndarray:
        with torch.inference_mode(), _autocast(numbers, device):
            return apply(x).float().cpu().numpy()

    return run


def mixed(backbone: str, sizes: np.ndarray, numbers: str, most_pixels: int, device: str) -> Run:
    """Pictures of mixed sizes from uint8 on the host to outputs on it, those of one size in one batch.

    Sizes are the nearest that the network takes. most_pixels: of a batch; 1: every picture alone.
    """
    import torch

    net = _network(backbone, numbers, device).eval()
    groups: dict[Shape, list[np.ndarray]] = defaultdict(list)
    for picture in random_pictures(np.array([nearest_multiple((int(h), int(w))) for h, w in sizes])):
        groups[picture.shape[:2]].append(picture)
    batches = [
        np.stack(pictures[start : start + count])
        for (height, width), pictures in groups.items()
        for count in [max(1, most_pixels // (height * width))]
        for start in range(0, len(pictures), count)
    ]

    def run() -> list[np.ndarray]:
        found = []
        for pictures in batches:
            x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float()
            x = x / 127.5 - 1 if backbone == "mobile" else (x - 127) / 128
            with torch.inference_mode(), _autocast(numbers, device):
                found.append(net(x).float())
        return [one.cpu().numpy() for one in found]

    return run
