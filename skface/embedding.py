"""FaceNetEmbedder: a network that maps a face to a point on the unit sphere."""

from numbers import Integral, Real
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import column_or_1d, validate_data

from skface._validation import check_option, encode_labels, name_some
from skface.base import BaseEmbedder, Preprocessing, live
from skface.images import Rows, iter_batches, vector_rows
from skface.nn.augment import augment
from skface.nn.backbones import BACKBONES, get_backbone, load_retail0095_ir
from skface.nn.rng import private_global_rng
from skface.nn.training import train_embedder
from skface.pairs import check_same, identities_from_pairs, row_images
from skface.weights import REGISTRY, fetch_weights, load_state, weights_info


class FaceNetEmbedder(BaseEmbedder):
    """Map faces to the unit sphere with a FaceNet: pretrained, or trained with triplet loss.

    Given weights are used as they are unless `trainable` says otherwise; without weights the
    network is trained from scratch [1]_. On pairs, each distinct photo is embedded once, and `fit`
    recovers identities from the pairs labelled same: what they connect is one person, and groups
    of photos that no such pair connects are taken to be different people. If two groups of one
    person are never compared, training therefore pushes them apart: label such a pair, or fit on
    faces with identities.

    Parameters
    ----------
    backbone : str or callable, default=None
        A registered network ("inception_resnet_v1", "mobilefacenet", "retail-0095", "small-resnet",
        or "mlp" for rows that are feature vectors), or a callable without arguments that returns
        a ``torch.nn.Module`` from (n, 3, H, W) to (n, d), fed ``(pixels - 127.5) / 127.5``; to be
        saved, it has to be a named function of a module. None means what the weights need, and
        "small-resnet" without weights.
    weights : str, path or None, default="vggface2"
        A registered name (see :func:`skface.weights.list_weights`), a file (.pt, .safetensors, or
        .xml for face-reidentification-retail-0095), or None for a random start.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of flattened images, and the size that faces are resized to for a network that takes
        any size. None takes the size of the training faces.
    trainable : {"auto", "all", "none"}, default="auto"
        What `fit` trains: "auto" freezes given weights and trains random ones.
    embedding_dim : int, default=None
        Length of the embedding; None takes the network's own.
    margin : float, default=0.2
        Margin of the triplet loss, on squared L2 distances, which lie in [0, 4].
    mining : {"semi-hard", "hard", "all"}, default="semi-hard"
        Which triplets of a batch are learnt from.
    n_identities_per_batch : int, default=16
        People in a training batch.
    n_images_per_identity : int, default=4
        Photos of each person in a training batch.
    max_epochs : int, default=30
        Passes over the training faces.
    learning_rate : float, default=1e-3
        Highest learning rate, reached after a warm-up and lowered along a cosine.
    augment : bool, default=True
        Whether training faces are mirrored, shifted and relit at random.
    batch_size : int, default=64
        Faces embedded at a time. It bounds memory and changes no result.
    flip : bool, default=False
        Whether to average the embeddings of each face and its mirror image.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
    random_state : int, RandomState instance or None, default=None
        Governs the initial weights, batches and augmentation. On a CPU the same int gives the
        same network.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    weights_ : dict of str to ndarray
        The network's parameters and buffers.
    backbone_ : str or callable
        The network in use.
    embedding_dim_ : int
        Length of an embedding.
    preprocessing_ : Preprocessing
        Size, channel order and scaling of the network's input. None for feature vectors.
    history_ : list of dict
        One entry per epoch of training: loss and distances. Empty if nothing was trained.

    See Also
    --------
    OnnxEmbedder : The same for networks stored as ONNX or OpenVINO files.
    PairVerifier : Learns a decision threshold on these embeddings.

    References
    ----------
    .. [1] F. Schroff, D. Kalenichenko, J. Philbin. FaceNet: A Unified Embedding for Face
       Recognition and Clustering. CVPR 2015.

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
        backbone=None,
        weights="vggface2",
        *,
        image_shape=None,
        trainable="auto",
        embedding_dim=None,
        margin=0.2,
        mining="semi-hard",
        n_identities_per_batch=16,
        n_images_per_identity=4,
        max_epochs=30,
        learning_rate=1e-3,
        augment=True,
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
        self.mining = mining
        self.n_identities_per_batch = n_identities_per_batch
        self.n_images_per_identity = n_images_per_identity
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.augment = augment
        self.batch_size = batch_size
        self.flip = flip
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Load the network, and train it if it is trainable.

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
        self : FaceNetEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter, `X` or `y` is invalid, or if no identity has two faces.
        skface.weights.WeightsError
            If the weights are not at hand and may not or cannot be downloaded.
        """
        self._check_params()
        backbone, state = self._choose_network()
        flat = backbone in BACKBONES and BACKBONES[backbone].flat
        trains = state is None if self.trainable == "auto" else self.trainable == "all"
        if flat:
            rows = self._check_vectors(X, reset=True, min_rows=2 if trains else 1)
        else:
            rows = super()._check_rows(X)
        chosen, labels = self._label_faces(rows, y) if trains else (None, None)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)

        self.backbone_ = backbone
        self.input_shape_ = self._input_shape(backbone, rows)
        self.preprocessing_ = None if flat else self._preprocessing(backbone)
        module = self._build(state, self.embedding_dim, seed)
        self.history_ = self._train(module, rows, chosen, labels, seed) if trains else []
        self.weights_ = {name: t.cpu().numpy().copy() for name, t in module.state_dict().items()}
        self.embedding_dim_ = self._measure_dim(module)
        return self

    def _check_params(self):
        check_option(self.trainable, "trainable", ("auto", "all", "none"))
        check_option(self.mining, "mining", ("semi-hard", "hard", "all"))
        check_scalar(self.flip, "flip", (bool, np.bool_))
        _choose_device(self.device)
        check_scalar(self.margin, "margin", Real, min_val=0, include_boundaries="neither")
        check_scalar(
            self.learning_rate, "learning_rate", Real, min_val=0, include_boundaries="neither"
        )
        for name, least in (
            ("n_identities_per_batch", 2),
            ("n_images_per_identity", 2),
            ("max_epochs", 1),
            ("batch_size", 1),
        ):
            check_scalar(getattr(self, name), name, Integral, min_val=least)
        if self.embedding_dim is not None:
            check_scalar(self.embedding_dim, "embedding_dim", Integral, min_val=1)
            if callable(self.backbone):
                raise ValueError(
                    f"embedding_dim={self.embedding_dim} cannot be passed to a backbone that is a "
                    "callable: let the callable build a network of that width."
                )

    def _choose_network(self):
        """Return the backbone, and the given weights or None."""
        backbone, weights = self.backbone, self.weights
        if isinstance(backbone, torch.nn.Module):
            raise TypeError(
                f"backbone is a {type(backbone).__name__}, a network: pass a function without "
                "arguments that builds one, so that every fit starts from a fresh one."
            )
        if not (weights is None or isinstance(weights, str | PathLike)):
            raise TypeError(f"weights={weights!r} is neither a name, nor a path, nor None.")
        if backbone is not None and not callable(backbone):
            check_option(backbone, "backbone", tuple(BACKBONES))
        if weights is None:
            return ("small-resnet" if backbone is None else backbone), None
        if isinstance(weights, str) and weights in REGISTRY:
            entry = weights_info(weights)
            if entry.backbone is None:
                raise ValueError(
                    f"weights={weights!r} are no network of FaceNetEmbedder; ONNX embedders are "
                    "used with OnnxEmbedder, detectors with FaceAligner."
                )
            if backbone not in (None, entry.backbone):
                raise ValueError(
                    f"weights={weights!r} belong to backbone={entry.backbone!r}, not {backbone!r}."
                )
            return entry.backbone, _read_state(fetch_weights(weights)[0])
        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"weights={str(weights)!r} is neither a file nor a registered name "
                f"({', '.join(REGISTRY)})."
            )
        if backbone is None and path.suffix == ".xml":
            backbone = "retail-0095"
        if backbone is None:
            raise ValueError(
                f"weights={str(weights)!r} is a file, so backbone must name its network: "
                f"{', '.join(BACKBONES)}, or a callable."
            )
        return backbone, _read_state(path)

    def _check_rows(self, X):
        if self.preprocessing_ is None:
            return self._check_vectors(X, reset=False)
        return super()._check_rows(X)

    def _check_vectors(self, X, *, reset, min_rows=1):
        """Check feature vectors through a 2-D view, so that n_features_in_ is one vector's."""
        rules = {"reset": reset, "dtype": np.float32, "ensure_min_samples": min_rows}
        X = X if hasattr(X, "columns") or hasattr(X, "toarray") else np.asarray(X)
        if getattr(X, "ndim", 2) != 3:
            return vector_rows(validate_data(self, X, **rules))
        if X.shape[1] != 2:
            raise ValueError(f"X has shape {X.shape}; pairs of feature vectors are (n, 2, d).")
        flat = validate_data(self, X.reshape(-1, X.shape[2]), **rules)
        return vector_rows(flat.reshape(X.shape))

    def _label_faces(self, rows: Rows, y):
        """Return the distinct faces to train on, as places in ``rows.images``, and their labels."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None: identities for faces, same or different for pairs."
            )
        chosen, inverse = row_images(rows)
        if rows.arity == 1:
            y = column_or_1d(y, warn=True)
            if len(y) != rows.n_rows:
                raise ValueError(f"y has {len(y)} labels, but X has {rows.n_rows} rows.")
            labels = encode_labels(y, "y")[1]
        else:
            same = check_same(y, rows.n_rows)
            left, right = inverse.reshape(-1, 2).T
            labels = identities_from_pairs(left, right, same, len(chosen))
        found = np.array([not rows.images.is_missing(i) for i in chosen])
        return chosen[found], labels[found]

    def _input_shape(self, backbone, rows):
        """Return (3, H, W) of the network's faces, or (d,) of its vectors."""
        spec = None if callable(backbone) else get_backbone(backbone)
        if spec is not None and spec.flat:
            return (rows.images[0].shape[-1],)
        if spec is not None and spec.input_size is not None:
            size = spec.input_size
        elif self.image_shape is not None:
            size = self.image_shape[:2]
        else:
            size = rows.size or _common_size(rows, self.batch_size)
        return (3, *size)

    def _preprocessing(self, backbone):
        size = self.input_shape_[1:]
        if callable(backbone):
            return Preprocessing(size)
        spec = get_backbone(backbone)
        return Preprocessing(size, spec.color, spec.mean, spec.std)

    def _build(self, state, embedding_dim, seed=0):
        """Build the network, with given weights or, seeded, with random ones."""
        with private_global_rng(seed):
            if callable(self.backbone_):
                module = self.backbone_()
            else:
                spec = get_backbone(self.backbone_)
                width = spec.embedding_dim if embedding_dim is None else embedding_dim
                module = spec.build(width, self.input_shape_)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"backbone={self.backbone_!r} returned a {type(module).__name__}, not a "
                "torch.nn.Module."
            )
        if state is not None:
            _load_into(module, state, self.weights)
        return module.eval()

    def _measure_dim(self, module):
        with torch.inference_mode():
            out = module(torch.zeros(1, *self.input_shape_))
        if out.ndim != 2:
            raise ValueError(
                f"backbone={self.backbone_!r} returned shape {tuple(out.shape)} for one face; "
                "expected (1, d)."
            )
        return out.shape[1]

    def _train(self, module, rows, chosen, labels, seed):
        def fetch(indices):
            batches = iter_batches(rows.images, chosen[np.asarray(indices)], self.batch_size)
            return torch.from_numpy(np.concatenate([self._inputs(faces) for _, faces in batches]))

        history = train_embedder(
            module,
            fetch,
            labels,
            margin=self.margin,
            mining=self.mining,
            n_identities_per_batch=self.n_identities_per_batch,
            n_images_per_identity=self.n_images_per_identity,
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            augment=self._vary if self.augment and self.preprocessing_ is not None else None,
            device=_choose_device(self.device),
            seed=seed,
            on_epoch_end=_print_epoch if self.verbose else None,
        )
        module.to("cpu")
        return history

    def _vary(self, batch, generator):
        """Augment a batch of the network's own range of values."""
        mean, std = self.preprocessing_.mean, self.preprocessing_.std
        return augment(batch, generator, value_range=((0 - mean) / std, (255 - mean) / std))

    def _inputs(self, faces):
        return np.stack(faces) if self.preprocessing_ is None else self.preprocessing_(faces)

    def _embed(self, faces):
        device = _choose_device(self.device)
        module = live(
            self, self.weights_, lambda: self._build(self.weights_, self.embedding_dim_)
        ).to(device)
        normalize = torch.nn.functional.normalize
        with torch.inference_mode():
            batch = torch.from_numpy(self._inputs(faces)).to(device)
            vectors = module(batch)
            if self.flip and self.preprocessing_ is not None:
                vectors = normalize(vectors) + normalize(module(batch.flip(-1)))
        return vectors.float().cpu().numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        flat = self.backbone in BACKBONES and BACKBONES[self.backbone].flat
        tags.input_tags.one_d_array = tags.input_tags.string = not flat
        tags.input_tags.allow_nan = not flat
        tags.input_tags.two_d_array = flat or self.image_shape is not None
        trains = self.weights is None if self.trainable == "auto" else self.trainable == "all"
        tags.target_tags.required = trains
        return tags


