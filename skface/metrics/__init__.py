"""Metrics of face verification: error rates, costs, calibration, intervals, reports and scorers.

All metrics share these conventions:

- A pair is accepted if and only if ``score >= threshold``.
- The larger of the two labels marks genuine pairs (same person), the smaller one impostor pairs.
- A score of NaN marks a failed comparison. It counts as rejected at every threshold, so the rates
  are the false acceptance rate (FAR) and the false rejection rate (FRR).

The false match rate (FMR) and the false non-match rate (FNMR) leave failures out. Without failures
FMR = FAR and FNMR = FRR. To compute FMR and FNMR, drop the pairs with NaN first.
"""

from skface.exceptions import FewImpostorsWarning
from skface.metrics._calibration import calibration_loss, cllr, min_cllr
from skface.metrics._costs import detection_cost, min_detection_cost
from skface.metrics._group_report import group_report
from skface.metrics._intervals import bootstrap_interval, rate_interval
from skface.metrics._rates import (
    EqualErrorRate,
    equal_error_rate,
    far_frr_curve,
    frr_at_far,
    tar_at_far,
    threshold_at_far,
)
from skface.metrics._scorers import (
    cllr_scorer,
    eer_scorer,
    get_scorer,
    min_dcf_scorer,
    tar_at_far_scorer,
)
from skface.metrics._separation import d_prime
from skface.metrics._verification_report import verification_report

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
