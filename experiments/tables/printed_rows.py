"""What the paper's Table 1 prints for its shallow learners, next to rows that have seen no picture.

    python -m experiments.tables.printed_rows VOTES

VOTES: a CSV with columns c1..c10 (any AVA-like votes), or AVA.txt itself. Prints Markdown: metrics of constant and
random predictions on all pictures, the printed rows beside them, and what follows.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from mtp.evaluation import metrics, references
from mtp.evaluation.samples import Criteria
from mtp.ratings import histograms

COLUMNS = ("ped", "cheb", "pkl", "cos", "emd")
# Table 1 of the paper; its EMD's exponent is not said
PRINTED = {
    "IIS-LDL": (0.215, 0.154, 0.213, 0.886, 0.132),
    "KNN": (0.172, 0.113, 0.176, 0.918, 0.095),
    "LDSVR": (0.153, 0.100, 0.139, 0.934, 0.083),
    "SVDR": (0.381, 0.294, 0.143, 0.820, 0.126),
    "SANE": (0.127, 0.086, 0.094, 0.958, 0.079),
    "MT-NasNet": (0.118, 0.081, 0.091, 0.963, 0.064),
    "SF-NasNet": (0.116, 0.079, 0.086, 0.966, 0.057),
    "VD-NasNet": (0.123, 0.084, 0.092, 0.959, 0.072),
    "MTP-NasNet": (0.104, 0.071, 0.082, 0.973, 0.048),
}
MEASURED = ("ped", "cheb", "pkl", "pkl_1e-3", "cos", "emd_r1", "emd_r2")
NEIGHBOURS = (5, 10, 12, 15, 20, 200)
CRITERIA = Criteria(threshold=5.0, delta=1.0, pkl_floor=1e-7)  # AVA's
MIXTURE = 0.6  # of the mean histogram, the rest uniform


def read_votes(path: Path) -> np.ndarray:
    """(N, 10) counts. AVA.txt: columns 3 to 12, separated by blanks."""
    text = path.read_text(encoding="utf-8-sig")
    if "c1" not in text.split("\n", 1)[0]:
        return np.array([line.split()[2:12] for line in text.splitlines() if line.strip()], np.int64)
    rows = csv.DictReader(text.splitlines())
    return np.array([[int(row[f"c{k}"]) for k in range(1, 11)] for row in rows], np.int64)


def blind_rows(votes: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Predictions (N, K) that know the votes' statistics and no picture; the last two know each picture's votes."""
    d = histograms(votes)
    mean, n = d.mean(axis=0), len(d)
    constant, uniform = references.mean_histogram(n, mean), references.uniform(*votes.shape)
    random = {f"mean of {k} random pictures": references.random_mean(n, d, k, seed) for k in NEIGHBOURS}
    return {
        "uniform": uniform,
        "mean histogram": constant,
        f"{MIXTURE:.0%} mean histogram, {1 - MIXTURE:.0%} uniform": MIXTURE * constant
        + (1 - MIXTURE) * uniform,
        **random,
        "oracle mean": references.oracle_mean(votes, votes),
        "vote noise": references.vote_noise(votes, seed),
    }


def measured(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Means over the pictures."""
    return {name: float(v.mean()) for name, v in metrics.per_picture(truth, prediction, CRITERIA).items()}


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f"error: one file of votes must be given\n{__doc__}")
    votes = read_votes(Path(sys.argv[1]))
    truth = histograms(votes)
    values = {name: measured(truth, row) for name, row in blind_rows(votes).items()}
    print(
        f"{len(votes)} pictures, {int(votes.sum())} votes, {(votes == 0).mean():.1%} of the bins are empty\n"
    )
    print("| row | " + " | ".join(MEASURED) + " |")
    print("| --- " * (len(MEASURED) + 1) + "|")
    for name, row in values.items():
        print(f"| {name} | " + " | ".join(f"{row[m]:.3f}" for m in MEASURED) + " |")
    for name in ("IIS-LDL", "KNN", "LDSVR", "SVDR"):
        ped, cheb, pkl, cos, emd = PRINTED[name]
        cells = [ped, cheb, None, pkl, cos, None, emd]
        print(f"| printed: {name} | " + " | ".join("" if c is None else f"{c:.3f}" for c in cells) + " |")
    print()
    for finding in findings(values):
        print(f"- {finding}")


def findings(values: dict[str, dict[str, float]]) -> list[str]:
    """What the printed rows can and cannot be, in words with the numbers that say so."""
    uniform, mean = values["uniform"], values["mean histogram"]
    mixture = next(row for name, row in values.items() if name.endswith("uniform") and "mean" in name)
    svdr, iis, knn = (dict(zip(COLUMNS, PRINTED[n], strict=True)) for n in ("SVDR", "IIS-LDL", "KNN"))
    nearest = min(NEIGHBOURS, key=lambda k: abs(values[f"mean of {k} random pictures"]["ped"] - knn["ped"]))
    random = values[f"mean of {nearest} random pictures"]
    bound = 2 * svdr["cheb"] ** 2
    return [
        f"SVDR: PED {svdr['ped']:.3f} and Cheb {svdr['cheb']:.3f} are worse than the uniform distribution's "
        f"{uniform['ped']:.3f} and {uniform['cheb']:.3f}, yet its PKL {svdr['pkl']:.3f} is below kNN's. For "
        f"distributions PKL >= 2 Cheb^2, which is {bound:.3f} here: no normalised predictor in nats has this row.",
        f"IIS-LDL: PED {iis['ped']:.3f}, Cheb {iis['cheb']:.3f}, Cos {iis['cos']:.3f} are worse than the constant mean "
        f"histogram's {mean['ped']:.3f}, {mean['cheb']:.3f}, {mean['cos']:.3f} and close to a mixture with the uniform "
        f"distribution ({mixture['ped']:.3f}, {mixture['cheb']:.3f}, {mixture['cos']:.3f}): what scaling stopped long "
        "before it converges gives, though other causes are possible.",
        f"kNN: PED {knn['ped']:.3f}, Cheb {knn['cheb']:.3f}, Cos {knn['cos']:.3f} are no better than the mean of "
        f"{nearest} random pictures ({random['ped']:.3f}, {random['cheb']:.3f}, {random['cos']:.3f}): neighbours that "
        "say nothing, or very few of them.",
        "So no learner here is tuned towards these rows.",
    ]


if __name__ == "__main__":
    main()
