"""How often the 95 % intervals hold the true value.  python -m experiments.coverage [--repetitions=400]

Pictures are drawn again and again from populations whose values are known: votes about a latent quality, predictions
that see it through noise, fourteen styles of which a classifier knows something, groups of unequal sizes that share a
part of their quality. Each draw is measured as a table's row is; counted is how often each interval holds the
population's value, which 300,000 other pictures tell. The same for differences between two models of several seeds.
Prints Markdown and keeps it in results/coverage.md. 20 minutes on 2 cores.
"""

import argparse
import dataclasses
import functools
import itertools
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date

import numpy as np
from scipy.special import ndtr
from tqdm import tqdm

from experiments.bench.benchmark import RESULTS, machine
from mtp.evaluation import references
from mtp.evaluation.intervals import seeded_difference
from mtp.evaluation.measure import Evaluation
from mtp.evaluation.metrics import METRICS
from mtp.evaluation.samples import Criteria

RATINGS, RESAMPLES, STYLES = 10, 1000, 14
POPULATION = 300_000
EDGES = np.arange(1.5, RATINGS)  # between the ratings
CRITERIA = Criteria(threshold=5.0, delta=1.0, pkl_floor=1e-7)
POSITIVES = (0, 5, 10, 20, 40, np.inf)  # edges of the classes in which a style's intervals are counted


@dataclasses.dataclass(frozen=True)
class Case:
    """pictures: of a draw; groups: how many they belong to, None for independent pictures."""

    pictures: int
    groups: int | None = None

    @property
    def name(self) -> str:
        among = f" in {self.groups} groups" if self.groups else ""
        return f"{self.pictures} pictures{among}"


CASES = (
    Case(151), Case(1000), Case(2573), Case(1000, 10), Case(1000, 20), Case(1000, 30), Case(1000, 100),
)  # fmt: skip
DIFFERENCES = ((3, 500), (5, 500), (10, 500), (5, 5000))  # seeds, pictures


