"""FaceNetEmbedder: a network that maps faces to unit vectors, trained with the triplet loss."""

import copy
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.callback import with_callbacks

from skface._rows import Rows
from skface._utils.docs import share_docs
from skface._utils.validation import check_finite, check_option
from skface.embedding._base import BaseEmbedder
from skface.embedding._estimator import NetworkEstimator
from skface.embedding._parameters import DOCS, check_no_blends
from skface.embedding._training_set import collect_faces

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skface.embedding._tasks import Task
    from skface.nn.augment import Augmentation

_LOSSES = ("triplet", "arcface", "cosface")
_MINING = ("semi_hard", "hard", "all")


@share_docs(DOCS)
class FaceNetEmbedder(NetworkEstimator, BaseEmbedder):
    """Map faces to unit vectors with a pretrained network, or train one with the triplet loss.

    With given weights, `fit` trains nothing unless `trainable` is "all", "head" or an int. Without
    weights, `fit` trains the network from scratch, as FaceNet was trained [1]_. Each distinct photo
    of pairs is embedded once.

    On pairs, `fit` recovers identities: photos that genuine pairs connect have one identity, and
    groups of photos without a genuine pair between them have different identities. If no pair
    connects two groups of one person, training pushes them apart. To avoid that, add such a genuine
    pair, or fit on faces with identities.

    Parameters
    ----------
    %(backbone)s
    %(weights)s
    %(image_shape)s
    %(trainable)s
    %(embedding_dim)s
    loss : {"triplet", "arcface", "cosface"} or callable, default="triplet"
        Loss of training: the triplet loss; a softmax over the training identities with an additive
        margin on the angle [2]_ or on the cosine [3]_; or a callable ``loss(embeddings, labels)``
        of an (n, d) and an (n,) Tensor, such as a loss of pytorch-metric-learning. The class
        weights of a softmax are dropped after training. A ``torch.nn.Module`` is copied, and its
        parameters are trained too.
    margin : float, default=0.2
        Margin of the loss: a squared L2 distance, in [0, 4], for "triplet"; an angle in radians
        for "arcface" (0.5 is usual); a cosine for "cosface" (0.35 is usual). Ignored for a
        callable.
    mining : {"semi_hard", "hard", "all"}, default="semi_hard"
        Which triplets of a batch enter the loss, see :func:`skface.nn.mining.mine_triplets`.
        Only used by "triplet".
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
        measures are means over the training batches: "epoch", "loss", "mean_genuine_distance" and
        "mean_impostor_distance" (squared L2, 0 to 4), and "learning_rate". The triplet loss adds
        "active_triplets" (number of triplets with a loss above 0) and "active_fraction" (share of
        the anchors that are in such a triplet). Early stopping adds "validation_eer" and
        "validation_tar" (TAR at a FAR of 1 %).
    %(training_attributes)s

    See Also
    --------
    SiameseEmbedder : The same, trained with contrastive loss.
    DistilledEmbedder : The same, trained to imitate another embedder.
    OnnxEmbedder : The same for networks stored as ONNX or OpenVINO files.
    PairVerifier : Learns a decision threshold on these embeddings.

    Notes
    -----
    %(processes)s

    References
    ----------
    .. [1] F. Schroff, D. Kalenichenko, J. Philbin. FaceNet: A Unified Embedding for Face
       Recognition and Clustering. CVPR 2015.
    .. [2] J. Deng, J. Guo, N. Xue, S. Zafeiriou. ArcFace: Additive Angular Margin Loss for Deep
       Face Recognition. CVPR 2019.
    .. [3] H. Wang et al. CosFace: Large Margin Cosine Loss for Deep Face Recognition. CVPR 2018.

    Examples
    --------
    >>> from skface import FaceNetEmbedder, make_faces
    >>> faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    >>> embedder = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    >>> embedder.fit_transform(faces.data, faces.target).shape
    (32, 128)
    """

    def __init__(
        self,
        backbone: "str | Callable[[], nn.Module] | None" = None,
        weights: str | PathLike[str] | None = "skface-mini",
        *,
        image_shape: tuple[int, ...] | None = None,
        trainable: str | int = "auto",
        embedding_dim: int | None = None,
        loss: "str | Callable[[Tensor, Tensor], Tensor]" = "triplet",
        margin: float = 0.2,
        mining: str = "semi_hard",
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
        self.loss = loss
        self.margin = margin
        self.mining = mining
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
            For faces the identities, of any label type. For pairs two labels, of which the last in
            sorted order means the same person. Ignored if nothing is trained.

        Returns
        -------
        self : FaceNetEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, or if no identity has two faces.
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
        if not callable(self.loss):
            check_option(self.loss, "loss", _LOSSES)
        check_option(self.mining, "mining", _MINING)
        check_finite(self.margin, "margin")

    def _make_task(self, rows: Rows, y: Any) -> "Task":
        from skface.embedding._tasks import LabelTask

        faces = collect_faces(rows, y, type(self).__name__, want_pairs=False, want_identities=True)
        batch_shape = (self.n_identities_per_batch, self.n_images_per_identity)
        return LabelTask(faces, self._make_objective, batch_shape, self.batch_size)

    def _make_objective(self, n_identities: int, embedding_dim: int) -> "nn.Module":
        from skface.nn.losses import MarginSoftmax
        from skface.nn.objectives import LabelLoss, Triplet

        if self.loss == "triplet":
            return Triplet(self.margin, self.mining)
        if callable(self.loss):
            return LabelLoss(copy.deepcopy(self.loss))
        return LabelLoss(
            MarginSoftmax(n_identities, embedding_dim, kind=self.loss, margin=self.margin)
        )
