"""Gallery of the worst mistakes of a verifier."""

import textwrap
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_scalar

from skface._rows import check_images
from skface.plotting._photos import thumbnail
from skface.plotting._scores import pair_scores, scores_and_threshold
from skface.plotting._style import (
    GENUINE,
    IMPOSTOR,
    axes_and_figure,
    count,
    import_pyplot,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 256  # pixels that the longer side of a stored photo has at most
_N_COLUMNS = 4  # pairs beside each other
# Lengths in units of a photo's side, the font included, so that the layout is the same at any size.
_PAIR_WIDTH = 2.15  # with the gap to the next
_FONT = 0.15
_LINE = 1.35 * _FONT
_LETTER = 0.62 * _FONT  # mean width
_GAP = 0.12
_TITLE_HEIGHT = 2 * _LINE + _GAP


class MistakesDisplay:
    """Gallery of the worst mistakes of a verifier.

    It shows the false accepts (impostor pairs) with the highest scores, the false rejects (genuine
    pairs) with the lowest scores, and failures, which have no score. Look at the mistakes before
    you trust a number: they reveal wrong labels and crops of bystanders.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    false_accepts, false_rejects, failures : Bunch
        The pairs of each kind that are shown, the worst first (failures in the order of rows):
        ``rows`` (n_shown,), their rows in X; ``scores`` (n_shown,); ``same`` (n_shown,), whether
        the pair is genuine; ``people`` (n_shown, 2) or None; ``photos``, two per pair, each an
        array (H, W, 3) or a string that says why the photo cannot be shown; ``n_found``, the number
        of pairs of this kind; and ``n_pairs``, the number of pairs that could have been of this
        kind.
    threshold : float
        Pairs with ``score >= threshold`` are accepted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with all photos.
    figure_ : matplotlib Figure
        The figure with the axes.

    See Also
    --------
    ScoreDistributionDisplay : Histograms of the scores of all pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from skface import make_faces, make_pairs
    >>> from skface.plotting import MistakesDisplay
    >>> faces = make_faces(n_identities=5, n_images_per_identity=3, random_state=0)
    >>> pairs = make_pairs(faces.target, random_state=0)
    >>> scores = np.random.default_rng(0).normal(size=len(pairs.target))
    >>> display = MistakesDisplay.from_predictions(
    ...     pairs.target, scores, faces.images[pairs.indices], threshold=0.0, n_mistakes=2
    ... )
    >>> display.false_accepts.n_found, display.false_accepts.rows
    (6, array([21, 18]))
    """

    def __init__(
        self, *, false_accepts: Bunch, false_rejects: Bunch, failures: Bunch, threshold: float
    ) -> None:
        self.false_accepts = false_accepts
        self.false_rejects = false_rejects
        self.failures = failures
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        identities: ArrayLike | None = None,
        n_mistakes: int = 4,
        image_shape: tuple[int, ...] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show the worst mistakes of a fitted verifier.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline over pairs of photos that ends with :class:`skface.PairVerifier`, or
            any binary classifier with `decision_function` or `predict_proba`.
        X : pairs of photos
            What the estimator takes: rows of images, see the user guide.
        y : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        identities : array-like of shape (n_pairs, 2), default=None
            The people on the photos, for the captions.
        n_mistakes : int, default=4
            Largest number of pairs to show of each kind.
        image_shape : tuple (H, W) or (H, W, 3), default=None
            Shape of one image, needed for flattened rows only.
        ax : matplotlib Axes, default=None
            Axes to fill. None creates a figure of the height needed.

        Returns
        -------
        display : MistakesDisplay
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
            X,
            threshold=threshold,
            identities=identities,
            n_mistakes=n_mistakes,
            image_shape=image_shape,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        X: Any,
        *,
        threshold: float,
        identities: ArrayLike | None = None,
        n_mistakes: int = 4,
        image_shape: tuple[int, ...] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show the worst mistakes among given scores.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Two labels; the larger one marks genuine pairs (same person).
        y_score : array-like of shape (n_pairs,)
            Similarities; larger = more alike. NaN marks a failed comparison.
        X : pairs of photos
            Rows of images, see the user guide. Only photos that are shown are
            decoded.
        threshold : float
            Pairs with ``score >= threshold`` are accepted.
        identities : array-like of shape (n_pairs, 2), default=None
            The people on the photos, for the captions.
        n_mistakes : int, default=4
            Largest number of pairs to show of each kind.
        image_shape : tuple (H, W) or (H, W, 3), default=None
            Shape of one image, needed for flattened rows only.
        ax : matplotlib Axes, default=None
            Axes to fill. None creates a figure of the height needed.

        Returns
        -------
        display : MistakesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `X` holds no pairs, lengths differ, scores are infinite, there are not exactly two
            classes, or a parameter is out of range.
        """
        import_pyplot(cls.__name__)
        check_scalar(n_mistakes, "n_mistakes", Integral, min_val=1)
        check_scalar(threshold, "threshold", Real)
        same, score, failed = pair_scores(y_true, y_score)
        rows = check_images(X, image_shape=image_shape, check_files=False)
        if rows.arity != 2 or rows.n_rows != len(same):
            raise ValueError(
                f"X holds {rows.n_rows} {'faces' if rows.arity == 1 else 'pairs'}, but there are "
                f"{len(same)} scores of pairs. Pass the pairs of photos that were scored."
            )
        people = _check_identities(identities, len(same))

        def gather(candidates: np.ndarray, rank: np.ndarray, n_pairs: int) -> Bunch:
            worst = candidates[np.argsort(rank[candidates], kind="stable")][:n_mistakes]
            return Bunch(
                rows=worst,
                scores=score[worst],
                same=same[worst],
                people=None if people is None else people[worst],
                photos=[
                    [thumbnail(rows.images, 2 * row + side, _SIDE) for side in (0, 1)]
                    for row in worst.tolist()
                ],
                n_found=len(candidates),
                n_pairs=int(n_pairs),
            )

        accepted = score >= threshold  # false for NaN
        display = cls(
            false_accepts=gather(np.flatnonzero(~same & accepted), -score, np.sum(~same)),
            false_rejects=gather(np.flatnonzero(same & ~accepted & ~failed), score, np.sum(same)),
            failures=gather(np.flatnonzero(failed), np.zeros(len(same)), len(same)),
            threshold=threshold,
        )
        return display.plot(ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the gallery.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to fill. None creates a figure of the height needed.

        Returns
        -------
        display : MistakesDisplay
            The display itself.
        """
        pyplot = import_pyplot(type(self).__name__)
        sections = self._sections()
        width = _GAP + _N_COLUMNS * _PAIR_WIDTH
        height = _GAP + sum(_section_height(mistakes) for _, mistakes, _ in sections)
        if ax is None:
            inches = pyplot.rcParams["figure.figsize"][0]
            figure = pyplot.figure(figsize=(inches, inches * height / width))
            ax = figure.add_axes((0, 0, 1, 1))
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        box = ax.get_window_extent()
        unit = min(box.width / width, box.height / height) * 72 / self.figure_.dpi  # in points
        self.ax_.set_axis_off()
        y = -_GAP
        for title, mistakes, color in sections:
            self._draw_section(title, mistakes, color, y, _FONT * unit)
            y -= _section_height(mistakes)
        # last, for imshow changes the limits
        self.ax_.set(xlim=(0, width), ylim=(-height, 0), aspect="equal")
        return self

    def _sections(self) -> list[tuple[str, Bunch, str]]:
        """Return title, mistakes and color of each kind; failures only if there are any."""
        sections = [
            (
                f"False accepts: impostor pairs, score ≥ {self.threshold:.3g}",
                self.false_accepts,
                IMPOSTOR,
            ),
            (
                f"False rejects: genuine pairs, score < {self.threshold:.3g}",
                self.false_rejects,
                GENUINE,
            ),
        ]
        if self.failures.n_found:
            sections.append(("Failures: no score, so rejected", self.failures, "0.4"))
        return sections

    def _draw_section(
        self, title: str, mistakes: Bunch, color: str, y: float, fontsize: float
    ) -> None:
        """Draw one kind of mistake, from `y` downwards."""
        style: dict[str, Any] = {
            "fontsize": fontsize,
            "verticalalignment": "top",
            "parse_math": False,
        }
        self.ax_.text(_GAP, y, title, fontweight="bold", **style)
        self.ax_.text(_GAP, y - _LINE, _how_many(mistakes), **style)
        for place in range(len(mistakes.rows)):
            row, column = divmod(place, _N_COLUMNS)
            left = _GAP + column * _PAIR_WIDTH
            top = y - _TITLE_HEIGHT - row * _pair_height(mistakes)
            for side, photo in enumerate(mistakes.photos[place]):
                self._draw_photo(photo, left + side, top, color, fontsize)
            self.ax_.text(left, top - 1 - _GAP / 2, _caption(mistakes, place), **style)

    def _draw_photo(
        self, photo: np.ndarray | str, left: float, top: float, color: str, fontsize: float
    ) -> None:
        """Draw a photo, or the reason for its absence, into a square of side 1."""
        height, width = (1, 1) if isinstance(photo, str) else photo.shape[:2]
        height, width = height / max(height, width), width / max(height, width)
        x, y = left + (1 - width) / 2, top - (1 + height) / 2
        if isinstance(photo, str):
            lines = textwrap.wrap(photo, int(0.95 / (0.8 * _LETTER)), max_lines=6, placeholder="…")
            self.ax_.text(
                left + 0.5,
                top - 0.5,
                "\n".join(lines),
                fontsize=0.8 * fontsize,
                horizontalalignment="center",
                verticalalignment="center",
                parse_math=False,
            )
        else:
            self.ax_.imshow(photo, extent=(x, x + width, y, y + height))
        # the frame lies above the photo, whose edge may have any color
        self.ax_.fill(
            [x, x + width, x + width, x],
            [y, y, y + height, y + height],
            facecolor="none",
            edgecolor=color,
            linewidth=1.5,
            zorder=2,
        )


def _section_height(mistakes: Bunch) -> float:
    n_rows = -(-len(mistakes.rows) // _N_COLUMNS)
    return _TITLE_HEIGHT + n_rows * _pair_height(mistakes)


def _pair_height(mistakes: Bunch) -> float:
    """Return the height of a pair with its caption."""
    n_lines = max(
        (_caption(mistakes, i).count("\n") + 1 for i in range(len(mistakes.rows))), default=0
    )
    return 1 + _GAP + n_lines * _LINE + _GAP


def _how_many(mistakes: Bunch) -> str:
    """Word the number of mistakes that are shown, of how many."""
    n_shown, among = len(mistakes.rows), f"among {count(mistakes.n_pairs, 'pair')}"
    if not n_shown:
        return f"none {among}"
    if n_shown < mistakes.n_found:
        rank = "first" if np.isnan(mistakes.scores[0]) else "worst"
        return f"the {rank} {n_shown} of {mistakes.n_found:,} {among}"
    return f"all {n_shown} {among}"


def _caption(mistakes: Bunch, place: int) -> str:
    """Return the text below a pair."""
    row, score, same = (mistakes[key][place] for key in ("rows", "scores", "same"))
    if np.isnan(score):
        lines = [f"row {row}: {'genuine' if same else 'impostor'}"]
    else:
        lines = [f"row {row}: {score:.3g}"]
    if mistakes.people is not None:
        lines += dict.fromkeys(str(person) for person in mistakes.people[place])
    return "\n".join(shorten(line, int(2 / _LETTER)) for line in lines)


def _check_identities(identities: Any, n_pairs: int) -> np.ndarray | None:
    if identities is None:
        return None
    identities = np.asarray(identities)
    if identities.shape != (n_pairs, 2):
        raise ValueError(
            f"identities has shape {identities.shape}; expected {(n_pairs, 2)}, the two people of "
            "each pair."
        )
    return identities
