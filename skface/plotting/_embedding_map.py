"""Scatter plot of embeddings, projected to the plane."""

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted

from skface._rows import ImageSequence, check_images
from skface.plotting._photos import thumbnail
from skface.plotting._style import axes_and_figure, count, import_pyplot, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX*<>"  # one for each named person
_COLORS = (  # by Okabe and Ito
    "#00436B",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
_PHOTO = 0.12  # side of a thumbnail, relative to the larger extent of the map
_SIDE = 96  # largest side of a stored thumbnail in pixels


class EmbeddingMapDisplay:
    """Scatter plot of embeddings, projected to two dimensions.

    Up to ten people, those with the most faces, have a shape, a color and a legend entry. The faces
    of other people are gray dots. A projection to two dimensions loses most of the information, so
    people who overlap here need not overlap for the verifier.

    Use :meth:`from_estimator` or :meth:`from_embeddings` to create one. All parameters are stored
    as attributes.

    Parameters
    ----------
    positions : ndarray of shape (n_faces, 2)
        Coordinates of the faces.
    people : ndarray of shape (n_faces,)
        The person of each face.
    axis_names : tuple (str, str), default=("", "")
        Names of the two coordinates.
    thumbnails : list of ndarray of shape (H, W, 3), default=()
        Photos to show.
    thumbnail_faces : ndarray of shape (n_thumbnails,), default=()
        The face of each photo, as an index into `positions`. The lower left corner of a photo lies
        at its position.
    n_failures : int, default=0
        Number of faces without an embedding.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the map.
    figure_ : matplotlib Figure
        The figure with the axes.
    lines_ : list of matplotlib Line2D
        The markers: those of other people if there are any, then those of each named person.
    images_ : list of matplotlib AxesImage
        The thumbnails.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.plotting import EmbeddingMapDisplay
    >>> people = np.repeat(["ann", "bob", "cy"], 20)
    >>> centers = np.repeat(np.eye(3, 8), 20, axis=0)
    >>> embeddings = centers + np.random.default_rng(0).normal(0, 0.2, centers.shape)
    >>> display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    >>> display.positions.shape, [line.get_label() for line in display.lines_]
    ((60, 2), ['ann', 'bob', 'cy'])
    """

    def __init__(
        self,
        *,
        positions: np.ndarray,
        people: np.ndarray,
        axis_names: tuple[str, str] = ("", ""),
        thumbnails: Sequence[np.ndarray] = (),
        thumbnail_faces: Sequence[int] | np.ndarray = (),
        n_failures: int = 0,
    ) -> None:
        self.positions = positions
        self.people = people
        self.axis_names = axis_names
        self.thumbnails = thumbnails
        self.thumbnail_faces = thumbnail_faces
        self.n_failures = n_failures

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        projection: Any = None,
        n_thumbnails: int = 0,
        image_shape: tuple[int, ...] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Embed faces and draw their map.

        Parameters
        ----------
        estimator : transformer
            A fitted transformer or pipeline from faces to vectors. For a pipeline that ends with a
            verifier, pass ``pipe[:-1]``.
        X : faces
            What the estimator takes.
        y : array-like of shape (n_faces,)
            The person on each photo.
        projection : transformer, default=None
            Its `fit_transform` maps (n_faces, n_features) to (n_faces, 2), such as that of
            :class:`sklearn.manifold.TSNE`. A clone is fitted. None means the first two principal
            components.
        n_thumbnails : int, default=0
            Number of photos to show; fewer if they would overlap.
        image_shape : tuple (H, W) or (H, W, 3), default=None
            Shape of one image, needed for thumbnails of flattened rows only.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : EmbeddingMapDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has no `transform`.
        ValueError
            As :meth:`from_embeddings`.
        """
        import_pyplot(cls.__name__)  # fails before the work
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"estimator={type(estimator).__name__} has no transform, so it gives no "
                "embeddings. For a pipeline that ends with a verifier, pass pipe[:-1]."
            )
        check_is_fitted(estimator)
        return cls.from_embeddings(
            estimator.transform(X),
            y,
            projection=projection,
            images=X,
            n_thumbnails=n_thumbnails,
            image_shape=image_shape,
            ax=ax,
        )

    @classmethod
    def from_embeddings(
        cls,
        embeddings: ArrayLike,
        y: ArrayLike,
        *,
        projection: Any = None,
        images: Any = None,
        n_thumbnails: int = 0,
        image_shape: tuple[int, ...] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the map of given embeddings.

        Parameters
        ----------
        embeddings : array-like of shape (n_faces, n_features)
            Vectors. A row with NaN is a face that was not found; the legend counts it.
        y : array-like of shape (n_faces,)
            The person on each photo.
        projection : transformer, default=None
            Its `fit_transform` maps (n_faces, n_features) to (n_faces, 2), such as that of
            :class:`sklearn.manifold.TSNE`. A clone is fitted. None means the first two principal
            components.
        images : faces, default=None
            The photos: rows of images, see the user guide. Needed for
            thumbnails only. Only photos that are shown are decoded.
        n_thumbnails : int, default=0
            Number of photos to show; fewer if they would overlap.
        image_shape : tuple (H, W) or (H, W, 3), default=None
            Shape of one image, needed for thumbnails of flattened rows only.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : EmbeddingMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If lengths differ, `embeddings` holds pairs or no row without NaN, `projection` does not
            return two columns, or photos are needed and missing.
        """
        import_pyplot(cls.__name__)
        check_scalar(n_thumbnails, "n_thumbnails", Integral, min_val=0)
        shape = np.shape(embeddings)
        if len(shape) == 3:
            raise ValueError(
                f"embeddings has shape {shape}, which is pairs. Pass faces, (n_faces, n_features)."
            )
        vectors = check_array(
            embeddings,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            input_name="embeddings",
        )
        people = column_or_1d(y)
        check_consistent_length(vectors, people)
        found = np.flatnonzero(~np.isnan(vectors).any(axis=1))
        if not len(found):
            raise ValueError(
                f"embeddings holds NaN in all {len(vectors)} rows, so there is nothing to draw. "
                "Find out why no face was found."
            )
        if n_thumbnails:
            photos = _check_photos(images, image_shape, len(vectors))  # fails before the work
        projection = PCA(n_components=2, random_state=0) if projection is None else projection
        projection = clone(projection)
        positions = np.asarray(projection.fit_transform(vectors[found]), dtype=np.float64)
        if positions.shape != (len(found), 2):
            raise ValueError(
                f"projection={projection!r} returned shape {positions.shape} for {len(found)} "
                "faces. Use one that returns two columns, such as PCA(n_components=2)."
            )
        people = people[found]
        faces = np.empty(0, dtype=np.intp)
        thumbnails: list[np.ndarray] = []
        if n_thumbnails:
            faces, thumbnails = _choose_thumbnails(positions, people, photos, found, n_thumbnails)
        display = cls(
            positions=positions,
            people=people,
            axis_names=_axis_names(projection),
            thumbnails=thumbnails,
            thumbnail_faces=faces,
            n_failures=len(vectors) - len(found),
        )
        return display.plot(ax=ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates new axes.

        Returns
        -------
        display : EmbeddingMapDisplay
            The display itself.
        """
        self.ax_, self.figure_ = axes_and_figure(type(self).__name__, ax)
        named, n_others = _named_people(self.people)
        styles: dict[Any, dict[str, Any]] = {
            person: {
                "marker": _MARKERS[i],
                "color": _COLORS[i % len(_COLORS)],
                "markeredgecolor": "black",
                "markeredgewidth": 0.4,
                "label": shorten(str(person), 20),
            }
            for i, person in enumerate(named)
        }
        self.lines_ = []
        style_of_others: dict[str, Any] = {"marker": ".", "color": "0.75"}
        if n_others:
            others = self.positions[~np.isin(self.people, named)]
            label = "1 other person" if n_others == 1 else f"{n_others:,} other people"
            self.lines_ += self.ax_.plot(
                *others.T, linestyle="none", label=label, **style_of_others
            )
        for person, style in styles.items():
            self.lines_ += self.ax_.plot(
                *self.positions[self.people == person].T, linestyle="none", **style
            )
        side = _photo_side(self.positions)
        self.images_ = []
        for face, pixels in zip(self.thumbnail_faces, self.thumbnails, strict=True):
            x, y = self.positions[face]
            height, width = np.multiply(side, pixels.shape[:2]) / max(pixels.shape[:2])
            extent = (x, x + width, y, y + height)
            self.images_.append(self.ax_.imshow(pixels, extent=extent, zorder=3))
            style = styles.get(self.people[face], style_of_others)
            self.ax_.plot(x, y, zorder=4, **{**style, "label": None})
        handles = self.lines_[1:] + self.lines_[:1] if n_others else list(self.lines_)
        if self.n_failures:
            label = f"{count(self.n_failures, 'face')} not found"
            handles += self.ax_.plot([], linestyle="none", label=label)
        self.ax_.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        legend = self.ax_.legend(
            handles=handles, loc="upper right", frameon=False, fontsize="small"
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # "$" in a name is not a formula
        self._set_limits(legend, side if self.images_ else 0.0)
        return self

    def _set_limits(self, legend: Any, side: float) -> None:
        """Set limits so that all faces lie left of the legend, with one scale for both axes."""
        box = self.ax_.get_window_extent()
        room = np.array([box.width - legend.get_window_extent().width, box.height])
        room[0] = max(room[0], box.width / 3)
        low, high = self.positions.min(axis=0), self.positions.max(axis=0) + side
        middle = (low + high) / 2
        scale = 1.1 * np.max((high - low) / room) or 1.0  # units per pixel; 10 % is margin
        left, bottom = middle - scale * room / 2
        self.ax_.set(
            xlim=(left, left + scale * box.width),
            ylim=(bottom, bottom + scale * box.height),
            aspect="equal",
        )


def _named_people(people: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the people with the most faces, in sorted order, and how many others there are."""
    everyone, n_faces = np.unique(people, return_counts=True)
    most = np.sort(np.argsort(-n_faces, kind="stable")[: len(_MARKERS)])
    return everyone[most], len(everyone) - len(most)


def _axis_names(projection: Any) -> tuple[str, str]:
    """Return the names of the two coordinates."""
    if isinstance(projection, Pipeline):
        projection = projection[-1]
    name = type(projection).__name__
    explained = getattr(projection, "explained_variance_ratio_", None)
    if explained is None or not np.all(np.isfinite(explained)):  # all faces in one point
        return f"{name}, first coordinate", f"{name}, second coordinate"
    first, second = (f"{100 * share:.0f} % of the variance" for share in explained)
    return f"{name}, first component: {first}", f"{name}, second component: {second}"


def _check_photos(images: Any, image_shape: Any, n_faces: int) -> ImageSequence:
    """Check the photos that thumbnails are taken from."""
    if images is None:
        raise ValueError("images=None: pass the photos, or n_thumbnails=0 to draw none.")
    rows = check_images(images, image_shape=image_shape, check_files=False)
    if rows.arity != 1 or rows.n_rows != n_faces:
        raise ValueError(
            f"images holds {rows.n_rows} {'faces' if rows.arity == 1 else 'pairs'}, but there are "
            f"{n_faces} embeddings of faces. Pass one photo for each."
        )
    return rows.images


def _photo_side(positions: np.ndarray) -> float:
    """Return the side of a thumbnail in data units; 1 if all faces lie in one point."""
    return _PHOTO * np.ptp(positions, axis=0).max() or 1.0


def _choose_thumbnails(
    positions: np.ndarray,
    people: np.ndarray,
    photos: ImageSequence,
    rows: np.ndarray,
    n_thumbnails: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Choose photos that do not overlap: the most typical one of each person, then the next."""
    distance, rank = np.empty(len(people)), np.empty(len(people))
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        distance[own] = np.linalg.norm(positions[own] - np.median(positions[own], axis=0), axis=1)
        rank[own] = np.argsort(np.argsort(distance[own], kind="stable"))
    side = _photo_side(positions)
    faces: list[int] = []
    thumbnails: list[np.ndarray] = []
    for face in np.lexsort((distance, rank)):
        if len(faces) == n_thumbnails:
            break
        away = np.abs(positions[faces] - positions[face]).max(axis=1)
        if np.all(away >= side):
            pixels = thumbnail(photos, int(rows[face]), _SIDE)
            if not isinstance(pixels, str):
                faces.append(int(face))
                thumbnails.append(pixels)
    return np.array(faces, dtype=np.intp), thumbnails
