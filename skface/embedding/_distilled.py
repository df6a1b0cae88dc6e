"""DistilledEmbedder: a network that imitates the embeddings of a teacher."""

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import with_callbacks

from skface._rows import Rows
from skface._utils.docs import share_docs
from skface._utils.validation import check_option
from skface.embedding._base import BaseEmbedder
from skface.embedding._estimator import NetworkEstimator
from skface.embedding._parameters import DOCS, check_no_blends
from skface.embedding._training_set import collect_unlabeled, is_float_matrix
from skface.nn.backbones import is_flat

if TYPE_CHECKING:
    from torch import nn

    from skface.embedding._tasks import Task
    from skface.nn.augment import Augmentation

_DOCS = DOCS | {
    "weights": DOCS["weights"].replace('default="skface-mini"', "default=None"),
    "early_stopping": """\
early_stopping : bool, default=False
    Whether to hold faces out of training, to stop when their mean cosine to the target embeddings
    no longer improves, and to keep the network of the best epoch. If no epoch is as good as the
    start, the network of the start is kept.
validation_fraction : float, default=0.1
    Share of the faces to hold out, two at least. Only used if `early_stopping` is True.
n_iter_no_change : int, default=10
    Epochs without improvement before training stops. Only used if `early_stopping` is True.""",
}


