"""DET curve: FMR against FNMR on normal-deviate axes."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length

from skface.metrics import (
    EqualErrorRate,
    equal_error_rate,
    far_frr_curve,
    threshold_at_far,
)
from skface.plotting._deviate_axes import set_deviate_axes
from skface.plotting._error_curve import is_corner, rate_intervals, spread_evenly
from skface.plotting._scores import pair_scores, scores_and_threshold
from skface.plotting._style import axes_and_figure, count, import_pyplot, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# curves on the same axes differ in color and line style, operating points in shape
_STYLES = (("#00436B", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_MARKERS = "sD^v*P"
_IS_CURVE = "skface error trade-off"  # marks our curves among other lines on the axes


class ErrorTradeoffDisplay:
    """Detection error trade-off (DET) curve with operating points and a confidence band.

    It shows the false match rate (FMR: impostor pairs accepted) against the false non-match rate
    (FNMR: genuine pairs rejected). Both leave failed comparisons out. Both axes have the scale of
    the normal quantile function, so that small rates are readable and normally distributed scores
    give a straight line. Unlike :class:`sklearn.metrics.DetCurveDisplay` it draws the curve as
    steps, with a confidence band.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes, and drawing does not change them.

    Parameters
    ----------
    fmr, fnmr : ndarray of shape (n_points,)
        The corners of the curve by ascending threshold: `fmr` falls from 1 to 0, `fnmr` rises from
        0 to 1.
    equal_error_rate : skface.metrics.EqualErrorRate, default=None
        Where FMR and FNMR are equal, or closest. It was computed without failures, so its `far` is
        the FMR and its `frr` the FNMR.
    operating_points : ndarray of shape (n_operating_points, 3), default=None
        Threshold, FMR and FNMR of the points to mark.
    fmr_interval, fnmr_interval : ndarray of shape (2, n_band), default=None
        Lower and upper ends of the intervals of both rates, at ascending thresholds.
    confidence : float, default=None
        Coverage of the intervals, in (0, 1), for the legend.
    n_failures : int, default=0
        Number of failed comparisons, which both rates leave out.
    name : str, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve. Its coordinates are rates, so ``ax_.plot(0.01, 0.05, "o")`` marks
        FMR 1 % and FNMR 5 %.
    figure_ : matplotlib Figure
        The figure with the axes.
    line_ : matplotlib Line2D
        The curve.
    band_ : matplotlib Polygon or None
        The confidence band.
    points_ : list of matplotlib Line2D
        The equal error rate, then the operating points.

    See Also
    --------
    sklearn.metrics.DetCurveDisplay : The curve alone, with straight lines between thresholds.
    ScoreDistributionDisplay : Histograms of the scores.

    Notes
    -----
    Nothing is interpolated between thresholds. At an FMR between two steps, the curve shows the
    FNMR of the next smaller FMR.

    The band joins the corners of boxes, one per threshold, whose sides are the intervals of the two
    rates. Where it is vertical at the left, or horizontal at the bottom, no error was observed:
    there are too few pairs to measure such small rates.

    References
    ----------
    A. Martin, G. Doddington, T. Kamm, M. Ordowski, M. Przybocki (1997), The DET curve in
    assessment of detection task performance.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.plotting import ErrorTradeoffDisplay
    >>> same = np.repeat([0, 1], 500)
    >>> scores = np.random.default_rng(0).normal(2.0 * same, 1.0)
    >>> display = ErrorTradeoffDisplay.from_predictions(same, scores, far=0.01, name="simulated")
    >>> print(f"EER {display.equal_error_rate.rate:.3f}")
    EER 0.166
    >>> threshold, fmr, fnmr = display.operating_points[0]
    >>> print(f"{threshold:.2f}: FMR {fmr:.3f}, FNMR {fnmr:.3f}")
    2.12: FMR 0.010, FNMR 0.588
    """

    def __init__(
        self,
        *,
        fmr: np.ndarray,
        fnmr: np.ndarray,
        equal_error_rate: EqualErrorRate | None = None,
        operating_points: np.ndarray | None = None,
        fmr_interval: np.ndarray | None = None,
        fnmr_interval: np.ndarray | None = None,
        confidence: float | None = None,
        n_failures: int = 0,
        name: str | None = None,
    ) -> None:
        self.fmr = fmr
        self.fnmr = fnmr
        self.equal_error_rate = equal_error_rate
        self.operating_points = operating_points
        self.fmr_interval = fmr_interval
        self.fnmr_interval = fnmr_interval
        self.confidence = confidence
        self.n_failures = n_failures
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        far: float | ArrayLike = (),
        confidence: float | None = 0.95,
        identities: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        name: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve of a fitted verifier, and mark its threshold.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline over pairs that ends with :class:`skface.PairVerifier`, or any binary
            classifier with `decision_function` or `predict_proba`.
        X : pairs
            What the estimator takes.
        y : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        far : float or array-like of floats, default=()
            Upper limits of the FMR. The smallest threshold that meets each limit is marked.
        confidence : float or None, default=0.95
            Coverage of the intervals that make the band, in (0, 1); None draws no band.
        identities : array-like of shape (n_pairs, 2), default=None
            The two people of each pair. With them the intervals are over people, see
            :func:`skface.metrics.bootstrap_interval`, and never narrower than Clopper-Pearson.
            Without them they are Clopper-Pearson intervals, too narrow if pairs share people.
        random_state : int, RandomState instance or None, default=None
            Draws the people; an int gives the same band each time.
        name : str, default=None
            Name of the curve in the legend. None takes the class of the estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on, which may show other curves already. None creates new axes.
        **kwargs : dict
            Passed to ``ax.plot`` for the curve.

        Returns
        -------
        display : ErrorTradeoffDisplay
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
        return cls.from_predictions(
            y,
            y_score,
            thresholds=threshold,
            far=far,
            confidence=confidence,
            identities=identities,
            random_state=random_state,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        thresholds: float | ArrayLike = (),
        far: float | ArrayLike = (),
        confidence: float | None = 0.95,
        identities: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        name: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curve of given scores.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        y_score : array-like of shape (n_pairs,)
            Similarities; larger = more alike. NaN marks a failed comparison. The legend counts it,
            and both rates leave it out.
        thresholds : float or array-like of floats, default=()
            Thresholds to mark.
        far : float or array-like of floats, default=()
            Upper limits of the FMR. The smallest threshold that meets each limit is marked.
        confidence : float or None, default=0.95
            Coverage of the intervals that make the band, in (0, 1); None draws no band.
        identities : array-like of shape (n_pairs, 2), default=None
            The two people of each pair. With them the intervals are over people, see
            :func:`skface.metrics.bootstrap_interval`, and never narrower than Clopper-Pearson.
            Without them they are Clopper-Pearson intervals, too narrow if pairs share people.
        random_state : int, RandomState instance or None, default=None
            Draws the people; an int gives the same band each time.
        name : str, default=None
            Name of the curve in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on, which may show other curves already. None creates new axes.
        **kwargs : dict
            Passed to ``ax.plot`` for the curve.

        Returns
        -------
        display : ErrorTradeoffDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, scores are infinite, there are not exactly two classes, all
            comparisons of a class failed, or a parameter is out of range.

        Warns
        -----
        FewImpostorsWarning
            If a value of `far` is positive but below 1 / (number of impostor pairs).
        """
        import_pyplot(cls.__name__)
        scores = pair_scores(y_true, y_score)
        check_consistent_length(scores.same, identities)
        same, score = scores.compared()
        fmr, fnmr, at = far_frr_curve(same, score)
        thresholds = _numbers(thresholds, "thresholds")
        budgets = _numbers(far, "far").tolist()
        marked = np.append(
            thresholds, [threshold_at_far(same, score, budget) for budget in budgets]
        )
        # the rates at a threshold are those at the next distinct score
        places = np.searchsorted(at, marked).clip(max=len(at) - 1)
        corner = is_corner(fmr, fnmr)
        band: Any = None, None
        if confidence is not None:
            at_band = at[spread_evenly(fmr, fnmr)]
            people = None if identities is None else np.asarray(identities)[~scores.failed]
            band = rate_intervals(same, score, at_band, confidence, people, random_state)
        display = cls(
            fmr=fmr[corner],
            fnmr=fnmr[corner],
            equal_error_rate=equal_error_rate(same, score),
            operating_points=np.column_stack((marked, fmr[places], fnmr[places])),
            fmr_interval=band[0],
            fnmr_interval=band[1],
            confidence=confidence,
            n_failures=int(scores.failed.sum()),
            name=name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: "Axes | None" = None, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which may show other curves already. None creates new axes.
        name : str, default=None
            Name of the curve in the legend. None takes the attribute `name`.
        **kwargs : dict
            Passed to ``ax.plot`` for the curve.

        Returns
        -------
        display : ErrorTradeoffDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        n_before = sum(line.get_gid() == _IS_CURVE for line in self.ax_.lines)
        set_deviate_axes(self.ax_, self.fmr, self.fnmr, is_first=n_before == 0)
        color, linestyle = _STYLES[n_before % len(_STYLES)]
        style: dict[str, Any] = {"color": color, "linestyle": linestyle, "label": self._label(name)}
        style |= normalize_kwargs(kwargs, Line2D)  # so that "c" is "color"
        # reversed, so that "post" draws the FNMR of the largest FMR below
        (self.line_,) = self.ax_.plot(
            self.fmr[::-1], self.fnmr[::-1], drawstyle="steps-post", gid=_IS_CURVE, **style
        )
        self.band_ = None
        if self.fmr_interval is not None and self.fnmr_interval is not None:
            (self.band_,) = self.ax_.fill(
                np.concatenate((self.fmr_interval[0], self.fmr_interval[1, ::-1])),
                np.concatenate((self.fnmr_interval[0], self.fnmr_interval[1, ::-1])),
                color=self.line_.get_color(),
                alpha=0.2,
                linewidth=0,
                label=self._band_label(),
            )
        self.points_ = self._mark_points(self.line_.get_color())
        self.ax_.legend(loc="best", fontsize="small", framealpha=0.9)
        return self

    def _label(self, name: str | None) -> str:
        """Return the legend entry of the curve."""
        eer = self.equal_error_rate
        if name is None:
            name = self.name
        remarks = [] if eer is None else [f"EER {percent(eer.rate)} (○)"]
        remarks += [f"{count(self.n_failures, 'failure')} left out"] * bool(self.n_failures)
        parts = [] if name is None else [name]
        parts += [", ".join(remarks)] * bool(remarks)
        return ": ".join(parts)

    def _band_label(self) -> str | None:
        """Return the legend entry of the band; None if another band has it already."""
        if self.confidence is None:
            return None
        label = f"{percent(self.confidence)} intervals"
        return None if label in self.ax_.get_legend_handles_labels()[1] else label

    def _mark_points(self, color: Any) -> "list[Line2D]":
        """Mark the equal error rate and the operating points; at the edge if off the axes."""

        def mark(fmr: float, fnmr: float, **style: Any) -> "list[Line2D]":
            x, y = np.clip(fmr, *self.ax_.get_xlim()), np.clip(fnmr, *self.ax_.get_ylim())
            style |= {"linestyle": "none", "color": color, "zorder": 3, "clip_on": False}
            return self.ax_.plot(x, y, **style)

        eer, points = self.equal_error_rate, []
        if eer is not None:
            points += mark(eer.far, eer.frr, marker="o", fillstyle="none")
        operating_points = () if self.operating_points is None else self.operating_points
        for i, (threshold, fmr, fnmr) in enumerate(operating_points):
            label = f"threshold {threshold:.3g}: FMR {percent(fmr)}, FNMR {percent(fnmr)}"
            points += mark(fmr, fnmr, marker=_MARKERS[i % len(_MARKERS)], label=label)
        return points


def _numbers(values: Any, name: str) -> np.ndarray:
    """Check one number or several."""
    return check_array(
        np.atleast_1d(values),
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0,
        input_name=name,
    )
