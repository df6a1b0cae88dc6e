"""Histograms of the scores of genuine and impostor pairs."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skface.plotting._scores import pair_scores, scores_and_threshold
from skface.plotting._style import (
    GENUINE,
    IMPOSTOR,
    axes_and_figure,
    count,
    import_pyplot,
    legend_on_top,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ScoreDistributionDisplay:
    """Histograms of the scores of genuine and impostor pairs, with the threshold.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    bin_edges : ndarray of shape (n_bins + 1,)
        Edges of the bins, ascending. A threshold within the range of the scores is one of them, so
        the bins to its right hold the accepted pairs.
    genuine, impostor : ndarray of shape (n_bins,)
        Number of genuine and of impostor pairs in each bin.
    threshold : float, default=None
        Pairs with ``score >= threshold`` are accepted. None draws no threshold.
    fmr, fnmr : float, default=None
        False match and false non-match rate at the threshold, in [0, 1]. They leave failures out,
        and are NaN if all comparisons of a class failed.
    n_failures : tuple (int, int), default=(0, 0)
        Number of failed comparisons of genuine and of impostor pairs. They are in no bin.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the histograms.
    figure_ : matplotlib Figure
        The figure with the axes.
    genuine_, impostor_ : matplotlib StepPatch
        The two histograms.
    line_ : matplotlib Line2D or None
        The threshold.

    See Also
    --------
    ErrorTradeoffDisplay : FMR and FNMR at all thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.plotting import ScoreDistributionDisplay
    >>> same = np.repeat([0, 1], 500)
    >>> scores = np.random.default_rng(0).normal(2.0 * same, 1.0)
    >>> display = ScoreDistributionDisplay.from_predictions(same, scores, threshold=1.0)
    >>> print(f"{display.fmr:.3f} {display.fnmr:.3f}")
    0.170 0.164
    """

    def __init__(
        self,
        *,
        bin_edges: np.ndarray,
        genuine: np.ndarray,
        impostor: np.ndarray,
        threshold: float | None = None,
        fmr: float | None = None,
        fnmr: float | None = None,
        n_failures: tuple[int, int] = (0, 0),
    ) -> None:
        self.bin_edges = bin_edges
        self.genuine = genuine
        self.impostor = impostor
        self.threshold = threshold
        self.fmr = fmr
        self.fnmr = fnmr
        self.n_failures = n_failures

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        n_bins: int = 50,
        log: bool = False,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the scores and the threshold of a fitted verifier.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline over pairs that ends with :class:`skface.PairVerifier`, or any binary
            classifier with `decision_function` or `predict_proba`. For a PairVerifier, the display
            shows the similarities and `threshold_`; otherwise `decision_function` with threshold 0,
            or `predict_proba` with threshold 0.5.
        X : pairs
            What the estimator takes.
        y : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        n_bins : int, default=50
            Number of bins. There may be one more, to have an edge at the threshold.
        log : bool, default=False
            Whether the vertical axis is logarithmic, which shows rare scores.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : ScoreDistributionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator does not have two classes, or as :meth:`from_predictions`.
        TypeError
            If the estimator gives no scores.
        """
        import_pyplot(cls.__name__)  # fails before the work
        y_score, threshold = scores_and_threshold(estimator, X)
        return cls.from_predictions(y, y_score, threshold=threshold, n_bins=n_bins, log=log, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        threshold: float | None = None,
        n_bins: int = 50,
        log: bool = False,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw given scores.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        y_score : array-like of shape (n_pairs,)
            Similarities; larger = more alike. NaN marks a failed comparison, which the legend
            counts and the histograms leave out.
        threshold : float, default=None
            Pairs with ``score >= threshold`` are accepted. None draws no threshold.
        n_bins : int, default=50
            Number of bins. There may be one more, to have an edge at the threshold.
        log : bool, default=False
            Whether the vertical axis is logarithmic, which shows rare scores.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : ScoreDistributionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, scores are infinite or all NaN, or there are not exactly two classes.
        """
        import_pyplot(cls.__name__)
        check_scalar(n_bins, "n_bins", Integral, min_val=1)
        if threshold is not None:
            check_scalar(threshold, "threshold", Real)
        same, score, failed = pair_scores(y_true, y_score)
        if failed.all():
            raise ValueError(
                f"y_score is NaN for all {len(failed)} pairs, so there is nothing to draw. Find "
                "out why the comparisons failed."
            )
        genuine, impostor = score[same & ~failed], score[~same & ~failed]
        edges = _bin_edges(score[~failed].min(), score[~failed].max(), n_bins, threshold)
        display = cls(
            bin_edges=edges,
            genuine=np.histogram(genuine, edges)[0],
            impostor=np.histogram(impostor, edges)[0],
            threshold=threshold,
            fmr=None if threshold is None else _share(impostor >= threshold),
            fnmr=None if threshold is None else _share(genuine < threshold),
            n_failures=(int(np.sum(same & failed)), int(np.sum(~same & failed))),
        )
        return display.plot(ax=ax, log=log)

    def plot(self, ax: "Axes | None" = None, *, log: bool = False) -> Self:
        """Draw the histograms, in percent of the compared pairs of each class.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.
        log : bool, default=False
            Whether the vertical axis is logarithmic, which shows rare scores.

        Returns
        -------
        display : ScoreDistributionDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        n_genuine, n_impostor = int(self.genuine.sum()), int(self.impostor.sum())
        self.impostor_ = self.ax_.stairs(
            100 * self.impostor / max(n_impostor, 1),
            self.bin_edges,
            fill=True,
            facecolor=IMPOSTOR,
            edgecolor="white",
            hatch="///",
            linewidth=0,
            label=f"{count(n_impostor, 'impostor pair')} (different people)",
        )
        self.genuine_ = self.ax_.stairs(
            100 * self.genuine / max(n_genuine, 1),
            self.bin_edges,
            color=GENUINE,
            linewidth=1.5,
            label=f"{count(n_genuine, 'genuine pair')} (same person)",
        )
        handles: list[Any] = [self.impostor_, self.genuine_]
        self.line_ = None
        if self.threshold is not None:
            self.line_ = self.ax_.axvline(
                self.threshold,
                color="black",
                linestyle="--",
                label=f"threshold {self.threshold:.3g}: {self._rates()}",
            )
            handles.append(self.line_)
        if any(self.n_failures):
            handles += self.ax_.plot([], linestyle="none", label=self._failures())
        if log:
            half_a_pair = 50 / max(n_genuine, n_impostor)
            self.ax_.set_yscale("log")
            self.ax_.set_ylim(bottom=half_a_pair)
        self.ax_.set(xlabel="score (larger = more alike)", ylabel="pairs of each class (%)")
        legend_on_top(self.ax_, handles, self.line_)
        return self

    def _rates(self) -> str:
        """Word FMR and FNMR, those that are defined."""
        rates = (("FMR", self.fmr), ("FNMR", self.fnmr))
        known = [
            f"{name} {percent(rate)}"
            for name, rate in rates
            if rate is not None and not np.isnan(rate)
        ]
        return ", ".join(known)

    def _failures(self) -> str:
        """Word the number of failures, and the rates that count them as rejected."""
        text = (
            f"{count(sum(self.n_failures), 'failure')} left out "
            f"({self.n_failures[0]:,} genuine, {self.n_failures[1]:,} impostor)"
        )
        if self.fmr is None or self.fnmr is None:
            return text
        failed_genuine, failed_impostor = self.n_failures
        accepted = np.nan_to_num(self.fmr) * self.impostor.sum()
        rejected = np.nan_to_num(self.fnmr) * self.genuine.sum() + failed_genuine
        far = accepted / (self.impostor.sum() + failed_impostor)
        frr = rejected / (self.genuine.sum() + failed_genuine)
        return f"{text};\ncounted as rejected: FAR {percent(far)}, FRR {percent(frr)}"


def _bin_edges(low: float, high: float, n_bins: int, threshold: float | None) -> np.ndarray:
    """Divide the range of scores evenly; a threshold within the range is an edge."""
    low, high = float(low), float(high)
    width = (high - low) / n_bins or 1.0 / n_bins
    start = low if threshold is None or not low <= threshold <= high else threshold
    first, last = np.floor((low - start) / width), np.ceil((high - start) / width)
    edges = start + width * np.arange(first, max(last, first + 1) + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # in spite of rounding
    return edges


def _share(flags: np.ndarray) -> float:
    """Return the share of true values; NaN without values."""
    return float(flags.mean()) if len(flags) else float("nan")
