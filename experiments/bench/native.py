"""The native kernels beside the plain path.  python -m experiments.bench.native [PART ...]

`layers`: single convolutions of NASNet-A Mobile at 224, batch 8; `others`: its other operations; `inference`: layers
with the batch norm of running statistics; `tiny`, `mobile`: forward pass and training step of the whole model. Plain
and native take turns in one process, and the median of the pairs' ratios counts: what else the machine does then hits
both. Seconds of compilation are those of tracing, lowering and compiling, without any cache. Needs
`python -m mtp.native` first. Prints Markdown; everything takes some minutes on 2 cores.
"""

import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import numpy as np

from experiments.bench import ours
from mtp.config import get_config
from mtp.native import fused, library, operations
from mtp.native.fused import Layer
from mtp.ops import batch_norm, depthwise, pooling
from mtp.ops.batch_norm import Running
from mtp.runtime import settings
from mtp.runtime.settings import compiler_options

# side of the input, channels, window, stride
LAYERS = (
    (111, 32, 7, 2), (56, 11, 7, 1), (56, 22, 5, 2), (28, 44, 3, 1), (28, 44, 5, 1), (28, 88, 7, 2),
    (14, 88, 5, 1), (7, 176, 3, 1), (7, 176, 5, 1),
)  # fmt: skip
# side of the input, channels
OTHERS = {
    "batch norm": ((111, 32), (56, 11), (28, 44), (14, 88), (7, 176)),
    "3x3 sums": ((28, 44), (14, 88), (7, 176)),
    "3x3 sums, stride 2": ((111, 11), (56, 22), (28, 88)),
    "factorised paths": ((111, 32), (56, 44), (28, 264), (14, 528)),
}
# layer, side of the input, its channels, those of the result, window, stride
INFERENCE = (
    ("stem", 224, 3, 32, 3, 2), ("projection", 56, 44, 22, 1, 1), ("projection", 28, 264, 44, 1, 1),
    ("projection", 14, 528, 88, 1, 1), ("projection", 7, 1056, 176, 1, 1), ("separable", 111, 32, 11, 7, 2),
    ("separable", 28, 44, 44, 3, 1), ("separable", 28, 44, 44, 5, 1), ("separable", 14, 88, 88, 5, 1),
    ("separable", 7, 176, 176, 5, 1),
)  # fmt: skip
MODELS = {"tiny": ((80, 120), 16), "mobile": ((224, 224), 8)}  # canvas, batch
BATCH = 8

Run = Callable[[], Any]


def paired(plain: Run, kernel: Run, pairs: int) -> tuple[float, float, float]:
    """Median milliseconds of each, taking turns, and the median of the ratios plain / native."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in (plain, kernel):
        jax.block_until_ready(run())
    for _ in range(pairs):
        for run, taken in zip((plain, kernel), times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run())
            taken.append(1000 * (time.perf_counter() - start))
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), ratio


def compiled(function: Callable, *arguments: Any, **options: Any) -> tuple[Callable, float]:
    """The compiled program and the seconds that it took."""
    start = time.perf_counter()
    program = jax.jit(function, compiler_options=compiler_options(), **options).lower(*arguments).compile()
    return program, time.perf_counter() - start


def layer_programs(convolution: Callable, case: tuple[int, int, int, int]) -> dict[str, Run]:
    """Forward, input gradient and kernel gradient of one layer, each a program of its own."""
    side, channels, window, stride = case
    rng, small = np.random.default_rng(0), -(-side // stride)
    shapes = (BATCH, side, side, channels), (window, window, channels), (BATCH, small, small, channels)
    x, kernel, dy = (jax.device_put(rng.normal(size=shape).astype(np.float32)) for shape in shapes)
    sizes = filling(side)

    def gradient(which: int, *arrays: jax.Array) -> jax.Array:
        x, kernel, dy = arrays
        return jax.vjp(lambda a, b: convolution(a, sizes, b, stride), x, kernel)[1](dy)[which]

    programs = {"forward": lambda x, kernel, dy: convolution(x, sizes, kernel, stride)}
    programs |= {n: functools.partial(gradient, i) for i, n in enumerate(("input grad.", "kernel grad."))}
    return {n: functools.partial(compiled(p, x, kernel, dy)[0], x, kernel, dy) for n, p in programs.items()}


def filling(side: int) -> jax.Array:
    """Sizes of pictures that fill their slots."""
    return jax.numpy.full((BATCH, 2), side)


def normalised(function: batch_norm.Normalised, x: jax.Array, sizes: jax.Array) -> jax.Array:
    """By the batch's statistics."""
    numbers = jax.numpy.ones(x.shape[-1])
    return function(x, sizes, numbers, numbers, Running(numbers, numbers, False), 1e-3)[0]


def operation(name: str, is_native: bool) -> Callable:
    """(x, sizes) -> result."""
    match name:
        case "batch norm":
            function = operations.normalised if is_native else batch_norm.normalised
            return functools.partial(normalised, function)
        case "factorised paths":
            return operations.factorised_paths if is_native else pooling.factorised_paths
        case _:
            function = operations.window_sums if is_native else pooling.window_sums
            stride = 2 if name.endswith("2") else 1
            return lambda x, sizes: function(x, sizes, stride)


