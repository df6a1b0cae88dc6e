"""Error rates with their intervals, and counts of pairs, for the reports."""

from typing import Any, NamedTuple

import numpy as np

from skface.metrics._intervals import bootstrap_interval, rate_interval


class Rate(NamedTuple):
    """A rate: the pairs that are errors, among the pairs that count."""

    errors: np.ndarray
    pairs: np.ndarray

    def value(self, weight: np.ndarray) -> float:
        total = weight[self.pairs].sum()
        return float(weight[self.errors].sum() / total) if total else np.nan


def count_pairs(
    same: np.ndarray, score: np.ndarray, people: np.ndarray | None
) -> dict[str, int | None]:
    """Count people, pairs and failures."""
    failed = np.isnan(score)
    return {
        "n_people": None if people is None else len(np.unique(people)),
        "n_genuine": int(np.count_nonzero(same)),
        "n_impostor": int(np.count_nonzero(~same)),
        "n_failed_genuine": int(np.count_nonzero(same & failed)),
        "n_failed_impostor": int(np.count_nonzero(~same & failed)),
    }


def far_and_frr(same: np.ndarray, score: np.ndarray, threshold: float) -> tuple[Rate, Rate]:
    """Return FAR and FRR at a threshold, which count failures as rejected."""
    accepted = score >= threshold  # false for NaN
    return Rate(~same & accepted, ~same), Rate(same & ~accepted, same)


def fmr_and_fnmr(
    same: np.ndarray, score: np.ndarray, threshold: float, rows: Any = True
) -> tuple[Rate, Rate]:
    """Return FMR and FNMR of `rows` at a threshold, which leave failures out."""
    accepted, compared = score >= threshold, rows & ~np.isnan(score)
    genuine, impostor = same & compared, ~same & compared
    return Rate(impostor & accepted, impostor), Rate(genuine & ~accepted, genuine)


def estimate_rates(
    rates: list[Rate], same: np.ndarray, identities: Any, *, confidence: float, **bootstrap: Any
) -> list[tuple[float, tuple[float, float]]]:
    """Return every rate with its interval: over people if `identities` are given."""
    once = np.ones(len(same))
    values = [rate.value(once) for rate in rates]
    exact = [
        rate_interval(np.count_nonzero(rate.errors), np.count_nonzero(rate.pairs), confidence)
        for rate in rates
    ]
    if identities is None or not rates:
        return list(zip(values, exact, strict=True))

    def all_rates(y_true: Any, y_score: Any, sample_weight: np.ndarray) -> list[float]:
        return [rate.value(sample_weight) for rate in rates]

    low, high = bootstrap_interval(
        all_rates, same, once, identities, confidence=confidence, **bootstrap
    )
    # fmin and fmax ignore the NaN of a rate that no resample has
    low = np.fmin(low, [exact_low for exact_low, _ in exact])
    high = np.fmax(high, [exact_high for _, exact_high in exact])
    return list(zip(values, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def flatten(**estimates: tuple[float, tuple[float, float]]) -> dict[str, Any]:
    """Give each rate and each interval a key of its own."""
    flat: dict[str, Any] = {}
    for name, (value, interval) in estimates.items():
        flat |= {name: value, f"{name}_interval": interval}
    return flat