def of_quality(quality: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Histograms (N, K) of ratings that are normal about these qualities."""
    below = ndtr((EDGES - quality[:, None]) / spread[:, None])
    return np.diff(below, axis=1, prepend=0, append=1)


def draw(case: Case, rng: np.random.Generator) -> tuple[Evaluation, dict]:
    """Truth and predictions of new pictures of the population."""
    n = case.pictures
    groups, shared = None, np.zeros(n)
    if case.groups:
        # groups of very different sizes: themes, photographers, series
        sizes = rng.dirichlet(np.full(case.groups, 1.0))
        member = rng.choice(case.groups, n, p=sizes)
        groups = [f"{number:06d}" for number in member]
        shared = rng.normal(0, 0.6, case.groups)[member]
    quality, spread = 5.4 + shared + rng.normal(0, 0.8, n), rng.uniform(1.2, 1.8, n)
    votes = np.maximum(rng.multinomial(rng.integers(80, 300, n), of_quality(quality, spread)), 0)
    # a group is seen too well or too badly as a whole
    seen = 5.4 + 0.6 * (quality - 5.4) + 0.5 * shared + rng.normal(0, 0.5, n)
    prediction = of_quality(seen, np.full(n, 1.5))
    rates, strength = np.linspace(0.03, 0.15, STYLES), np.linspace(0.4, 1.8, STYLES)
    styles = rng.random((n, STYLES)) < rates
    mean = of_quality(np.array([5.4]), np.array([1.6]))[0]
    evaluation = Evaluation(
        votes=votes, mean_histogram=references.mean_histogram(n, mean),
        vote_noise=references.vote_noise(votes, int(rng.integers(2**31))), criteria=CRITERIA, groups=groups,
        resamples=RESAMPLES, seed=int(rng.integers(2**31)),
    )  # fmt: skip
    outputs = {
        "distribution": prediction,
        "p_high": ndtr(seen - CRITERIA.threshold),
        "styles": styles.astype(float),
        "predicted_styles": rng.normal(size=(n, STYLES)) + strength * styles,
        "style_names": tuple(f"{i:02d}" for i in range(STYLES)),
    }
    return evaluation, outputs


def population(case: Case) -> dict[str, float]:
    """name -> value of a draw that is so large that its error is none; of groups as many times more."""
    groups = case.groups and case.groups * POPULATION // case.pictures
    evaluation, outputs = draw(Case(POPULATION, groups), np.random.default_rng(1))
    cells = dataclasses.replace(evaluation, resamples=0).metrics(**outputs)
    return {name: cell["value"] for name, cell in cells.items()}


def repetition(
    case: Case, true: Mapping[str, float], number: int
) -> tuple[dict[str, bool], list[tuple[int, bool]]]:
    """Whether each metric's interval holds the true value; the same of each style, with its number of positives.

    A metric or style without an interval is left out.
    """
    evaluation, outputs = draw(case, np.random.default_rng([case.pictures, case.groups or 0, number]))
    cells = {name: cell for name, cell in evaluation.metrics(**outputs).items() if cell["low"] is not None}
    holds = {name: bool(cell["low"] <= true[name] <= cell["high"]) for name, cell in cells.items()}
    positives = dict(zip(outputs["style_names"], outputs["styles"].sum(axis=0), strict=True))
    styles = [(int(positives[name]), holds[f"ap_{name}"]) for name in positives if f"ap_{name}" in holds]
    return {name: hold for name, hold in holds.items() if name in METRICS}, styles


def difference(seeds: int, pictures: int, number: int) -> bool:
    """Whether the interval of a difference between two models holds it: 0.02, with runs that differ by 0.01."""
    rng = np.random.default_rng([seeds, pictures, number])
    common = rng.normal(0, 0.1, pictures)
    a, b = (
        common
        + rng.normal(0, 0.01, (seeds, 1))
        + rng.normal(0, 0.1, pictures)
        + rng.normal(0, 0.05, (seeds, pictures))
        for _ in range(2)
    )
    found = seeded_difference(a + 0.02, b, None, RESAMPLES, number)
    return bool(found.low <= 0.02 <= found.high)


def share(holds: list[bool]) -> str:
    """Percent, with twice its standard error."""
    p = np.mean(holds) if holds else np.nan
    return f"{100 * p:.1f} ± {200 * np.sqrt(p * (1 - p) / len(holds)):.1f}" if holds else ""


def page(repetitions: int) -> str:
    """The tables."""
    with ProcessPoolExecutor(2) as pool:
        counted, styles = {}, {}
        for case in CASES:
            work = functools.partial(repetition, case, population(case))
            found = list(
                tqdm(pool.map(work, range(repetitions)), desc=case.name, total=repetitions, disable=None)
            )
            names = [name for name in METRICS if any(name in holds for holds, _ in found)]
            counted[case.name] = {
                name: [holds[name] for holds, _ in found if name in holds] for name in names
            }
            styles[case.name] = [pair for _, pairs in found for pair in pairs]
        differences = {
            (seeds, pictures): list(
                pool.map(functools.partial(difference, seeds, pictures), range(repetitions))
            )
            for seeds, pictures in DIFFERENCES
        }
    head = ["metric", *counted]
    rows = [[name, *(share(of.get(name, [])) for of in counted.values())] for name in METRICS]
    classes = list(itertools.pairwise(POSITIVES))
    of_styles = [
        [
            _between(low, high),
            *(share([held for n, held in pairs if low <= n < high]) for pairs in styles.values()),
        ]
        for low, high in classes
    ]
    seeds = [[str(s), str(n), share(holds)] for (s, n), holds in differences.items()]
    return "\n\n".join(
        [
            "# Coverage of the 95 % intervals",
            f"Made by `python -m experiments.coverage --repetitions={repetitions}`: percent of draws whose "
            "interval holds the population's value, ± two standard errors; see the script for the populations. "
            f"{date.today()}, {machine()}.",
            _grid(head, rows),
            "Average precision of a style, by its number of positives:",
            _grid(["positives", *styles], of_styles),
            "Differences between two models, each of several seeds (`seeded_difference`):",
            _grid(["seeds", "pictures", "covered"], seeds),
        ]
    )  # fmt: skip


def _between(low: float, high: float) -> str:
    return f"{low:.0f} and more" if np.isinf(high) else f"{low:.0f} to {high - 1:.0f}"


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the 95 %% intervals.")
    parser.add_argument("--repetitions", type=int, default=400, help="draws of each population")
    text = page(parser.parse_args().repetitions)
    (RESULTS / "coverage.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
