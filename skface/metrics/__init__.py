"""Metrics of face verification: error rates, costs, calibration, intervals, reports and scorers.

One convention throughout: a pair is accepted if and only if ``score >= threshold``, the larger of
the two labels means "same person", and a score of NaN is a comparison that failed. A failure is
never accepted, at any threshold, yet it is counted: the rates here are FAR and FRR. Without
failures they equal FMR and FNMR; to get FMR and FNMR in spite of failures, drop the NaN first.
"""

from skface.metrics._intervals import rate_interval
from skface.metrics._rates import (
    EqualErrorRate,
    equal_error_rate,
    far_frr_curve,
    tar_at_far,
    threshold_at_far,
)

__all__ = [
    "EqualErrorRate",
    "equal_error_rate",
    "far_frr_curve",
    "rate_interval",
    "tar_at_far",
    "threshold_at_far",
]
