"""One report on speed and memory, as docs/performance.md shows it.

    python tests/benchmarks/report.py FOLDER [--out report]

FOLDER holds ``lfw_home`` as scikit-learn lays it out; weights are looked up as usual (set
SKFACE_HOME). It takes about ten minutes, and writes ``report.md`` and ``report.png`` into the
folder that --out names. Nothing else should run on the machine meanwhile. Every section is what a
script of its own prints, which can be run alone with other settings.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import inference_speed
import joblib
from inference_speed import Speed

HERE = Path(__file__).parent
STATEMENTS = ("import sklearn", "import skface", "from skface import PairVerifier, FaceNetEmbedder")


def main() -> None:
    """Write the report and its picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("report"))
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--memory-sizes", type=int, nargs="+", default=[2_000, 50_000])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lfw = str(args.folder / "lfw_home")
    pairs = str(args.pairs)
    sizes = [str(size) for size in args.memory_sizes]

    speeds: list[Speed] = []
    sections = {
        "Embedding": embedding(speeds),
        "From photos to decisions": script("photos_speed.py", lfw, "--n-pairs", pairs),
        "Grid search over 50 thresholds": script(
            "grid_search.py", str(args.folder), "--pairs", pairs
        ),
        "Peak memory of transform on paths": script("memory.py", lfw, "--sizes", *sizes),
        "Imports": imports(),
    }
    with (args.out / "report.md").open("w") as file:
        write(file, f"{machine()}\n")
        for title, lines in sections.items():
            started = time.perf_counter()
            write(file, f"\n## {title}\n\n")
            for line in lines:
                write(file, line)
            print(f"({time.perf_counter() - started:.0f} s)", flush=True)
    draw(speeds, args.out / "report.png")


def write(file, text: str) -> None:
    """Write to the report and to the terminal."""
    print(text, end="", flush=True)
    file.write(text)


def machine() -> str:
    """Name the machine and the versions that matter."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
        has = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
        model = f"{next(iter(found), model)} ({', '.join(has)})"
    versions = []
    for package in ("torch", "openvino", "onnxruntime", "scikit-learn", "numpy"):
        try:
            versions.append(f"{package} {version(package)}")
        except ImportError:
            versions.append(f"no {package}")
    return (
        f"{model}, {joblib.cpu_count()} cores; Python {platform.python_version()}, "
        f"{', '.join(versions)}."
    )


def embedding(speeds: list[Speed]) -> Iterator[str]:
    """Measure every backbone and backend; `speeds` takes the figures."""
    peaks = inference_speed.measure_peaks()
    yield f"{inference_speed.describe(peaks)}\n{inference_speed.HEAD}\n"
    for backbone in inference_speed.image_backbones():
        for speed in inference_speed.measure_backbone(backbone, peaks):
            speeds.append(speed)
            yield f"{inference_speed.as_row(speed)}\n"


def script(name: str, *args: str) -> Iterator[str]:
    """Run a benchmark in a process of its own, and yield what it prints."""
    command = [sys.executable, "-W", "ignore", str(HERE / name), *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from process.stdout
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")


def imports(repeats: int = 5) -> Iterator[str]:
    """Time imports in fresh interpreters."""
    yield "| statement | seconds, median of 5 |\n|---|---|\n"
    for statement in ("pass", *STATEMENTS):
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, env=os.environ)
            seconds.append(time.perf_counter() - started)
        yield f"| `{statement}` | {statistics.median(seconds):.2f} |\n"


def draw(speeds: list[Speed], path: Path) -> None:
    """Draw images per second, and shares of the peak, of every backbone and backend."""
    import matplotlib.pyplot as plt

    speeds = [speed for speed in speeds if speed.images_per_second > 0]  # not NaN
    backbones = list(dict.fromkeys(speed.backbone for speed in speeds))
    backends = list(dict.fromkeys(speed.backend for speed in speeds))
    fig, axes = plt.subplots(1, 2, figsize=(11, 1 + 0.9 * len(backbones)), sharey=True)
    height = 0.8 / len(backends)
    for k, backend in enumerate(backends):
        own = [speed for speed in speeds if speed.backend == backend]
        places = [backbones.index(speed.backbone) + (k + 0.5) * height - 0.4 for speed in own]
        axes[0].barh(places, [speed.ratio_to_eager for speed in own], height, label=backend)
        axes[1].barh(places, [100 * speed.share_of_peak for speed in own], height)
    axes[0].set(
        yticks=range(len(backbones)), yticklabels=backbones, xlabel="images/s, relative to eager"
    )
    axes[0].invert_yaxis()
    axes[1].set(xlabel="% of the FLOP/s of a large matrix product in the same precision")
    fig.legend(loc="upper center", ncols=4, frameon=False)
    fig.tight_layout(rect=(0, 0, 1, 1 - 0.8 / fig.get_figheight()))
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
