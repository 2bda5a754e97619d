"""lite0 with its published weights on pictures of mixed native sizes.  python -m experiments.bench.lite

200 pictures with the sizes of the Vessel photographs, as in `experiments.bench.mixed`, and first that PyTorch's network
gives the same features.
"""

import numpy as np

from experiments.bench import mixed, ours, peers
from experiments.bench.benchmark import Missing, Row, limit_row, random_pictures, report, skipped
from mtp.data.pictures import of_arrays
from mtp.models.weights import IMAGENET

BACKBONE, WEIGHTS = "lite0", {"weights": IMAGENET}
PEERS = (("PyTorch eager, channels-last", "torch", 1.3), ("ONNX Runtime", "onnxruntime", 1.0))
SIZE = (160, 224)


def agreement() -> Row:
    """The largest difference of a feature to PyTorch's, as a share of the largest feature."""
    what = f"8. {BACKBONE}: features beside PyTorch's, plain"
    try:
        import torch
    except ImportError as error:
        return skipped(what, "", error)
    (picture,) = random_pictures(np.array([SIZE]))
    config = ours.trunk_and_linear_head(False, backbone=BACKBONE, **WEIGHTS)
    mine = ours.predictor(config).features(of_arrays([picture]))[0]
    given = torch.from_numpy(np.moveaxis(peers.floats(picture, BACKBONE), 2, 0)[None].copy())
    with torch.inference_mode():
        theirs = peers.network(BACKBONE).features(given)[0].numpy()
    return limit_row(what, float(np.abs(mine - theirs).max() / np.abs(theirs).max()), "of the largest", 1e-4)


def rows() -> list[Row]:
    sizes = mixed.vessel_sizes()
    what = f"8. {BACKBONE}, Vessel sizes, {mixed.PICTURES} pictures"
    if sizes is None:
        return [skipped(what, "", Missing("the Vessel photographs are not here"))]
    return [agreement(), *mixed.speed_rows(what, sizes, BACKBONE, WEIGHTS, PEERS)]


if __name__ == "__main__":
    report("lite", rows())
