"""SiameseEmbedder: one twin of a Siamese network, trained with the contrastive loss."""

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.callback import with_callbacks

from skface._rows import Rows
from skface._utils.docs import share_docs
from skface._utils.validation import check_finite
from skface.embedding._base import BaseEmbedder
from skface.embedding._estimator import NetworkEstimator
from skface.embedding._parameters import DOCS, check_no_blends
from skface.embedding._training_set import collect_faces

if TYPE_CHECKING:
    from torch import nn

    from skface.embedding._tasks import Task
    from skface.nn.augment import Augmentation


@share_docs(DOCS)
class SiameseEmbedder(NetworkEstimator, BaseEmbedder):
    """Map faces to unit vectors with one twin of a Siamese network (contrastive loss).

    Two copies of one network embed the two faces of a pair. Training pulls genuine pairs together,
    and pushes impostor pairs apart while they are closer than `margin` [1]_.

    On pairs, `fit` learns from the labeled pairs only, and assumes nothing about other pairs of
    their photos. Early stopping holds out groups of photos that genuine pairs connect. On faces
    with identities, `fit` draws pairs: all genuine pairs of a batch, and as many impostor pairs.

    Parameters
    ----------
    %(backbone)s
    %(weights)s
    %(image_shape)s
    %(trainable)s
    %(embedding_dim)s
    margin : float, default=1.0
        Distance (L2, in [0, 2] on the unit sphere) up to which impostor pairs are pushed apart.
    %(batches)s
    %(optimization)s
    %(augment)s
    %(early_stopping)s
    %(continuing)s
    %(precision)s
    %(runtime)s
    %(batch_size)s
    %(flip)s
    %(device)s
    %(random_state)s

    Attributes
    ----------
    %(network_attributes)s
    history_ : dict of str to ndarray
        One array per measure, with one value per epoch; empty if nothing was trained. Loss and
        measures are means over the training batches: "epoch", "loss", "active_fraction" (share of
        the pairs with a loss above 0), "mean_genuine_distance" and "mean_impostor_distance"
        (squared L2, 0 to 4), and "learning_rate". Early stopping adds "validation_eer" and
        "validation_tar" (TAR at a FAR of 1 %).
    %(training_attributes)s

    See Also
    --------
    FaceNetEmbedder : The same, trained with triplet loss.
    SiameseVerifier : A Siamese network with a classifier on top.

    Notes
    -----
    %(processes)s

    References
    ----------
    .. [1] R. Hadsell, S. Chopra, Y. LeCun. Dimensionality Reduction by Learning an Invariant
       Mapping. CVPR 2006.

    Examples
    --------
    >>> from skface import SiameseEmbedder, make_faces, make_pairs
    >>> faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    >>> pairs = make_pairs(faces.target, random_state=0)
    >>> embedder = SiameseEmbedder(weights=None, max_epochs=1, random_state=0)
    >>> embedder.fit_transform(faces.data[pairs.indices], pairs.target).shape
    (96, 2, 128)
    """

    def __init__(
        self,
        backbone: "str | Callable[[], nn.Module] | None" = None,
        weights: str | PathLike[str] | None = "skface-mini",
        *,
        image_shape: tuple[int, ...] | None = None,
        trainable: str | int = "auto",
        embedding_dim: int | None = None,
        margin: float = 1.0,
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
        flip: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.image_shape = image_shape
        self.trainable = trainable
        self.embedding_dim = embedding_dim
        self.margin = margin
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
        self.flip = flip
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network, and train it if it is trainable.

        Parameters
        ----------
        X : faces or pairs
            Rows of images, see the user guide; (n, d) or (n, 2, d) vectors for a backbone over
            feature vectors.
        y : array-like of shape (n,), default=None
            For pairs two labels, of which the last in sorted order means the same person. For
            faces the identities, of any label type. Ignored if nothing is trained.

        Returns
        -------
        self : SiameseEmbedder
            The fitted embedder.

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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_no_blends(self.augment)
        check_finite(self.margin, "margin")

    def _make_task(self, rows: Rows, y: Any) -> "Task":
        from skface.embedding._tasks import LabelTask

        faces = collect_faces(
            rows, y, type(self).__name__, want_pairs=True, want_identities=self.early_stopping
        )
        batch_shape = (self.n_identities_per_batch, self.n_images_per_identity)
        return LabelTask(faces, self._make_objective, batch_shape, self.batch_size)

    def _make_objective(self, n_identities: int, embedding_dim: int) -> "nn.Module":
        from skface.nn.objectives import Contrastive

        return Contrastive(self.margin)
