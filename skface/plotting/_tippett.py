"""Cumulative proportions of log-likelihood ratios."""

from typing import Any

import numpy as np

from skface.metrics import cllr, far_frr_curve, min_cllr
from skface.plotting._scores import classifier_and_rows, pair_scores
from skface.plotting._style import (
    DIFFERENT,
    SAME,
    axes_and_figure,
    count,
    import_pyplot,
    legend_on_top,
    percent,
)

_N_STEPS = 5000  # drawn at most; a step of a larger number would be lower than a pixel


class TippettDisplay:
    """Tippett plot: how often likelihood ratios point the right way, and how far.

    For every likelihood ratio it shows which share of the same pairs has a smaller one, and which
    share of the different pairs has at least that one. Both curves are low where evidence is
    misleading: right of 1 that of different people, left of 1 that of the same person.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    log_likelihood_ratios : ndarray of shape (n_steps,)
        Natural logarithms, ascending.
    genuine_below : ndarray of shape (n_steps,)
        Share of the same pairs with a smaller ratio, in [0, 1].
    impostor_reaching : ndarray of shape (n_steps,)
        Share of the different pairs with at least this ratio, in [0, 1].
    misleading : tuple (float, float)
        Shares of the same pairs below a ratio of 1, and of the different pairs from 1 on.
    cllr, min_cllr : float, default=None
        Cost of the ratios and what the best recalibration would leave of it, in bits, see
        :func:`skface.metrics.cllr`.
    n_failures : int, default=0
        Failed pairs, which are in neither share.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves; x is the decimal logarithm of the likelihood ratio.
    figure_ : matplotlib Figure
        The figure of the axes.
    genuine_, impostor_, line_ : matplotlib Line2D
        The two curves, and the line at a ratio of 1.

    See Also
    --------
    skface.PairVerifier.log_likelihood_ratio : Where the ratios come from.
    sklearn.calibration.CalibrationDisplay : The like for the probabilities of any classifier.

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
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None) -> "TippettDisplay":
        """Draw the likelihood ratios of a fitted verifier.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`skface.PairVerifier`, or a pipeline that ends with one. Other
            classifiers have probabilities, which depend on the mixture they were trained on;
            subtract the logit of its share of same pairs from the logit of a probability, and use
            :meth:`from_predictions`.
        X : pairs
            What the estimator takes.
        y : array-like of shape (n_pairs,)
            Labels of two kinds; the larger one means "same person".
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : TippettDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator gives no likelihood ratios.
        """
        import_pyplot(cls.__name__)  # before the work
        verifier, X = classifier_and_rows(estimator, X)
        if not hasattr(verifier, "log_likelihood_ratio"):
            raise TypeError(
                f"estimator={type(verifier).__name__} gives no log_likelihood_ratio. End the "
                "pipeline with PairVerifier (calibration not None), or pass log-likelihood ratios "
                "to from_predictions."
            )
        return cls.from_predictions(y, verifier.log_likelihood_ratio(X), ax=ax)

    @classmethod
    def from_predictions(cls, y_true: Any, y_score: Any, *, ax: Any = None) -> "TippettDisplay":
        """Draw given likelihood ratios.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Labels of two kinds; the larger one means "same person".
        y_score : array-like of shape (n_pairs,)
            Natural logarithms of likelihood ratios. NaN is a failed comparison, which is counted in
            the legend and is in neither share; to `cllr` it is a ratio of 1.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : TippettDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, ratios are infinite, there are not two classes, or no pair of a
            class was compared.
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

    def plot(self, ax: Any = None) -> "TippettDisplay":
        """Draw both curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        Returns
        -------
        display : TippettDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        decades = self.log_likelihood_ratios / np.log(10)
        margin = max(0.05 * (decades[-1] - decades[0]), 0.1)
        # to the edges of the axes, beyond which nothing changes
        x = np.concatenate(([decades[0] - margin], decades, [decades[-1] + margin]))
        curves = (
            (self.impostor_reaching, DIFFERENT, "-", "different people, this ratio or more"),
            (self.genuine_below, SAME, "--", "same person, less than this ratio"),
        )
        handles = []
        for share, color, linestyle, label in curves:
            # "pre": between two thresholds the shares are those of the upper one
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
            label="ratio 1: misleading for {} of different, {} of same pairs".format(*misleading),
        )
        handles.append(self.line_)
        for remark in self._remarks():
            handles += self.ax_.plot([], linestyle="none", label=remark)
        self.ax_.set(
            xlim=(x[0], x[-1]),
            ylim=(-1, 101),
            yticks=range(0, 101, 20),
            xlabel="likelihood ratio: how many times likelier for the same person",
            ylabel="pairs of that kind (%)",
        )
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.xaxis.set_major_formatter(lambda decade, _: f"$10^{{{decade:g}}}$")
        legend_on_top(self.ax_, handles, self.line_)
        return self

    def _remarks(self) -> list[str]:
        """Word what the curves do not show."""
        remarks = []
        if self.cllr is not None:
            best = "" if self.min_cllr is None else f", {self.min_cllr:.3f} at best calibration"
            remarks.append(f"Cllr {self.cllr:.3f} bit{best}")
        if self.n_failures:
            remarks.append(f"not drawn: {count(self.n_failures, 'failed pair')}")
        return remarks
