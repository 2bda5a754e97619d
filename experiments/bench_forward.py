"""Forward pass at 224x224, batch 8, against every peer.  python -m experiments.bench_forward"""

from typing import Any

from experiments import ours, peers
from experiments.benchmark import Contender, Missing, Row, pairs, rate_row, report, skipped

SIZE, BATCH, PAIRS = (224, 224), 8, 9
PEERS = (
    ("PyTorch eager, channels-last", 1.3, peers.torch_forward, (SIZE, BATCH, False)),
    ("PyTorch torch.compile", 1.3, peers.torch_forward, (SIZE, BATCH, True)),
    ("ONNX Runtime", 1.3, peers.engine_forward, ("onnxruntime", SIZE, BATCH)),
    ("OpenVINO", 1.0, peers.engine_forward, ("openvino", SIZE, BATCH)),
    ("Keras on JAX", 1.3, peers.keras_forward, (SIZE, BATCH)),
)


def rows() -> list[Row]:
    found = []
    for path, native in ours.PATHS.items():
        what = f"1. forward {SIZE[0]}x{SIZE[1]}, batch {BATCH}, {path}"
        try:
            with Contender(ours.forward, SIZE, BATCH, native) as mine:
                found += [_against(what, mine, *peer) for peer in PEERS]
        except Missing as error:
            found.append(skipped(what, "", error))
    return found


def _against(what: str, mine: Contender, name: str, target: float, build: Any, arguments: tuple) -> Row:
    try:
        with Contender(build, *arguments) as peer:
            return rate_row(what, name, pairs(mine, peer, PAIRS), BATCH, "pictures/s", target)
    except Missing as error:
        return skipped(what, name, error)


if __name__ == "__main__":
    report("forward", rows())
