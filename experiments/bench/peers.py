"""The peers: the same NASNet-A Mobile in PyTorch, ONNX Runtime, OpenVINO and Keras. None is needed by mtp.

PyTorch's network is that of the package pretrainedmodels, whose file is read without the package's other imports; its
pool of 7x7 cells becomes a global one, so that other sizes than 224 work. It takes multiples of 32 only.
"""

import functools
import importlib.util
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments.bench.benchmark import CORES, Missing, Run, random_pictures
from experiments.bench.ours import RATINGS
from mtp.config import CACHE
from mtp.data.batches.sizes import Shape

STEP = 32  # pixels


def nearest_multiple(size: Shape) -> Shape:
    """The nearest size that the peers can take; the smaller one where two are as near."""
    height, width = (max(STEP, -(-(2 * side - STEP) // (2 * STEP)) * STEP) for side in size)
    return height, width


def _nasnet_file() -> ModuleType:
    package = importlib.util.find_spec("pretrainedmodels")
    if package is None or not package.submodule_search_locations:
        raise Missing("pretrainedmodels is not installed (requirements-bench.txt)")
    path = Path(package.submodule_search_locations[0]) / "models" / "nasnet_mobile.py"
    spec = importlib.util.spec_from_file_location("nasnet_mobile", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(backbone: str = "mobile") -> Any:
    """With a linear head, channels last; NASNet-A Mobile has random weights, EfficientNet-Lite the published ones."""
    import torch

    torch.set_num_threads(CORES)
    if backbone != "mobile":
        from experiments.bench import torch_lite

        return torch_lite.network(backbone)
    net = _nasnet_file().NASNetAMobile(num_classes=RATINGS)
    net.avg_pool, net.dropout = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Identity()
    return net.to(memory_format=torch.channels_last)


def _tensor(size: Shape, batch: int) -> Any:
    import torch

    values = np.random.default_rng(0).random((batch, *size, 3), np.float32) * 2 - 1
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def torch_forward(size: Shape, batch: int, compiled: bool) -> Run:
    import torch

    net, x = network().eval(), _tensor(size, batch)
    apply = torch.compile(net) if compiled else net

    def run() -> Any:
        with torch.inference_mode():
            return apply(x).numpy()

    return run


def torch_train(size: Shape, batch: int, compiled: bool) -> Run:
    """Forward, cross-entropy with a distribution, backward, AdamW."""
    import torch

    net, x = network().train(), _tensor(size, batch)
    truth = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(RATINGS), batch).astype(np.float32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)
    apply = torch.compile(net) if compiled else net

    def run() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(apply(x), truth)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return run


def onnx_file(backbone: str) -> Path:
    """The network exported once, with free batch, height and width."""
    import torch

    path = CACHE / "bench" / f"{backbone}-torch{torch.__version__}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network(backbone).eval(),
                (torch.zeros(1, 3, 224, 224),),
                partial,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}},
            )
        partial.rename(path)
    return path


def _onnxruntime(batch_size: tuple[int, Shape] | None, backbone: str = "mobile") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    options.log_severity_level = 3
    if batch_size:
        batch, (height, width) = batch_size
        for name, value in (("batch", batch), ("height", height), ("width", width)):
            options.add_free_dimension_override_by_name(name, value)
    session = onnxruntime.InferenceSession(
        str(onnx_file(backbone)), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def _openvino(batch_size: tuple[int, Shape] | None, backbone: str = "mobile") -> Any:
    import openvino

    core = openvino.Core()
    model = core.read_model(onnx_file(backbone))
    if batch_size:
        batch, size = batch_size
        model.reshape([batch, 3, *size])
    options = {
        "INFERENCE_NUM_THREADS": CORES,
        "PERFORMANCE_HINT": "LATENCY",
        # float32 as everybody else here; left alone it computes in bfloat16 where the processor can
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", options)
    return lambda x: compiled(x)[0]


def engine_forward(engine: str, size: Shape, batch: int) -> Run:
    """A fixed shape in ONNX Runtime or OpenVINO."""
    apply = {"onnxruntime": _onnxruntime, "openvino": _openvino}[engine]((batch, size))
    return functools.partial(apply, np.ascontiguousarray(_tensor(size, batch).numpy()))


def keras_forward(size: Shape, batch: int) -> Run:
    """Keras' own NASNetMobile on JAX."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    trunk = keras.applications.NASNetMobile(
        input_shape=(*size, 3),
        include_top=False,
        weights=None,  # pyright: ignore[reportArgumentType]
        pooling="avg",
    )
    model = keras.Sequential([trunk, keras.layers.Dense(RATINGS)])
    x = np.random.default_rng(0).random((batch, *size, 3), np.float32)
    apply = jax.jit(lambda x: model(x, training=False))
    return lambda: np.asarray(apply(x))


def one_by_one(engine: str, sizes: np.ndarray, backbone: str = "mobile") -> Run:
    """Batch 1 at each picture's own size, or the nearest that the network takes: from uint8 to predictions."""
    pictures = random_pictures(np.array([nearest_multiple((int(h), int(w))) for h, w in sizes]))
    apply = (
        _torch_dynamic(backbone)
        if engine == "torch"
        else {"onnxruntime": _onnxruntime, "openvino": _openvino}[engine](None, backbone)
    )

    def run() -> list[Any]:
        return [apply(np.ascontiguousarray(np.moveaxis(floats(p, backbone), 2, 0)[None])) for p in pictures]

    return run


def floats(picture: np.ndarray, backbone: str) -> np.ndarray:
    """A picture's pixels as the network takes them."""
    values = picture.astype(np.float32)
    return values / 127.5 - 1 if backbone == "mobile" else (values - 127) / 128


def _torch_dynamic(backbone: str) -> Any:
    import torch

    net = network(backbone).eval()

    def apply(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return net(torch.from_numpy(x).to(memory_format=torch.channels_last)).numpy()

    return apply
