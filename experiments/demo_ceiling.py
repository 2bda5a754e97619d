"""Does the demo set need looking at the picture?  python -m experiments.demo_ceiling

Test split, emd_r2 against the mean histogram: ridge regression on coarse features (8x8 thumbnail colours,
width, height, aspect, sharpness) should stay above .85 of it, and the generator's own latent should rank the
pictures' mean ratings with SRCC of at least .9.
"""

import time

import numpy as np
from scipy import ndimage
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from mtp.config import get_config
from mtp.data import images
from mtp.data.demo import generate as demo
from mtp.data.load import load
from mtp.data.schema import Dataset
from mtp.evaluation.distances import emd
from mtp.ratings import histograms, mean_and_std


def coarse_features(dataset: Dataset, index: int) -> np.ndarray:
    """8x8x3 thumbnail colours, width, height, log aspect, sharpness."""
    picture = images.decode(dataset.read(index), dataset.images[index], 10**8)
    height, width = picture.shape[:2]
    sharpness = ndimage.laplace(picture.mean(axis=2)).var()
    thumbnail = images.resize(picture, 8, 8).astype(np.float64).ravel() / 255
    return np.concatenate([thumbnail, [height, width, np.log(height / width), np.log(sharpness + 1)]])


def main() -> None:
    config = get_config()
    config.data.name = "demo"
    start = time.perf_counter()
    dataset = load(config.data)
    print(f"{len(dataset)} pictures, generated or found, and checked in {time.perf_counter() - start:.1f} s")
    truth = histograms(dataset.votes)
    mean, std = mean_and_std(truth)
    train, validation, test = (dataset.indices(s) for s in ("train", "validation", "test"))
    features = np.stack([coarse_features(dataset, i) for i in range(len(dataset))])
    features = (features - features[train].mean(0)) / features[train].std(0)

    def score(model: Ridge, rows: np.ndarray) -> float:
        raw = np.clip(model.predict(features[rows]), 0, None)
        return float(emd(truth[rows], raw / raw.sum(axis=1, keepdims=True), 2).mean())

    models = [Ridge(alpha).fit(features[train], truth[train]) for alpha in 10.0 ** np.arange(-1, 5)]
    best = min(models, key=lambda m: score(m, validation))
    constant = np.tile(truth[train].mean(0), (len(test), 1))
    floor = float(emd(truth[test], constant, 2).mean())
    latent = np.array(dataset.metadata["quality"], float)
    print(f"mean histogram {np.round(truth.mean(0), 3)}")
    print(
        f"image means {mean.mean():.2f} sd {mean.std():.2f}; "
        f"variances p5 p50 p95 {np.percentile(std**2, [5, 50, 95]).round(2)}"
    )
    print(f"emd_r2 of the mean histogram {floor:.4f}")
    print(
        f"emd_r2 of ridge on coarse features  {score(best, test):.4f} = {score(best, test) / floor:.3f} of it"
    )
    print(f"SRCC of the latent quality   {spearmanr(latent[test], mean[test])[0]:.3f}")
    areas = dataset.sizes.prod(axis=1)
    print(
        f"{len(np.unique(dataset.sizes, axis=0))} sizes, areas {areas.min()} to {areas.max()} pixels; "
        f"generator {demo.code_hash()[:12]}"
    )


if __name__ == "__main__":
    main()