def operation_programs(name: str, is_native: bool, side: int, channels: int) -> dict[str, Run]:
    """Forward, and forward with its gradient."""
    shape = BATCH, side, side, channels
    x = jax.device_put(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    apply = functools.partial(operation(name, is_native), sizes=filling(side))

    def gradient(x: jax.Array) -> Any:
        y, pull_back = jax.vjp(apply, x)
        return pull_back(y)

    programs = {"forward": apply, "and gradient": gradient}
    return {n: functools.partial(compiled(p, x)[0], x) for n, p in programs.items()}


def bench_layers() -> None:
    print("\n| input | window, stride | program | plain ms | native ms | plain / native | native GFLOP/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in LAYERS:
        side, channels, window, stride = case
        products = BATCH * (-(-side // stride)) ** 2 * channels * window**2
        plain, kernel = (layer_programs(m.depthwise, case) for m in (depthwise, operations))
        for name in plain:
            before, after, ratio = paired(plain[name], kernel[name], 25)
            print(
                f"| {BATCH}x{side}x{side}x{channels} | {window}, {stride} | {name} | {before:.3f} | {after:.3f} "
                f"| {ratio:.1f} | {2e-6 * products / after:.0f} |",
                flush=True,
            )


def bench_others() -> None:
    print("\n| operation | input | program | plain ms | native ms | plain / native |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, cases in OTHERS.items():
        for side, channels in cases:
            plain, kernel = (
                operation_programs(name, is_native, side, channels) for is_native in (False, True)
            )
            for program in plain:
                before, after, ratio = paired(plain[program], kernel[program], 25)
                print(
                    f"| {name} | {BATCH}x{side}x{side}x{channels} | {program} | {before:.3f} | {after:.3f} "
                    f"| {ratio:.1f} |",
                    flush=True,
                )


def layer_at_inference(is_native: bool, case: tuple[str, int, int, int, int, int]) -> Run:
    """One layer, from its ReLU to its batch norm, as a program."""
    name, side, channels, features, window, stride = case
    rng = np.random.default_rng(0)
    shapes = {
        "x": (BATCH, side, side, channels), "filters": (window, window, channels), "mixing": (channels, features),
        "stem": (3, 3, 3, features), "affine": (2, features),
    }  # fmt: skip
    given = {
        part: jax.device_put(rng.normal(size=shape).astype(np.float32)) for part, shape in shapes.items()
    }

    def layer(x: Any, filters: Any, mixing: Any, stem: Any, affine: Any) -> Any:
        sizes = filling(side)
        match name:
            case "stem":
                return (fused.stem if is_native else fused.plain_stem)(x, sizes, stem, *affine)
            case "projection":
                project = fused.projection if is_native else fused.plain_projection
                return project(x, sizes, mixing, affine[0], affine[1], True)
            case _:
                separable = fused.separable if is_native else fused.plain_separable
                return separable(x, sizes, (Layer(filters, mixing, *affine),), stride)

    return functools.partial(compiled(layer, *given.values())[0], *given.values())


def bench_inference() -> None:
    print(
        "\n| layer | input | result's channels | window, stride | plain ms | native ms | plain / native | GFLOP/s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in INFERENCE:
        name, side, channels, features, window, stride = case
        filters = channels * window**2 if name == "separable" else 0
        products = filters + features * (27 if name == "stem" else channels)
        total = BATCH * (-(-side // stride)) ** 2 * products
        plain, kernel = (layer_at_inference(is_native, case) for is_native in (False, True))
        before, after, ratio = paired(plain, kernel, 25)
        print(
            f"| {name} | {BATCH}x{side}x{side}x{channels} | {features} | {window}, {stride} | {before:.3f} "
            f"| {after:.3f} | {ratio:.1f} | {2e-6 * total / after:.0f} |",
            flush=True,
        )


def model_programs(is_native: bool, backbone: str) -> dict[str, tuple[Run, float]]:
    """Forward pass and training step with their seconds of compilation."""
    size, batch = MODELS[backbone]
    config = get_config()
    config.model.backbone, config.input.batch_size = backbone, batch
    config.run.native = "on" if is_native else "off"
    predictor = ours.predictor(config)
    given = predictor.variables, jax.device_put(ours.batch_of(predictor, size, batch))
    probabilities: Any = predictor.programs.probabilities  # jitted already, with our compiler options
    start = time.perf_counter()
    forward = probabilities.lower(*given).compile()
    seconds = time.perf_counter() - start
    return {
        "forward": (functools.partial(forward, *given), seconds),
        "training step": ours.training(config, size),
    }


def bench_model(backbone: str) -> None:
    (height, width), batch = MODELS[backbone]
    print(f"\n`{backbone}`, {height}x{width}, batch {batch}\n")
    print(
        "| program | plain ms | native ms | plain / native | native pictures/s | compile plain s | native s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kernel, plain = (model_programs(is_native, backbone) for is_native in (True, False))
    for name in plain:
        before, after, ratio = paired(plain[name][0], kernel[name][0], 9)
        print(
            f"| {name} | {before:.0f} | {after:.0f} | {ratio:.2f} | {1000 * batch / after:.1f} "
            f"| {plain[name][1]:.1f} | {kernel[name][1]:.1f} |",
            flush=True,
        )


def main(*parts: str) -> None:
    settings.keep_freed_memory()
    library.load()
    print(f"{date.today()}, {os.cpu_count()} cores, CPU, jax {jax.__version__}, float32", flush=True)
    single = {"layers": bench_layers, "others": bench_others, "inference": bench_inference}
    for part in parts or (*single, *MODELS):
        single[part]() if part in single else bench_model(part)


if __name__ == "__main__":
    main(*sys.argv[1:])
