"""How uncertain an error rate is."""

from scipy.stats import beta


def rate_interval(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the exact (Clopper-Pearson) interval of an error rate.

    It assumes independent pairs. Pairs that share people are not, so take it as the least
    uncertainty that there is.

    Parameters
    ----------
    k, n : float
        Number of errors and of pairs, ``0 <= k <= n``. Weighted counts need not be whole.
    confidence : float, default=0.95
        Coverage, in (0, 1).

    Returns
    -------
    low, high : float
        Ends of the interval; (0, 1) if `n` is 0, for then nothing is known.

    Raises
    ------
    ValueError
        If ``0 <= k <= n`` or ``0 < confidence < 1`` does not hold.

    Examples
    --------
    >>> from skface.metrics import rate_interval
    >>> low, high = rate_interval(0, 3000, confidence=0.9)  # one-sided: 95 %
    >>> low, round(high, 6)
    (0.0, 0.000998)
    """
    if not 0 <= k <= n:
        raise ValueError(f"k={k!r} errors among n={n!r} pairs: need 0 <= k <= n.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} is not between 0 and 1.")
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, k, n - k + 1) if k > 0 else 0.0
    high = beta.isf(tail, k + 1, n - k) if k < n else 1.0
    return float(low), float(high)
