"""SiameseVerifier: a Siamese network and a classifier on top, trained end to end on pairs."""

from collections.abc import Callable
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._rows import Rows
from skface._utils.docs import share_docs
from skface.embedding._base import embed_rows
from skface.embedding._estimator import NetworkEstimator
from skface.embedding._parameters import DOCS, check_no_blends
from skface.embedding._training_set import collect_faces

if TYPE_CHECKING:
    from torch import nn

    from skface.embedding._tasks import Task
    from skface.nn.augment import Augmentation

_DOCS = DOCS | {
    "trainable": DOCS["trainable"] + " The classifier on top is always trained.",
}


@share_docs(_DOCS)
class SiameseVerifier(NetworkEstimator, ClassifierMixin, BaseEstimator):
    """Decide whether two faces show the same person, with a Siamese network trained end to end.

    Two copies of one network turn the two faces into unit vectors h1 and h2. A fully connected
    layer turns their absolute difference into a probability,
    ``sigmoid(b + sum_j a_j |h1_j - h2_j|)`` [1]_, which is compared with `threshold`. Network and
    layer are trained together, by binary cross-entropy. The order of the two faces does not
    matter.

    On pairs, `fit` learns from the labeled pairs. On faces with identities, `fit` draws
    pairs: all genuine pairs of a batch, and as many impostor pairs. The probabilities hold for the
    share of genuine pairs in training, which is one half when pairs are drawn.

    Parameters
    ----------
    %(backbone)s
    %(weights)s
    %(image_shape)s
    %(trainable)s
    %(embedding_dim)s
    threshold : float, default=0.5
        Pairs are accepted if their probability of "same" is at least this, in [0, 1]. `predict` and
        `decision_function` use its current value, so it may change after `fit`.
    %(batches)s
    %(optimization)s
    %(augment)s
    %(early_stopping)s
    %(continuing)s
    %(precision)s
    %(runtime)s
    %(batch_size)s
    %(device)s
    %(random_state)s

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two labels sorted, the last one meaning "same"; 0 and 1 if fitted on faces.
    coef_ : ndarray of shape (embedding_dim_,)
        Weights a of the absolute differences.
    intercept_ : float
        Log-odds b of two equal vectors.
    %(network_attributes)s
    history_ : dict of str to ndarray
        One array per measure, with one value per epoch. Loss and measures are means over the
        training batches: "epoch", "loss", "accuracy" (share of the pairs on the right side of
        0.5), "mean_genuine_distance" and "mean_impostor_distance" (squared L2, 0 to 4), and
        "learning_rate". Early stopping adds "validation_eer" and "validation_tar" (TAR at a FAR of
        1 %).
    %(training_attributes)s

    See Also
    --------
    SiameseEmbedder : Vectors from a Siamese network, trained with contrastive loss.
    PairVerifier : Learns a threshold for the vectors of any embedder.

    Notes
    -----
    %(processes)s

    If an earlier step did not find a face (all NaN), its pair is predicted "different", with
    probability 0 of "same" and a `decision_function` of NaN.

    References
    ----------
    .. [1] G. Koch, R. Zemel, R. Salakhutdinov. Siamese Neural Networks for One-shot Image
       Recognition. ICML Deep Learning Workshop 2015.

    Examples
    --------
    >>> from skface import SiameseVerifier, make_faces, make_pairs
    >>> faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    >>> pairs = make_pairs(faces.target, random_state=0)
    >>> X = faces.data[pairs.indices]
    >>> verifier = SiameseVerifier(weights=None, max_epochs=1, random_state=0)
    >>> verifier.fit(X, pairs.target).predict_proba(X).shape
    (96, 2)
    """

    _has_head = True

    # set by `fit`
    classes_: NDArray[Any]
    coef_: NDArray[np.float32]
    intercept_: float

    def __init__(
        self,
        backbone: "str | Callable[[], nn.Module] | None" = None,
        weights: str | PathLike[str] | None = "skface-mini",
        *,
        image_shape: tuple[int, ...] | None = None,
        trainable: str | int = "auto",
        embedding_dim: int | None = None,
        threshold: float = 0.5,
        n_identities_per_batch: int = 16,
        n_images_per_identity: int = 4,
        max_epochs: int = 30,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        augment: "bool | Augmentation" = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        chunk_size: int = 256,
        precision: str = "auto",
        runtime: str = "auto",
        batch_size: int = 64,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_shape = image_shape
        self.trainable = trainable
        self.embedding_dim = embedding_dim
        self.threshold = threshold
        self.n_identities_per_batch = n_identities_per_batch
        self.n_images_per_identity = n_images_per_identity
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augment = augment
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.chunk_size = chunk_size
        self.precision = precision
        self.runtime = runtime
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any) -> Self:
        """Train the classifier on top, and the network if it is trainable.

        Parameters
        ----------
        X : faces or pairs
            Rows of images, see the user guide; (n, d) or (n, 2, d) vectors for a backbone over
            feature vectors.
        y : array-like of shape (n,)
            For pairs two labels, of which the last in sorted order means the same person. For
            faces the identities, of any label type.

        Returns
        -------
        self : SiameseVerifier
            The fitted verifier.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, or if there is no genuine or no impostor pair.
        FloatingPointError
            If training diverges.
        skface.exceptions.WeightsError
            If the weights are not available and may not or cannot be downloaded.

        Warns
        -----
        skface.exceptions.TrainingCollapseWarning
            If training has mapped all faces to nearly the same point.
        """
        self._fit_network(X, y)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute the log-odds of "same" of each pair, minus those of the threshold.

        Parameters
        ----------
        X : pairs
            Any pairs that `fit` accepts.

        Returns
        -------
        ndarray of shape (n_pairs,)
            At least 0 for accepted pairs; NaN for failures.
        """
        return self._log_odds(X) - logit(self._check_threshold())

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Compute the probabilities of "different" and of "same".

        Parameters
        ----------
        X : pairs
            Any pairs that `fit` accepts.

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            Columns as in `classes_`; failures get (1, 0).
        """
        log_odds = self._log_odds(X)
        same = np.where(np.isnan(log_odds), 0.0, expit(log_odds))
        return np.column_stack((1 - same, same))

    def predict(self, X: Any) -> NDArray[Any]:
        """Decide whether each pair shows the same person.

        Parameters
        ----------
        X : pairs
            Any pairs that `fit` accepts.

        Returns
        -------
        ndarray of shape (n_pairs,)
            ``classes_[1]`` where the probability of "same" is `threshold` or more, else
            ``classes_[0]``, which includes failures.
        """
        accepted = self.decision_function(X) >= 0  # NaN >= 0 is False
        return self.classes_[accepted.astype(np.intp)]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_no_blends(self.augment)
        self._check_threshold()

    def _check_threshold(self) -> float:
        return check_scalar(self.threshold, "threshold", Real, min_val=0, max_val=1)

    def _make_task(self, rows: Rows, y: Any) -> "Task":
        from skface.embedding._tasks import LabelTask

        faces = collect_faces(
            rows, y, type(self).__name__, want_pairs=True, want_identities=self.early_stopping
        )
        batch_shape = (self.n_identities_per_batch, self.n_images_per_identity)
        return LabelTask(faces, _make_objective, batch_shape, self.batch_size, _score_pairs)

    def _head_attributes(self, objective: "nn.Module", task: "Task") -> dict[str, Any]:
        coef, intercept = _coefficients(objective)
        return {"classes_": task.faces.classes, "coef_": coef, "intercept_": intercept}

    def _log_odds(self, X: Any) -> NDArray[np.float64]:
        """Return the log-odds of "same" of each pair; NaN for failures."""
        check_is_fitted(self)
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        rows = self._check_rows(X)
        if rows.arity != 2:
            raise ValueError(
                f"X holds {rows.n_rows} single faces, but SiameseVerifier takes pairs, "
                "(n, 2, ...). A single pair is [[left, right]]."
            )
        vectors = rows.regroup(embed_rows(rows, self._embed, self.embedding_dim_, self.batch_size))
        return _log_odds(vectors[:, 0], vectors[:, 1], self.coef_, self.intercept_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        # it predicts on pairs: 2-D rows would be faces
        tags.input_tags.two_d_array = False
        return tags


def _make_objective(n_identities: int, embedding_dim: int) -> "nn.Module":
    from skface.nn.objectives import DifferenceHead, PairClassifier

    return PairClassifier(DifferenceHead(embedding_dim))


def _coefficients(objective: Any) -> tuple[NDArray[np.float32], float]:
    """Copy weights and bias of the layer on top."""
    linear = objective.head.linear
    return linear.weight.detach().cpu().numpy()[0].copy(), float(linear.bias.detach())


def _score_pairs(left: NDArray[Any], right: NDArray[Any], objective: Any) -> NDArray[np.float64]:
    return _log_odds(left, right, *_coefficients(objective))


def _log_odds(
    left: NDArray[Any], right: NDArray[Any], coef: NDArray[Any], intercept: float
) -> NDArray[np.float64]:
    """Return ``intercept + |left - right| @ coef`` row by row."""
    # no matrix product, whose rounding may depend on the position of the row
    return (np.abs(left - right).astype(np.float64) * coef).sum(axis=1) + intercept
