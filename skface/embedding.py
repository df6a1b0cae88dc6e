"""Embedders that hold a network: FaceNet, and the twin of a Siamese network."""

import copy

import numpy as np
from sklearn.callback import with_callbacks
from sklearn.utils import check_scalar

from skface._fitting import NetworkMixin
from skface._validation import check_finite, check_option
from skface.base import BaseEmbedder
from skface.nn.losses import MarginSoftmax
from skface.nn.mining import MINING_STRATEGIES
from skface.nn.objectives import Contrastive, Labelled, Triplet

_LOSSES = ("triplet", "arcface", "cosface")


class FaceNetEmbedder(NetworkMixin, BaseEmbedder):
    """Map faces to the unit sphere with a FaceNet: pretrained, or trained with triplet loss.

    Given weights are used as they are unless `trainable` says otherwise; without weights the
    network is trained from scratch [1]_. On pairs, each distinct photo is embedded once, and `fit`
    recovers identities from the pairs labelled same: what they connect is one person, and groups
    of photos that no such pair connects are taken to be different people. If two groups of one
    person are never compared, training therefore pushes them apart: label such a pair, or fit on
    faces with identities.

    Instead of learning from labels, the network may imitate another, most often a larger one
    (knowledge distillation): with a `teacher`, whose embedding of every varied training face it is
    to reach, or with embeddings as `y`. It then minimises the mean of 1 - cosine, plus 3 times the
    mean squared difference between the cosines within a batch and those of the teacher's
    embeddings [4]_. Varied at random, and blended, a few thousand unlabelled photos go a long way
    [5]_.

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
    teacher : estimator, default=None
        What to imitate: a fitted transformer from faces, (n, H, W, 3) RGB of uint8, to (n, d)
        vectors, such as another embedder. It sees the training faces varied, at their own size
        (`image_shape` where that is given); `y` is not used. Wrap it into
        :class:`sklearn.frozen.FrozenEstimator`, or :func:`sklearn.base.clone` forgets what it
        learnt; embedders with given weights, which learn nothing, need neither that nor fitting.
        It is saved with the estimator: to leave it out, set it to None after `fit`.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of flattened images, and the size that faces are resized to for a network that takes
        any size. None takes the size of the training faces.
    trainable : {"auto", "all", "head", "none"} or int, default="auto"
        What `fit` trains of the network: everything; the head, that is its last layer; the head
        and this many stages before it; or nothing. "auto" trains random weights, and given ones if
        there is something to imitate, and freezes given ones otherwise.
    embedding_dim : int, default=None
        Length of the embedding; None takes the network's own, or that of what is imitated.
    loss : {"triplet", "arcface", "cosface"} or callable, default="triplet"
        What training minimises: FaceNet's triplet loss; a softmax over the training people with an
        additive margin on the angle [2]_ or on the cosine [3]_, which forgets its class weights
        after training; or any callable ``loss(embeddings, labels)`` of an (n, d) and an (n,)
        Tensor, such as a loss of pytorch-metric-learning. A ``torch.nn.Module`` is copied, and its
        parameters are trained too. Not used to imitate.
    margin : float, default=0.2
        Margin of the loss: on squared L2 distances, which lie in [0, 4], for "triplet"; an angle in
        radians for "arcface" (0.5 is usual); a cosine for "cosface" (0.35 is usual). Not used by a
        callable.
    mining : {"semi-hard", "hard", "all"}, default="semi-hard"
        Which triplets of a batch are learnt from. Only used by "triplet".
    n_identities_per_batch : int, default=16
        People in a training batch.
    n_images_per_identity : int, default=4
        Photos of each person in a training batch. To imitate, a batch is as many photos in all,
        whoever they show.
    max_epochs : int, default=30
        Passes over the training faces.
    learning_rate : float, default=1e-3
        Highest learning rate, reached after a warm-up and lowered along a cosine. To fine-tune
        given weights, a tenth of the default or less is a good start.
    weight_decay : float, default=1e-4
        How strongly the optimiser (AdamW) pulls weights towards 0.
    augment : bool or Augmentation, default=True
        Whether training faces are mirrored, shifted, turned, relit, blurred and covered in part,
        at random. A :class:`skface.nn.augment.Augmentation` says how much of each, and, with a
        `teacher`, how many are blended with another.
    early_stopping : bool, default=False
        Whether to hold people out of training, to stop when their pairs get no better, and to keep
        the network of the best epoch (or of the start, if no epoch is as good). To imitate, faces
        are held out, and their cosine is what counts.
    validation_fraction : float, default=0.1
        Share of the people, or faces, to hold out, two at least. Only used if `early_stopping` is
        True.
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
    flip : bool, default=False
        Whether to average the embeddings of each face and its mirror image.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
    random_state : int, RandomState instance or None, default=None
        Governs the initial weights, batches, augmentation and the people held out. On a CPU the
        same int gives the same network.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
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
        "epoch", "loss", for the triplet loss "active_triplets" (the number with a loss
        above 0) and "active_fraction" (share of the anchors in one), "mean_genuine_distance" and
        "mean_impostor_distance" (squared L2, 0 to 4) and "learning_rate"; with early stopping also
        "validation_eer" and "validation_tar" (at a false acceptance rate of 1 %). To imitate:
        "epoch", "loss", "cosine" (to what is imitated, -1 to 1), "learning_rate", and
        "validation_cosine".
    best_epoch_ : int or None
        Epoch whose network was kept, 0 for the start; None without `early_stopping`.
    training_state_ : dict
        What `warm_start` needs. Only present if `warm_start` is True.

    See Also
    --------
    SiameseEmbedder : The same, trained with contrastive loss.
    OnnxEmbedder : The same for networks stored as ONNX or OpenVINO files.
    PairVerifier : Learns a decision threshold on these embeddings.

    References
    ----------
    .. [1] F. Schroff, D. Kalenichenko, J. Philbin. FaceNet: A Unified Embedding for Face
       Recognition and Clustering. CVPR 2015.
    .. [2] J. Deng, J. Guo, N. Xue, S. Zafeiriou. ArcFace: Additive Angular Margin Loss for Deep
       Face Recognition. CVPR 2019.
    .. [3] H. Wang et al. CosFace: Large Margin Cosine Loss for Deep Face Recognition. CVPR 2018.
    .. [4] W. Park, D. Kim, Y. Lu, M. Cho. Relational Knowledge Distillation. CVPR 2019.
    .. [5] L. Beyer, X. Zhai, A. Royer, L. Markeeva, R. Anil, A. Kolesnikov. Knowledge Distillation:
       A Good Teacher Is Patient and Consistent. CVPR 2022.

    Examples
    --------
    >>> from skface import FaceNetEmbedder, make_faces
    >>> faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    >>> embedder = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    >>> embedder.fit_transform(faces.data, faces.target).shape
    (32, 128)

    A smaller network that imitates it, for which nobody has to label a photo:

    >>> from sklearn.frozen import FrozenEstimator
    >>> small = FaceNetEmbedder(
    ...     "mobilefacenet", None, teacher=FrozenEstimator(embedder), max_epochs=1, random_state=0
    ... )
    >>> small.fit(faces.data).embedding_dim_
    128
    """

    _can_imitate = True

    def __init__(
        self,
        backbone=None,
        weights="skface-mini",
        *,
        teacher=None,
        image_shape=None,
        trainable="auto",
        embedding_dim=None,
        loss="triplet",
        margin=0.2,
        mining="semi-hard",
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
        flip=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.weights = weights
        self.teacher = teacher
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
    def fit(self, X, y=None):
        """Load the network, and train it if it is trainable.

        Under `torchrun`, all processes call this with the same rows and train one network, each on
        its share of every batch; samples, mining and loss are those of the whole batch.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface.images.check_images` accepts; (n, d) or (n, 2, d) vectors
            for a backbone over feature vectors.
        y : array-like of shape (n,) or (n, d), default=None
            For faces the identities, of any label type. For pairs two labels, the last one in
            sorted order meaning the same person. Not used by a frozen network, nor with a teacher.
            A float array (n, d) holds an embedding of each face to imitate, of any length above 0.

        Returns
        -------
        self : FaceNetEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, if no identity has two faces, or if the network
            cannot imitate what it is given.
        TypeError
            If `teacher` is no transformer.
        sklearn.exceptions.NotFittedError
            If `teacher` has to learn and is not fitted.
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

    def _check_params(self):
        super()._check_params()
        check_scalar(self.flip, "flip", (bool, np.bool_))
        if not callable(self.loss):
            check_option(self.loss, "loss", _LOSSES)
        check_option(self.mining, "mining", MINING_STRATEGIES)
        check_finite(self.margin, "margin")

    def _make_objective(self, n_identities, embedding_dim):
        if self.loss == "triplet":
            return Triplet(self.margin, self.mining)
        if callable(self.loss):
            return Labelled(copy.deepcopy(self.loss))
        return Labelled(
            MarginSoftmax(n_identities, embedding_dim, kind=self.loss, margin=self.margin)
        )


class SiameseEmbedder(NetworkMixin, BaseEmbedder):
    """Map faces to the unit sphere with one twin of a Siamese network, by contrastive loss.

    Two copies of one network embed the two faces of a pair. Training pulls pairs of one person
    together, and pushes pairs of two people apart while they are closer than `margin` [1]_. On
    pairs, `fit` learns from the pairs as they are labelled, and assumes nothing about photos that
    were never compared (early stopping does: its people are groups of photos that pairs of one
    person connect). On faces with identities it draws pairs: all pairs of one person in a
    batch, and as many of two people.

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
        ones.
    embedding_dim : int, default=None
        Length of the embedding; None takes the network's own.
    margin : float, default=1.0
        Distance (L2, in [0, 2] on the unit sphere) up to which different people are pushed apart.
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
    flip : bool, default=False
        Whether to average the embeddings of each face and its mirror image.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
    random_state : int, RandomState instance or None, default=None
        Governs the initial weights, batches, augmentation and the people held out. On a CPU the
        same int gives the same network.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
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
        "epoch", "loss", "active_fraction" (share of the pairs with a loss above 0),
        "mean_genuine_distance" and "mean_impostor_distance" (squared L2, 0 to 4) and
        "learning_rate"; with early stopping also "validation_eer" and "validation_tar" (at a false
        acceptance rate of 1 %).
    best_epoch_ : int or None
        Epoch whose network was kept, 0 for the start; None without `early_stopping`.
    training_state_ : dict
        What `warm_start` needs. Only present if `warm_start` is True.

    See Also
    --------
    FaceNetEmbedder : The same, trained with triplet loss.
    SiameseVerifier : A Siamese network with a classifier on top.

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

    _learns_from_pairs = True

    def __init__(
        self,
        backbone=None,
        weights="skface-mini",
        *,
        image_shape=None,
        trainable="auto",
        embedding_dim=None,
        margin=1.0,
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
        flip=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
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
    def fit(self, X, y=None):
        """Load the network, and train it if it is trainable.

        Under `torchrun`, all processes call this with the same rows and train one network, each on
        its share of every batch; samples, mining and loss are those of the whole batch.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface.images.check_images` accepts; (n, d) or (n, 2, d) vectors
            for a backbone over feature vectors.
        y : array-like of shape (n,), default=None
            For faces the identities, of any label type. For pairs two labels, the last one in
            sorted order meaning the same person. Not used by a frozen network.

        Returns
        -------
        self : SiameseEmbedder
            The fitted embedder.

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

    def _check_params(self):
        super()._check_params()
        check_scalar(self.flip, "flip", (bool, np.bool_))
        check_finite(self.margin, "margin")

    def _make_objective(self, n_identities, embedding_dim):
        return Contrastive(self.margin)
