"""Time and memory of the metrics beside those of ``sklearn.metrics.roc_curve``.

    python tests/benchmarks/metrics_speed.py [n_pairs]

The table, in markdown, has the best time of three runs, and the most memory that was allocated at
one time beside the input (tracemalloc).
"""

import argparse
import time
import tracemalloc

import numpy as np
from sklearn.metrics import roc_curve

from skface.metrics import equal_error_rate, far_frr_curve, min_cllr, tar_at_far

REPEATS = 3


def measure(function):
    """Return the shortest time in seconds, and the peak memory in MB."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(times), peak / 1e6


def main():
    """Print the table for as many genuine as impostor pairs, and for few genuine pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_pairs", nargs="?", type=float, default=1e7)
    n_pairs = int(parser.parse_args().n_pairs)
    print("| genuine pairs | function | seconds | times roc_curve | peak MB |")
    print("|---|---|---|---|---|")
    for share in (0.5, 0.01):
        rng = np.random.default_rng(0)
        y = (rng.random(n_pairs) < share).astype(np.int64)
        score = rng.normal(size=n_pairs) + 2 * y
        functions = {
            "sklearn.metrics.roc_curve": lambda y=y, s=score: roc_curve(y, s),
            "far_frr_curve": lambda y=y, s=score: far_frr_curve(y, s),
            "equal_error_rate": lambda y=y, s=score: equal_error_rate(y, s),
            'equal_error_rate(method="convex_hull")': lambda y=y, s=score: equal_error_rate(
                y, s, method="convex_hull"
            ),
            "tar_at_far": lambda y=y, s=score: tar_at_far(y, s, 1e-3),
            "min_cllr": lambda y=y, s=score: min_cllr(y, s),
        }
        reference = None
        for name, function in functions.items():
            seconds, peak = measure(function)
            reference = reference or seconds
            print(
                f"| {n_pairs * share:,.0f} of {n_pairs:,} | `{name}` | {seconds:.2f} "
                f"| {seconds / reference:.2f} | {peak:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