def _print_epoch(record):
    print("  ".join(f"{name} {value:.4g}" for name, value in record.items()))


def _choose_device(device):
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ValueError(
                f"device={device!r} is not a device of torch, such as 'cpu', 'cuda' or 'auto'."
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _read_state(path):
    if Path(path).suffix == ".xml":
        return load_retail0095_ir(path)
    return load_state(path)


def _load_into(module, state, weights):
    """Load arrays into a module; classifier logits of published weights are not needed."""
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {
        name: np.shape(array)
        for name, array in state.items()
        if name in wanted or not name.startswith("logits.")
    }
    # counters of BatchNorm that old files lack are of no use to a network that is not resumed
    missing = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
    extra = [n for n in given if n not in wanted]
    odd = [
        f"{n} {given[n]} for {wanted[n]}" for n in wanted if given.get(n, wanted[n]) != wanted[n]
    ]
    problems = [
        f"{what}: {name_some(names)}"
        for what, names in (("missing", missing), ("unexpected", extra), ("of other shape", odd))
        if names
    ]
    if problems:
        raise ValueError(
            f"weights={str(weights)!r} do not fit the network; {'; '.join(problems)}. Check "
            "backbone and embedding_dim."
        )
    tensors = {name: torch.from_numpy(np.array(state[name])) for name in given}
    module.load_state_dict(tensors, strict=False)


def _common_size(rows, batch_size):
    """Find the size of faces that are only known by decoding them; it must be one."""
    sizes = {}
    every = np.arange(len(rows.images))
    for batch, faces in iter_batches(rows.images, every, batch_size):
        for i, face in zip(batch, faces, strict=True):
            sizes.setdefault(face.shape[:2], i)
    if len(sizes) > 1:
        found = name_some(f"{size} in {rows.images.name(i)}" for size, i in sizes.items())
        raise ValueError(
            f"X holds faces of {len(sizes)} sizes (H, W): {found}. Set image_shape=(H, W) to "
            "resize them, or align photos with FaceAligner."
        )
    return next(iter(sizes))