@share_docs(_DOCS)
class DistilledEmbedder(NetworkEstimator, BaseEmbedder):
    """Map faces to unit vectors with a network that imitates a teacher (knowledge distillation).

    The network learns to give the same embeddings as the teacher, which is most often a larger
    network. No labels are needed, so any photos of faces can be used. Every training face is
    augmented at random, and may be blended with another, before teacher and network embed it. With
    this, a few thousand photos are enough [1]_. Instead of a teacher, `y` may hold one target
    embedding per face.

    Training minimizes the mean of 1 - cosine to the target embeddings, plus 3 times the mean
    squared difference between the cosines within a batch and those of its targets [2]_. Large
    batches and hundreds of epochs improve the result.

    Parameters
    ----------
    teacher : estimator, default=None
        A fitted transformer from faces, (n, H, W, 3) RGB of uint8, to (n, d) vectors, such as
        another embedder. It receives the augmented training faces, at their own size (or
        `image_shape`). Wrap a teacher that was trained in :class:`sklearn.frozen.FrozenEstimator`,
        so that :func:`sklearn.base.clone` keeps it fitted. An embedder with given weights needs
        neither wrapping nor fitting. The teacher is pickled with the estimator; set it to None
        after `fit` to leave it out. None means that `y` holds the target embeddings.
    %(backbone)s
    %(weights)s
    %(image_shape)s
    trainable : {"auto", "all", "head"} or int, default="auto"
        Which part of the network `fit` trains. "all" and "auto" mean all of it, and "head" its last
        layer. An int means the head and this many stages before it.
    embedding_dim : int, default=None
        Length of the embedding, which must be that of the target embeddings. None takes that
        length, unless `weights` or a callable `backbone` determine it.
    n_faces_per_batch : int, default=64
        Faces in a training batch.
    %(optimization)s
    augment : bool or Augmentation, default=True
        Whether to augment training faces: random flip, shift, rotation, brightness and contrast,
        blur, and erasing. A :class:`skface.nn.augment.Augmentation` sets the amount of each, and,
        with a `teacher`, how many faces are blended with another.
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
        One array per measure, with one value per epoch. Loss and measures are means over the
        training batches: "epoch", "loss", "cosine" (to the target embeddings, -1 to 1) and
        "learning_rate". Early stopping adds "validation_cosine".
    %(training_attributes)s

    See Also
    --------
    FaceNetEmbedder : Learns from identities instead.

    Notes
    -----
    %(processes)s

    References
    ----------
    .. [1] L. Beyer, X. Zhai, A. Royer, L. Markeeva, R. Anil, A. Kolesnikov. Knowledge Distillation:
       A Good Teacher Is Patient and Consistent. CVPR 2022.
    .. [2] W. Park, D. Kim, Y. Lu, M. Cho. Relational Knowledge Distillation. CVPR 2019.

    Examples
    --------
    >>> from skface import DistilledEmbedder, FaceNetEmbedder, make_faces
    >>> faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    >>> teacher = FaceNetEmbedder(weights="skface-mini")
    >>> small = DistilledEmbedder(teacher, "small_resnet", max_epochs=1, random_state=0)
    >>> small.fit(faces.data).embedding_dim_
    256
    """

    def __init__(
        self,
        teacher: Any = None,
        backbone: "str | Callable[[], nn.Module] | None" = None,
        weights: str | PathLike[str] | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        trainable: str | int = "auto",
        embedding_dim: int | None = None,
        n_faces_per_batch: int = 64,
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
        self.teacher = teacher
        self.backbone = backbone
        self.weights = weights
        self.image_shape = image_shape
        self.trainable = trainable
        self.embedding_dim = embedding_dim
        self.n_faces_per_batch = n_faces_per_batch
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
        """Train the network to imitate the teacher, or the embeddings in `y`.

        Parameters
        ----------
        X : faces or pairs
            Rows of images, see the user guide. In pairs, each distinct photo is a training face.
            Vectors (n, d) for a backbone over feature vectors, without a teacher.
        y : array-like of shape (n, d), default=None
            Without a teacher, the target embedding of each face, of any length above 0. With a
            teacher, labels are ignored, and a matrix of floats is an error.

        Returns
        -------
        self : DistilledEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, or if the network cannot have embeddings of the
            length of the targets.
        TypeError
            If `teacher` is not a transformer.
        sklearn.exceptions.NotFittedError
            If `teacher` has to be fitted, and is not.
        FloatingPointError
            If training diverges.
        skface.exceptions.WeightsError
            If the weights are not available and may not or cannot be downloaded.
        """
        self._fit_network(X, y)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.trainable, str):
            check_option(self.trainable, "trainable", ("auto", "all", "head"))
        if self.teacher is None:
            check_no_blends(self.augment)
            return
        if not hasattr(self.teacher, "transform"):
            raise TypeError(
                f"teacher={self.teacher!r} has no transform: pass an embedder, or any fitted "
                "transformer from faces to vectors."
            )
        if is_flat(self.backbone):
            raise ValueError(
                f"backbone={self.backbone!r} takes feature vectors, which teacher={self.teacher!r} "
                "cannot embed: pass its embeddings as y."
            )

    def _resolve_trainable(self) -> str | int:
        return "all" if self.trainable == "auto" else self.trainable

    def _make_task(self, rows: Rows, y: Any) -> "Task":
        from skface.embedding._distillation import DistillationTask, Teacher
        from skface.embedding._network import choose_face_size

        targets = self._check_targets(y)
        faces = collect_unlabeled(rows, targets)
        if targets is not None:
            return DistillationTask(faces, self.n_faces_per_batch, self.batch_size)
        size = choose_face_size(self.image_shape, rows, self.batch_size)
        teacher = Teacher(self.teacher, size, rows.images[faces.places[0]])
        return DistillationTask(faces, self.n_faces_per_batch, self.batch_size, teacher)

    def _check_targets(self, y: Any) -> NDArray[Any] | None:
        """Return the target embeddings, or None if a teacher gives them."""
        if self.teacher is not None:
            if is_float_matrix(y):
                raise ValueError(
                    f"y of shape {np.shape(y)} holds target embeddings, but teacher="
                    f"{self.teacher!r} gives others. Pass one of the two."
                )
            return None
        if y is None:
            raise ValueError(
                "DistilledEmbedder with teacher=None requires y to be passed, but the target y is "
                "None: pass a teacher, or one embedding per face as y."
            )
        y = np.asarray(y)
        if not is_float_matrix(y):
            raise ValueError(
                f"y has shape {y.shape} and dtype {y.dtype}, but teacher=None, so it must hold one "
                "embedding per face: floats of shape (n, d), d > 1. To learn from labels, use "
                "FaceNetEmbedder."
            )
        return y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.teacher is None
        return tags
