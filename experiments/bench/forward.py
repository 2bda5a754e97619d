"""Forward pass at 224x224, batch 8, against every peer.  python -m experiments.bench.forward"""

from experiments.bench import ours, peers
from experiments.bench.benchmark import Contender, Missing, Row, peer_row, report, skipped

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
                found += [
                    peer_row(
                        what, name, mine, build, arguments,
                        count=PAIRS, work=BATCH, unit="pictures/s", at_least=target,
                    )
                    for name, target, build, arguments in PEERS
                ]  # fmt: skip
        except Missing as error:
            found.append(skipped(what, "", error))
    return found


if __name__ == "__main__":
    report("forward", rows())
