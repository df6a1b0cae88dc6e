"""Cumulative proportions of log-likelihood ratios."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skface.metrics import cllr, far_frr_curve, min_cllr
from skface.plotting._scores import classifier_and_rows, pair_scores
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

_N_STEPS = 5000  # drawn at most; the steps of more would be smaller than a pixel


class TippettDisplay:
    """Tippett plot: cumulative distributions of the likelihood ratios of both classes.

    For each likelihood ratio it shows the share of genuine pairs with a smaller ratio, and the
    share of impostor pairs with at least this ratio. The evidence of a genuine pair is misleading
    if its ratio is below 1, that of an impostor pair if its ratio is 1 or more. Shares leave failed
    comparisons out.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    log_likelihood_ratios : ndarray of shape (n_steps,)
        Natural logarithms of likelihood ratios, ascending.
    genuine_below : ndarray of shape (n_steps,)
        Share of the genuine pairs with a smaller ratio, in [0, 1].
    impostor_reaching : ndarray of shape (n_steps,)
        Share of the impostor pairs with at least this ratio, in [0, 1].
    misleading : tuple (float, float)
        Share of the genuine pairs with a ratio below 1, and of the impostor pairs with 1 or more.
    cllr, min_cllr : float, default=None
        Cost of the ratios, and the cost after the best recalibration, in bits per pair; see
        :func:`skface.metrics.cllr`. Failures cost one bit.
    n_failures : int, default=0
        Number of failed comparisons, which both shares leave out.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves. x is the decimal logarithm of the likelihood ratio.
    figure_ : matplotlib Figure
        The figure with the axes.
    genuine_, impostor_, line_ : matplotlib Line2D
        The two curves, and the line at a ratio of 1.

    See Also
    --------
    skface.PairVerifier.log_likelihood_ratio : Computes the ratios.
    sklearn.calibration.CalibrationDisplay : Calibration of the probabilities of any classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.plotting import TippettDisplay
    >>> same = np.repeat([0, 1], 500)
    >>> scores = np.random.default_rng(0).normal(2.0 * same, 1.0)
    >>> display = TippettDisplay.from_predictions(same, 2 * scores - 2)
    >>> print(np.round(display.misleading, 3))
    [0.164 0.17 ]
    """

    def __init__(
        self,
        *,
        log_likelihood_ratios: np.ndarray,
        genuine_below: np.ndarray,
        impostor_reaching: np.ndarray,
        misleading: tuple[float, float],
        cllr: float | None = None,
        min_cllr: float | None = None,
        n_failures: int = 0,
    ) -> None:
        self.log_likelihood_ratios = log_likelihood_ratios
        self.genuine_below = genuine_below
        self.impostor_reaching = impostor_reaching
        self.misleading = misleading
        self.cllr = cllr
        self.min_cllr = min_cllr
        self.n_failures = n_failures

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, ax: "Axes | None" = None
    ) -> Self:
        """Draw the likelihood ratios of a fitted verifier.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`skface.PairVerifier`, or a pipeline that ends with one. For another
            classifier use :meth:`from_predictions`: its log-likelihood ratio is the logit of its
            probability minus the logit of the share of genuine pairs in training.
        X : pairs
            What the estimator takes.
        y : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : TippettDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator gives no likelihood ratios.
        ValueError
            As :meth:`from_predictions`.
        """
        import_pyplot(cls.__name__)  # fails before the work
        verifier, X = classifier_and_rows(estimator, X)
        if not hasattr(verifier, "log_likelihood_ratio"):
            raise TypeError(
                f"estimator={type(verifier).__name__} gives no log_likelihood_ratio. End the "
                "pipeline with PairVerifier (calibration not None), or pass log-likelihood ratios "
                "to from_predictions."
            )
        return cls.from_predictions(y, verifier.log_likelihood_ratio(X), ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: ArrayLike, y_score: ArrayLike, *, ax: "Axes | None" = None
    ) -> Self:
        """Draw given likelihood ratios.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        y_score : array-like of shape (n_pairs,)
            Natural logarithms of likelihood ratios, genuine against impostor. NaN marks a failed
            comparison. The legend counts it, both shares leave it out, and in Cllr it costs one
            bit.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : TippettDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, ratios are infinite, there are not exactly two classes, or all
            comparisons of a class failed.
        """
        import_pyplot(cls.__name__)
        scores = pair_scores(y_true, y_score)
        same, ratio = scores.compared()
        reaching, below, ratios = far_frr_curve(same, ratio)
        drawn = np.unique(np.linspace(0, len(ratios) - 1, _N_STEPS).astype(int))
        display = cls(
            log_likelihood_ratios=ratios[drawn],
            genuine_below=below[drawn],
            impostor_reaching=reaching[drawn],
            misleading=(float(np.mean(ratio[same] < 0)), float(np.mean(ratio[~same] >= 0))),
            cllr=cllr(y_true, y_score),
            min_cllr=min_cllr(y_true, y_score),
            n_failures=int(scores.failed.sum()),
        )
        return display.plot(ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw both curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : TippettDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        decades = self.log_likelihood_ratios / np.log(10)
        margin = max(0.05 * (decades[-1] - decades[0]), 0.1)
        # extended to the edges of the axes; the curves are flat there
        x = np.concatenate(([decades[0] - margin], decades, [decades[-1] + margin]))
        curves = (
            (
                self.impostor_reaching,
                IMPOSTOR,
                "-",
                "impostor pairs with at least this ratio",
            ),
            (self.genuine_below, GENUINE, "--", "genuine pairs with a smaller ratio"),
        )
        handles = []
        for share, color, linestyle, label in curves:
            # "pre": between two ratios the shares are those of the larger one
            handles += self.ax_.plot(
                x,
                100 * np.concatenate((share[:1], share, share[-1:])),
                color=color,
                linestyle=linestyle,
                linewidth=2,
                drawstyle="steps-pre",
                label=label,
            )
        self.impostor_, self.genuine_ = handles
        misleading = [percent(share) for share in self.misleading[::-1]]
        self.line_ = self.ax_.axvline(
            0,
            color="black",
            linestyle=":",
            label="ratio 1: misleading for {} of impostor, {} of genuine pairs".format(*misleading),
        )
        handles.append(self.line_)
        for remark in self._remarks():
            handles += self.ax_.plot([], linestyle="none", label=remark)
        self.ax_.set(
            xlim=(x[0], x[-1]),
            ylim=(-1, 101),
            yticks=range(0, 101, 20),
            xlabel="likelihood ratio, genuine against impostor",
            ylabel="pairs of each class (%)",
        )
        self.ax_.locator_params(axis="x", integer=True)
        self.ax_.xaxis.set_major_formatter(lambda decade, _: f"$10^{{{decade:g}}}$")
        legend_on_top(self.ax_, handles, self.line_)
        return self

    def _remarks(self) -> list[str]:
        """Word Cllr and the number of failures."""
        remarks = []
        if self.cllr is not None:
            best = "" if self.min_cllr is None else f", {self.min_cllr:.3f} at best calibration"
            remarks.append(f"Cllr {self.cllr:.3f} bit{best}")
        if self.n_failures:
            remarks.append(f"{count(self.n_failures, 'failure')} left out of the curves")
        return remarks
