"""Short runs for tests: pictures with votes, the command line, and a backbone whose programs compile in a moment.

`python -m tests.runs ARGUMENTS` is `python -m mtp.main ARGUMENTS` with one more backbone, named small.
"""

import csv
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from PIL import Image

from mtp.config import CACHE
from mtp.models.backbones import BACKBONES, Backbone, odd_sides
from mtp.models.layers import BatchNorm, ConvNorm, SeparableConv, StemConv
from mtp.models.model import no_published_weights
from mtp.ops.canvas import masked, to_float

ROOT = Path(__file__).parents[1]


class SmallTrunk(nn.Module):
    """NASNet's stem and one separable convolution of stride 2: the last map has a cell for 4 x 4 pixels."""

    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, pixels, sizes, statistics=None):
        conv = StemConv(8, self.dtype, name="stem")
        x = ConvNorm(conv, BatchNorm(8, name="stem_bn"))(pixels, sizes, statistics)
        sizes = conv.out_sizes(sizes)
        conv = SeparableConv(8, 3, stride=2, features=12, dtype=self.dtype, name="conv")
        x = ConvNorm(conv, BatchNorm(12, name="conv_bn"))(x, sizes, statistics)
        sizes = conv.out_sizes(sizes)
        return masked(jax.nn.relu(x), sizes), sizes


SMALL = Backbone(
    module=SmallTrunk, channels=12, stride=4, min_side=32, pixels=to_float, reads=odd_sides,
    load=no_published_weights, origin=lambda weights: {},
)  # fmt: skip


@contextmanager
def small_backbone() -> Iterator[None]:
    """While it lasts, model.backbone can be small."""
    BACKBONES["small"] = SMALL
    try:
        yield
    finally:
        del BACKBONES["small"]


def make_folder(path: Path, pictures: int, seed: int, k: int = 5, styles: bool = True) -> Path:
    """Noise pictures whose votes follow their brightness."""
    rng = np.random.default_rng(seed)
    path.mkdir()
    columns = [f"c{i + 1}" for i in range(k)]
    lines = [",".join(["image", *columns, "style"] if styles else ["image", *columns])]
    for number in range(pictures):
        bright = rng.random()
        size = (48, 64) if number % 3 else (51, 60)
        pixels = rng.normal(255 * bright, 30, (*size, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number:03d}.png")
        votes = rng.multinomial(
            60, np.histogram(rng.normal(1 + (k - 1) * bright, 1, 400).clip(1, k), k)[0] / 400
        )
        style = ["Bright" if bright > 0.5 else "Dark"] if styles else []
        lines.append(",".join([f"{number:03d}.png", *map(str, votes), *style]))
    (path / "votes.csv").write_text("\n".join(lines) + "\n")
    return path


OPTIONS = {
    "input.sizes": "((48,64),)", "input.batch_size": 8, "model.fcn_hidden": 16, "train.epochs": 2.0,
    "train.eval_every_epochs": 1.0, "train.save_every_steps": 3, "eval.size": "native", "eval.canvases": 1,
    "eval.bootstrap": 50, "optim.ema_decay": 0.9, "log.every_steps": 1, "run.native": "off",
    "run.compile_cache": CACHE / "xla-tests",
}  # fmt: skip


def train(workdir: Path, data: Path | None, *options: str, module: str = "tests.runs") -> list[str]:
    """The command that trains for eight steps of eight pictures where `data` has forty."""
    small = {"model.backbone": "small", "log.tensorboard": False} if module == "tests.runs" else {}
    given = [f"--config.{name}={value}" for name, value in {**OPTIONS, **small}.items()]
    folder = [f"--config.data.dir={data}"] if data else []
    return [sys.executable, "-m", module, "--config=configs/votes_scratch.py", f"--workdir={workdir}",
            *given, *folder, *options]  # fmt: skip


def evaluate(workdir: Path, *options: str, module: str = "tests.runs") -> list[str]:
    """The command that evaluates a workdir."""
    return [sys.executable, "-m", module, "--mode=evaluate", f"--workdir={workdir}", *options]


def predict(workdir: Path, images: Path | None, *options: str, module: str = "tests.runs") -> list[str]:
    """The command that predicts the pictures of a folder."""
    folder = [f"--images={images}"] if images else []
    return [sys.executable, "-m", module, "--mode=predict", f"--workdir={workdir}", *folder, *options]


def run(arguments: list[str], *, fails: bool = False) -> str:
    """What a command prints; on stderr where it is to fail."""
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def error_line(arguments: list[str]) -> str:
    """The one line on stderr with which a command fails."""
    (line,) = run(arguments, fails=True).splitlines()
    assert line.startswith("error: ")
    return line


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(rows: list[dict[str, str]], wanted: Callable[[str], Any]) -> np.ndarray:
    """The columns whose names are wanted, a row a picture; NaN for an empty cell."""
    return np.array([[float(v or "nan") for name, v in row.items() if wanted(name)] for row in rows])


if __name__ == "__main__":
    with small_backbone():
        runpy.run_module("mtp.main", run_name="__main__", alter_sys=True)
