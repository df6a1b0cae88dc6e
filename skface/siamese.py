"""SiameseVerifier: twin networks and a classifier that decide on a pair of faces, end to end."""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._fitting import NetworkMixin
from skface.base import embed_rows
from skface.nn.objectives import DifferenceHead, PairClassifier


class SiameseVerifier(NetworkMixin, ClassifierMixin, BaseEstimator):
    """Decide whether two faces show one person, with a Siamese network trained end to end.

    Two copies of one network turn the two faces into unit vectors h1 and h2, and a fully connected
    layer turns their absolute difference into one number between 0 and 1,
    ``sigmoid(b + sum_j a_j |h1_j - h2_j|)`` [1]_, which is compared with `threshold`. Network and
    layer are trained together, by binary cross-entropy. Swapping the two faces changes nothing.

    On pairs, `fit` learns from the pairs as they are labelled. On faces with identities it draws
    pairs: all pairs of one person in a batch, and as many of two people. The probabilities are
    those for the mixture of pairs in training, so half and half when pairs are drawn.

    Parameters
    ----------
    backbone : str or callable, default=None
        A registered network ("inception_resnet_v1", "mobilefacenet", "retail-0095", "small-resnet",
        "iresnet18", "iresnet50", "iresnet-mini", or "mlp" for rows that are feature vectors), or a
        callable without arguments that returns a ``torch.nn.Module`` from (n, 3, H, W) to (n, d),
        fed ``(pixels - 127.5) / 127.5``. It has to build the same network at every call, except for
        the weights; to be saved, it has to be a named function of a module.
        None means what the weights need, and "small-resnet" without weights.
    weights : str, path or None, default="skface-mini"
        A registered name (see :func:`skface.weights.list_weights`), of which "skface-mini" needs no
        download; a file (.pt, .safetensors, or .xml for face-reidentification-retail-0095); or None
        for a random start.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of flattened images, and the size that faces are resized to for a network that takes
        any size. None takes the size of the training faces.
    trainable : {"auto", "all", "head", "none"} or int, default="auto"
        What `fit` trains of the network: everything; the head, that is its last layer; the head
        and this many stages before it; or nothing. "auto" freezes given weights and trains random
        ones. The fully connected layer on top is trained always.
    embedding_dim : int, default=None
        Length of the embedding; None takes the network's own.
    threshold : float, default=0.5
        Probability of "same", in [0, 1], from which on a pair is accepted. It is used by `predict`
        and `decision_function` as it is then: changing it takes no new `fit`.
    n_identities_per_batch : int, default=16
        People in a training batch.
    n_images_per_identity : int, default=4
        Photos of each person in a training batch.
    max_epochs : int, default=30
        Passes over the training faces.
    learning_rate : float, default=1e-3
        Highest learning rate, reached after a warm-up and lowered along a cosine. To fine-tune
        given weights, a tenth of the default or less is a good start.
    weight_decay : float, default=1e-4
        How strongly the optimiser (AdamW) pulls weights towards 0.
    augment : bool or Augmentation, default=True
        Whether training faces are mirrored, shifted, turned, relit, blurred and covered in part,
        at random. A :class:`skface.nn.augment.Augmentation` says how much of each.
    early_stopping : bool, default=False
        Whether to hold people out of training, to stop when their pairs get no better, and to keep
        the network of the best epoch (or of the start, if no epoch is as good).
    validation_fraction : float, default=0.1
        Share of the people to hold out, two at least. Only used if `early_stopping` is True.
    n_iter_no_change : int, default=10
        Epochs without improvement to wait for. Only used if `early_stopping` is True.
    warm_start : bool, default=False
        Whether `fit` goes on with the network of the last `fit` for `max_epochs` more, and with
        the state of its optimiser if the same parts are trained. Early stopping holds the same
        people out if the faces are the same.
    checkpoint_dir : str or path, default=None
        Folder in which `fit` saves its state after every epoch. The same `fit` on the same faces,
        after its process was killed, goes on from there and ends at the same network. Every
        combination of parameters and faces has a file of its own, so a grid search may share the
        folder. Needs an int as `random_state`. A function that you pass is known by its name: it
        needs one, and if you change its code, remove the files, which stay until you do.
    chunk_size : int, default=256
        Faces of a training batch that go through the network at a time, at least 3. Larger batches
        take twice the computation, and the memory of a chunk; batch normalisation sees one chunk.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of training and of embedding; the vectors are float32 always. "auto" means
        bfloat16 where the processor multiplies it natively (for training, on a GPU only), else
        float32. bfloat16 is rejected, with a warning, if the mean cosine to float32 is below 0.9995
        on eight drawn faces.
    runtime : {"auto", "torch", "openvino"}, default="auto"
        What runs the network on a CPU to embed faces. "auto" means "openvino" if OpenVINO is
        installed (``pip install 'skface[fast]'``), else "torch". OpenVINO is faster per face, but
        converts the network at the first call of a process, which takes 0.3 to 5 seconds. If
        its vectors are not those of torch to within rounding, torch is used, with a warning.
    batch_size : int, default=64
        Faces embedded at a time. It bounds memory, and changes results by
        rounding only.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
    random_state : int, RandomState instance or None, default=None
        Governs the initial weights, batches, augmentation and the people held out. On a CPU the
        same int gives the same network.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The two labels sorted, the last one meaning "same"; 0 and 1 if fitted on faces.
    coef_ : ndarray of shape (embedding_dim_,)
        Weights a of the absolute differences.
    intercept_ : float
        Log-odds b of two equal vectors.
    weights_ : dict of str to ndarray
        The network's parameters and buffers.
    weights_digest_ : str
        Digest of `weights_`, in hexadecimal digits: equal for equal weights.
    backbone_ : str or callable
        The network in use.
    input_shape_ : tuple
        (3, H, W) of the network's faces, or (d,) of its vectors.
    embedding_dim_ : int
        Length of an embedding.
    preprocessing_ : Preprocessing
        Size, channel order and scaling of the network's input. None for feature vectors.
    history_ : dict of str to ndarray
        A column per measure, an entry per epoch, ready for a data frame; empty if nothing was
        trained. Loss and measures are means over the batches, as seen in training:
        "epoch", "loss", "accuracy" (share of the pairs on the right
        side of 0.5), "mean_genuine_distance" and
        "mean_impostor_distance" (squared L2, 0 to 4) and "learning_rate"; with early stopping also
        "validation_eer" and "validation_tar" (at a false acceptance rate of 1 %).
    best_epoch_ : int or None
        Epoch whose network was kept, 0 for the start; None without `early_stopping`.
    training_state_ : dict
        What `warm_start` needs. Only present if `warm_start` is True.

    See Also
    --------
    SiameseEmbedder : Vectors from a Siamese network, trained with contrastive loss.
    PairVerifier : Learns a threshold for the vectors of any embedder.

    Notes
    -----
    A face that an earlier step did not find (all NaN) makes its pair "different", with probability
    0 of "same" and a `decision_function` of NaN.

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

    _learns_from_pairs = True
    _has_head = True

    def __init__(
        self,
        backbone=None,
        weights="skface-mini",
        *,
        image_shape=None,
        trainable="auto",
        embedding_dim=None,
        threshold=0.5,
        n_identities_per_batch=16,
        n_images_per_identity=4,
        max_epochs=30,
        learning_rate=1e-3,
        weight_decay=1e-4,
        augment=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        warm_start=False,
        checkpoint_dir=None,
        chunk_size=256,
        precision="auto",
        runtime="auto",
        batch_size=64,
        device="auto",
        random_state=None,
        verbose=0,
    ):
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
    def fit(self, X, y):
        """Train the layer on top, and the network if it is trainable.

        Under `torchrun`, all processes call this with the same rows and train one network.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface.images.check_images` accepts; (n, d) or (n, 2, d) vectors
            for a backbone over feature vectors.
        y : array-like of shape (n,)
            For pairs two labels, the last one in sorted order meaning the same person. For faces
            the identities, of any label type.

        Returns
        -------
        self : SiameseVerifier
            The fitted verifier.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, or if no two faces show one person, or none two
            people.
        FloatingPointError
            If training diverges.
        skface.weights.WeightsError
            If the weights are not at hand and may not or cannot be downloaded.

        Warns
        -----
        skface.nn.training.TrainingCollapseWarning
            If training has mapped all faces to nearly the same point.
        """
        self._fit_network(X, y)
        return self

    def decision_function(self, X):
        """Compute how far the log-odds of each pair lie above those of the threshold.

        Parameters
        ----------
        X : pairs
            Any pairs that `fit` accepts.

        Returns
        -------
        ndarray of shape (n_pairs,)
            0 and more is accepted; NaN for failures.
        """
        return self._log_odds(X) - logit(self._check_threshold())

    def predict_proba(self, X):
        """Compute the probability that each pair shows different people, and one person.

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

    def predict(self, X):
        """Decide whether each pair shows one person.

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

    def _check_params(self):
        super()._check_params()
        self._check_threshold()

    def _check_threshold(self):
        return check_scalar(self.threshold, "threshold", Real, min_val=0, max_val=1)

    def _make_objective(self, n_identities, embedding_dim):
        return PairClassifier(DifferenceHead(embedding_dim))

    def _score_pairs(self, left, right, objective):
        linear = objective.head.linear
        weight, bias = (tensor.detach().cpu().numpy() for tensor in (linear.weight, linear.bias))
        return _log_odds(left, right, weight[0], bias[0])

    def _fitted_attributes(self, network, objective, faces):
        linear = objective.head.linear
        return super()._fitted_attributes(network, objective, faces) | {
            "classes_": faces.classes,
            "coef_": linear.weight.detach().cpu().numpy()[0].copy(),
            "intercept_": float(linear.bias.detach()),
        }

    def _log_odds(self, X):
        """Return the log-odds of "same" of each pair, NaN for failures."""
        check_is_fitted(self)
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        rows = self._check_rows(X)
        if rows.arity != 2:
            raise ValueError(
                f"X holds {rows.n_rows} single faces, but SiameseVerifier decides on pairs of "
                "them: (n, 2, ...). A single pair is [[left, right]]."
            )
        vectors = rows.regroup(embed_rows(rows, self._embed, self.embedding_dim_, self.batch_size))
        return _log_odds(vectors[:, 0], vectors[:, 1], self.coef_, self.intercept_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        # what it predicts on is pairs: 2-D rows would be faces
        tags.input_tags.two_d_array = False
        return tags


def _log_odds(left, right, coef, intercept):
    """Return ``intercept + |left - right| @ coef`` row by row."""
    # Not a matrix product, whose rounding may depend on the position of the row.
    return (np.abs(left - right).astype(np.float64) * coef).sum(axis=1) + intercept
