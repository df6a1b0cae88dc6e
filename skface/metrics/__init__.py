"""Metrics of face verification: error rates, costs, calibration, intervals, reports and scorers.

One convention throughout: a pair is accepted if and only if ``score >= threshold``, the larger of
the two labels means "same person", and a score of NaN is a comparison that failed. A failure is
never accepted, at any threshold, yet it is counted: the rates here are FAR and FRR. Without
failures they equal FMR and FNMR; to get FMR and FNMR in spite of failures, drop the NaN first.
"""

from skface.metrics._calibration import calibration_loss, cllr, min_cllr
from skface.metrics._costs import detection_cost, min_detection_cost
from skface.metrics._intervals import bootstrap_interval, rate_interval
from skface.metrics._rates import (
    EqualErrorRate,
    FewImpostorsWarning,
    equal_error_rate,
    far_frr_curve,
    frr_at_far,
    tar_at_far,
    threshold_at_far,
)
from skface.metrics._reports import group_report, verification_report
from skface.metrics._scorers import (
    cllr_scorer,
    eer_scorer,
    get_scorer,
    min_dcf_scorer,
    tar_at_far_scorer,
)
from skface.metrics._separation import d_prime

__all__ = [
    "EqualErrorRate",
    "FewImpostorsWarning",
    "bootstrap_interval",
    "calibration_loss",
    "cllr",
    "cllr_scorer",
    "d_prime",
    "detection_cost",
    "eer_scorer",
    "equal_error_rate",
    "far_frr_curve",
    "frr_at_far",
    "get_scorer",
    "group_report",
    "min_cllr",
    "min_dcf_scorer",
    "min_detection_cost",
    "rate_interval",
    "tar_at_far",
    "tar_at_far_scorer",
    "threshold_at_far",
    "verification_report",
]
