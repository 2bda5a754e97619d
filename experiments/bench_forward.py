"""Forward pass at 224x224, batch 8, against every peer.  python -m experiments.bench_forward"""

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
    what, found = f"1. forward {SIZE[0]}x{SIZE[1]}, batch {BATCH}", []
    with Contender(ours.forward, SIZE, BATCH) as mine:
        for name, target, build, arguments in PEERS:
            try:
                with Contender(build, *arguments) as peer:
                    measured = pairs(mine, peer, PAIRS)
            except Missing as error:
                found.append(skipped(what, name, error))
                continue
            found.append(rate_row(what, name, measured, BATCH, "pictures/s", target))
    return found


if __name__ == "__main__":
    report("forward", rows())
