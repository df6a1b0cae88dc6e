"""False match against false non-match rate, on normal-deviate axes."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from skface.metrics import (
    equal_error_rate,
    far_frr_curve,
    threshold_at_far,
)
from skface.plotting._deviate_axes import set_deviate_axes
from skface.plotting._error_curve import is_corner, rate_intervals, spread_evenly
from skface.plotting._scores import pair_scores, scores_and_threshold
from skface.plotting._style import axes_and_figure, count, import_pyplot, percent

# curves on one axes differ in colour and line style, operating points in shape.
_STYLES = (("#00436B", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_MARKERS = "sD^v*P"
_IS_CURVE = "skface error trade-off"  # mark of our curves among the lines of an axes


class ErrorTradeoffDisplay:
    """Detection error trade-off (DET) curve with operating points and a confidence band.

    It shows which false match rate (FMR: different people accepted) buys which false non-match
    rate (FNMR: the same person rejected). Both axes are stretched by the quantile function of the
    normal distribution, so that small rates can be read and normally distributed scores give a
    straight line. Unlike :class:`sklearn.metrics.DetCurveDisplay` it draws the steps that the
    scores allow, as low as the number of pairs lets it see, and how uncertain the rates are.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes, and drawing changes none of them.

    Parameters
    ----------
    fmr, fnmr : ndarray of shape (n_points,)
        The corners of the curve by rising threshold: `fmr` falls from 1 to 0, `fnmr` rises from 0
        to 1.
    equal_error_rate : skface.metrics.EqualErrorRate, default=None
        Where both rates are equal, or nearly so.
    operating_points : ndarray of shape (n_operating_points, 3), default=None
        Threshold, FMR and FNMR of the points to mark.
    fmr_interval, fnmr_interval : ndarray of shape (2, n_band), default=None
        Lower and upper ends of the intervals of both rates at some thresholds, rising.
    confidence : float, default=None
        Coverage of the intervals, in (0, 1), for the legend.
    n_failures : int, default=0
        Failed pairs, which are in neither rate.
    name : str, default=None
        What the legend calls the curve.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve. Its coordinates are rates, so ``ax_.plot(0.01, 0.05, "o")`` marks
        FMR 1 % and FNMR 5 %.
    figure_ : matplotlib Figure
        The figure of the axes.
    line_ : matplotlib Line2D
        The curve.
    band_ : matplotlib Polygon or None
        The confidence band.
    points_ : list of matplotlib Line2D
        The equal error rate, then the operating points.

    See Also
    --------
    sklearn.metrics.DetCurveDisplay : The bare curve, with straight lines between the thresholds.
    ScoreDistributionDisplay : The scores that the rates come from.

    Notes
    -----
    Between two thresholds nothing is interpolated: at an FMR that no threshold has exactly, the
    curve shows the FNMR of the largest FMR below it.

    The band is made of one box for each threshold, whose sides are the intervals of the two rates.
    Where it becomes a wall, at the left or the bottom, the data end: no error was seen there, and
    rates that small cannot be told from each other.

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
        equal_error_rate: Any = None,
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
        y: Any,
        *,
        far: Any = (),
        confidence: float | None = 0.95,
        identities: Any = None,
        random_state: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "ErrorTradeoffDisplay":
        """Draw the curve of a fitted verifier, and mark where it decides.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline over pairs that ends with :class:`skface.PairVerifier`, or any binary
            classifier with `decision_function` or `predict_proba`.
        X : pairs
            What the estimator takes.
        y : array-like of shape (n_pairs,)
            Labels of two kinds; the larger one means "same person".
        far : float or array-like of floats, default=()
            False match rates not to be exceeded: the loosest threshold for each is marked too.
        confidence : float or None, default=0.95
            Coverage of the intervals that make the band, in (0, 1); None draws no band.
        identities : array-like of shape (n_pairs, 2), default=None
            The two people of each pair. Intervals then are at least as wide as those over people,
            see :func:`skface.metrics.bootstrap_interval`; without, pairs are taken as independent,
            which makes the band too narrow if they share people.
        random_state : int, RandomState instance or None, default=None
            Draws people; pass an int for the same band every time.
        name : str, default=None
            What the legend calls the curve; None takes the class of the estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on, which may have curves already; None makes new ones.
        **kwargs : dict
            Passed to ``ax.plot`` for the curve.

        Returns
        -------
        display : ErrorTradeoffDisplay
            The display, drawn.
        """
        import_pyplot(cls.__name__)  # before the work
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
        y_true: Any,
        y_score: Any,
        *,
        thresholds: Any = (),
        far: Any = (),
        confidence: float | None = 0.95,
        identities: Any = None,
        random_state: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> "ErrorTradeoffDisplay":
        """Draw the curve of given scores.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Labels of two kinds; the larger one means "same person".
        y_score : array-like of shape (n_pairs,)
            Similarities, larger = more alike. NaN is a failed comparison, which is counted in the
            legend and is in neither rate.
        thresholds : float or array-like of floats, default=()
            Thresholds to mark.
        far : float or array-like of floats, default=()
            False match rates not to be exceeded: the loosest threshold for each is marked too.
        confidence : float or None, default=0.95
            Coverage of the intervals that make the band, in (0, 1); None draws no band.
        identities : array-like of shape (n_pairs, 2), default=None
            The two people of each pair. Intervals then are at least as wide as those over people,
            see :func:`skface.metrics.bootstrap_interval`; without, pairs are taken as independent,
            which makes the band too narrow if they share people.
        random_state : int, RandomState instance or None, default=None
            Draws people; pass an int for the same band every time.
        name : str, default=None
            What the legend calls the curve.
        ax : matplotlib Axes, default=None
            Axes to draw on, which may have curves already; None makes new ones.
        **kwargs : dict
            Passed to ``ax.plot`` for the curve.

        Returns
        -------
        display : ErrorTradeoffDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, scores are infinite, there are not two classes, or no pair of a class
            was compared.
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
        # the rates of any threshold are those of the next distinct score
        places = np.searchsorted(at, marked).clip(max=len(at) - 1)
        corner = is_corner(fmr, fnmr)
        band = None, None
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

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> "ErrorTradeoffDisplay":
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which may have curves already; None makes new ones.
        name : str, default=None
            What the legend calls the curve; None takes the attribute `name`.
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
        style = {"color": color, "linestyle": linestyle, "label": self._label(name)}
        style |= normalize_kwargs(kwargs, Line2D)  # so that "c" is "color"
        # reversed, for then "post" holds the rate of the threshold that is still allowed.
        (self.line_,) = self.ax_.plot(
            self.fmr[::-1], self.fnmr[::-1], drawstyle="steps-post", gid=_IS_CURVE, **style
        )
        color = self.line_.get_color()
        self.band_ = None
        if self.fmr_interval is not None:
            (self.band_,) = self.ax_.fill(
                np.concatenate((self.fmr_interval[0], self.fmr_interval[1, ::-1])),
                np.concatenate((self.fnmr_interval[0], self.fnmr_interval[1, ::-1])),
                color=color,
                alpha=0.2,
                linewidth=0,
                label=self._band_label(),
            )
        self.points_ = self._mark_points(color)
        self.ax_.legend(loc="best", fontsize="small", framealpha=0.9)
        return self

    def _label(self, name: str | None) -> str:
        """Word the legend entry of the curve."""
        eer, name = self.equal_error_rate, self.name if name is None else name
        remarks = [] if eer is None else [f"EER {percent(eer.rate)} (○)"]
        remarks += [f"{count(self.n_failures, 'failed pair')} left out"] * bool(self.n_failures)
        parts = [name] * (name is not None) + [", ".join(remarks)] * bool(remarks)
        return ": ".join(parts)

    def _band_label(self) -> str | None:
        """Word the legend entry of the band, which the bands of all curves share."""
        if self.confidence is None:
            return None
        label = f"{percent(self.confidence)} intervals"
        return None if label in self.ax_.get_legend_handles_labels()[1] else label

    def _mark_points(self, color: Any) -> list:
        """Mark the equal error rate and the operating points, those off the axes at their edge."""

        def mark(fmr, fnmr, **style):
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
