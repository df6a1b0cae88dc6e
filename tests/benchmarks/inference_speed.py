"""Speed of embedding, for every backbone and backend, beside eager PyTorch.

    python tests/benchmarks/inference_speed.py [--backbones inception_resnet_v1 ...]

"eager" is the plain module on float32 batches, as published implementations run it; the other rows
are what estimators do with that precision and runtime, from standardized batches to vectors, and
the last one is `transform` on uint8 faces. FLOPs are those of convolutions and matrix products;
their share is of what one large matrix product reaches in the same precision in the same run. The
cosine is the lowest to "eager" of the batch. Weights are random, with statistics of batch
normalization as after training: speed does not depend on them.

Every row is the best of the repetitions, since whatever else runs on the machine only slows it.
"""

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skface import FaceNetEmbedder, make_faces
from skface._utils.digests import digest_arrays
from skface._utils.runtimes import is_installed, thread_share
from skface.embedding._network import build_network, choose_backbone
from skface.inference import Network
from skface.inference._engine import Engine
from skface.inference._probes import compare_vectors
from skface.inference._torch import TorchNetwork
from skface.nn.backbones import BACKBONES

CPU = torch.device("cpu")
DEFAULT_SIZE = (112, 112)


class Speed(NamedTuple):
    """What one backend reaches with a backbone; NaN if it cannot be run."""

    backbone: str
    backend: str
    images_per_second: float
    ratio_to_eager: float
    share_of_peak: float
    cosine: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=image_backbones())
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    peaks = measure_peaks()
    print(describe(peaks))
    print(HEAD)
    for backbone in args.backbones:
        for speed in measure_backbone(backbone, peaks, args.batch_size, args.repeats):
            print(as_row(speed), flush=True)


def image_backbones() -> list[str]:
    """Name the registered backbones that take images."""
    return [name for name, backbone in BACKBONES.items() if not backbone.flat]


def describe(peaks: dict[str, float]) -> str:
    """Name the machine's threads and its peaks."""
    figures = ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items())
    return f"{torch.get_num_threads()} thread(s), matrix products: {figures}\n"


HEAD = (
    "| backbone | backend | images/s | ratio to eager | share of GEMM peak | lowest cosine |\n"
    "|---|---|---|---|---|---|"
)


def as_row(speed: Speed) -> str:
    """Format one row of the table that `HEAD` begins."""
    if np.isnan(speed.images_per_second):
        return f"| {speed.backbone} | {speed.backend} | | | | |"
    return (
        f"| {speed.backbone} | {speed.backend} | {speed.images_per_second:.1f} "
        f"| {speed.ratio_to_eager:.2f} | {speed.share_of_peak:.0%} | {speed.cosine:.6f} |"
    )


def measure_peaks(side: int = 2048) -> dict[str, float]:
    """Return the FLOP/s of a large matrix product in each precision."""
    peaks = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(dtype)
        seconds = best_time(lambda a=a: a @ a, repeats=8)
        peaks[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds
    return peaks


def measure_backbone(
    backbone: str, peaks: dict[str, float], batch_size: int = 64, repeats: int = 3
) -> list[Speed]:
    """Measure every backend of a backbone, "eager" first."""
    network = make_network(backbone)
    faces = make_faces(batch_size, 1, network.input_shape[1], random_state=0).data
    batch = network.inputs(list(faces))
    flops = count_flops(network)
    eager_rate, expected, speeds = None, None, []
    for backend, precision, build in backends(backbone, faces):
        run, problem = prepare(build, batch)
        if problem is not None:
            speeds.append(Speed(backbone, f"{backend}: {problem}", *[np.nan] * 4))
            continue
        vectors = run(batch)
        rate = batch_size / best_time(lambda run=run: run(batch), repeats)
        if eager_rate is None:
            eager_rate, expected = rate, vectors
        speeds.append(
            Speed(
                backbone,
                backend,
                rate,
                rate / eager_rate,
                rate * flops / peaks[precision],
                compare_vectors(expected, vectors).min(),
            )
        )
    return speeds


def prepare(build: Callable, batch: np.ndarray) -> tuple[Callable | None, str | None]:
    """Build and check what runs a backbone; if it cannot, return why instead."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run = build()
            run(batch)
        except torch.onnx.errors.OnnxExporterError as error:
            return None, str(error).partition("[")[0].strip()
    # another backend has taken its place, and has a row of its own
    rejected = [str(w.message) for w in caught if str(w.message).startswith("backbone=")]
    return run, rejected[0] if rejected else None


def backends(backbone: str, faces: np.ndarray) -> list[tuple[str, str, Callable]]:
    """Return the backends of a backbone: name, precision, and what builds what runs a batch."""

    def engine(precision: str, runtime: str) -> Callable:
        return Engine(make_network(backbone), CPU, precision, runtime).run

    def transform(runtime: str) -> Callable:
        embedder = fitted_embedder(backbone, runtime)
        return lambda _: embedder.transform(faces)

    found = [("eager", "float32", lambda: TorchNetwork(make_network(backbone).module, CPU))]
    runtimes = ["torch"] + ["openvino"] * is_installed("openvino")
    found += [
        (f"skface, {runtime} {precision}", precision, partial(engine, precision, runtime))
        for runtime in runtimes
        for precision in ("float32", "bfloat16")
    ]
    if is_installed("onnxruntime") and is_installed("onnx"):
        build = partial(onnxruntime_backend, make_network(backbone))
        found.append(("onnxruntime float32", "float32", build))
    found.append(
        (f"transform, {runtimes[-1]} bfloat16", "bfloat16", partial(transform, runtimes[-1]))
    )
    return found


def make_network(backbone: str) -> Network:
    """Build a backbone with random weights, and statistics that its batch normalization keeps."""
    input_shape = (3, *(BACKBONES[backbone].input_size or DEFAULT_SIZE))
    network = build_network(choose_backbone(backbone, None), input_shape, None)
    generator = torch.Generator().manual_seed(0)
    for part in network.module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return network


def fitted_embedder(backbone: str, runtime: str) -> FaceNetEmbedder:
    """Return a fitted embedder that holds the same network."""
    network = make_network(backbone)
    embedder = FaceNetEmbedder(
        backbone, None, trainable="none", precision="bfloat16", runtime=runtime
    )
    embedder.fit(np.zeros((1, *network.input_shape[1:], 3), dtype=np.uint8))
    embedder.weights_ = network.state()
    embedder.weights_digest_ = digest_arrays(embedder.weights_)
    return embedder


def onnxruntime_backend(network: Network) -> Callable[[np.ndarray], np.ndarray]:
    """Export a network and run it with onnxruntime, on as many threads."""
    import onnxruntime

    file = io.BytesIO()
    with contextlib.redirect_stdout(io.StringIO()):  # of a failure it prints the whole graph
        torch.onnx.export(
            network.module,
            torch.zeros(2, *network.input_shape),
            file,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_share()
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    return lambda batch: session.run(None, {"x": batch})[0]


def count_flops(network: Network) -> int:
    """Count the FLOPs that one face takes in convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.module(torch.zeros(1, *network.input_shape))
    return counter.get_total_flops()


def best_time(run: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
