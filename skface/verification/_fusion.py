"""Fusion: one score out of several scores per pair."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch


def fit_fusion(X: NDArray[Any], genuine: NDArray[np.bool_], weight: NDArray[np.float64]) -> Bunch:
    """Learn a weighted sum of scores: the log-odds of a logistic regression.

    The default penalty of scikit-learn, on standardized scores, keeps the sum finite where the
    classes separate perfectly.

    Parameters
    ----------
    X : ndarray of shape (n_pairs, n_scores)
        Scores without NaN.
    genuine : ndarray of shape (n_pairs,)
        Which pairs are genuine.
    weight : ndarray of shape (n_pairs,)
        How often each pair counts.

    Returns
    -------
    Bunch
        `coef` (n_scores,) and `intercept`, on the scale of X.
    """
    scaler = StandardScaler().fit(X, sample_weight=weight)
    # Newton's method converges to the last digits, so weights and repetitions give one result.
    regression = LogisticRegression(solver="newton-cholesky", tol=1e-8)
    regression.fit(scaler.transform(X), genuine, sample_weight=weight)
    coef = regression.coef_[0] / scaler.scale_
    intercept = float(regression.intercept_[0] - (coef * scaler.mean_).sum())
    return Bunch(coef=coef, intercept=intercept)


def fuse(X: NDArray[Any], fusion: Bunch) -> NDArray[np.float64]:
    """Compute the fused score of each row of X; NaN where a score is NaN."""
    # Not a matrix product: its rounding may depend on the position of the row. Equal rows need
    # equal scores, or else ties are missed.
    return (X * fusion.coef).sum(axis=1) + fusion.intercept
