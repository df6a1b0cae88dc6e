"""Parameters that the estimators of a network share: their docs and their checks."""

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skface._utils.runtimes import is_installed
from skface._utils.validation import check_finite, check_option

RUNTIMES = ("auto", "torch", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16")

#: Docs by name, for :func:`skface._utils.docs.share_docs`.
DOCS = {
    "backbone": """\
backbone : str or callable, default=None
    A registered network ("inception_resnet_v1", "mobilefacenet", "retail_0095", "small_resnet",
    "iresnet18", "iresnet50", "iresnet_mini", or "mlp" for rows that are feature vectors), or a
    callable without arguments that returns a ``torch.nn.Module`` from (n, 3, H, W) to (n, d).
    The network of a callable receives ``(pixels - 127.5) / 127.5``. An estimator can be pickled
    only if its callable is a named function of a module. None means the network that `weights`
    belong to, or "small_resnet" without weights.""",
    "weights": """\
weights : str, path or None, default="skface-mini"
    A registered name, a file, or None for random weights. :func:`skface.weights.list_weights`
    returns the names; "skface-mini" needs no download. A file (.pt, .pth, .safetensors, or .xml
    for "retail_0095") holds weights of `backbone`, and faces get the preprocessing of that
    backbone.""",
    "image_shape": """\
image_shape : tuple (H, W) or (H, W, 3), default=None
    Shape of flattened images, and the size that faces are resized to for a network that takes
    any size. None takes the size of the training faces.""",
    "trainable": """\
trainable : {"auto", "all", "head", "none"} or int, default="auto"
    Which part of the network `fit` trains. "all" means all of it, and "head" its last layer. An
    int means the head and this many stages before it. "none" means nothing. "auto" means "none"
    with given weights and "all" without.""",
    "embedding_dim": """\
embedding_dim : int, default=None
    Length of the embedding. None takes the network's own.""",
    "batches": """\
n_identities_per_batch : int, default=16
    Identities in a training batch.
n_images_per_identity : int, default=4
    Images of each identity in a training batch.""",
    "optimization": """\
max_epochs : int, default=30
    Passes over the training faces.
learning_rate : float, default=1e-3
    Highest learning rate. It is reached after a warm-up and then lowered along a cosine. To
    fine-tune given weights, start with a tenth of the default or less.
weight_decay : float, default=1e-4
    Weight decay of the optimizer (AdamW).""",
    "augment": """\
augment : bool or Augmentation, default=True
    Whether to augment training faces: random flip, shift, rotation, brightness and contrast,
    blur, and erasing. A :class:`skface.nn.augment.Augmentation` sets the amount of each.""",
    "early_stopping": """\
early_stopping : bool, default=False
    Whether to hold identities out of training, to stop when the equal error rate on their pairs
    no longer improves, and to keep the network of the best epoch. If no epoch is as good as the
    start, the network of the start is kept.
validation_fraction : float, default=0.1
    Share of the identities to hold out, but at least two identities. Only used if
    `early_stopping` is True.
n_iter_no_change : int, default=10
    Epochs without improvement before training stops. Only used if `early_stopping` is True.""",
    "continuing": """\
warm_start : bool, default=False
    Whether `fit` continues from the network of the last `fit`, for `max_epochs` more. The state
    of the optimizer is kept if the same parts are trained. Early stopping holds out the same
    identities if the faces are the same.
checkpoint_dir : str or path, default=None
    Folder in which `fit` saves its state after every epoch. If the process is killed, the same
    `fit` on the same faces resumes there and ends at the same network. Each combination of
    parameters and faces has its own file, so a grid search may share the folder. Needs an int
    as `random_state`. Functions are identified by module and name: if you change the code of
    one, delete the files.
chunk_size : int, default=256
    Faces of a training batch that pass through the network at a time, at least 3. A larger
    batch needs only the memory of one chunk, but twice the computation. Batch normalization
    uses the statistics of one chunk.""",
    "precision": """\
precision : {"auto", "float32", "bfloat16"}, default="auto"
    Arithmetic of training and of embedding. The vectors are always float32. "auto" means bfloat16
    where the processor multiplies it natively (for training, on a GPU only), else float32.""",
    "runtime": """\
runtime : {"auto", "torch", "openvino"}, default="auto"
    Library that embeds faces on a CPU. "auto" means OpenVINO if it is installed
    (``pip install 'skface[fast]'``), else torch. OpenVINO is faster per face, but converts the
    network at the first call of a process, which takes 0.3 to 5 seconds. When the network is
    loaded, its embeddings of eight synthetic faces are compared with those of plain torch in
    float32. A backend is rejected, with a warning, if the mean cosine is below 0.9995, or the
    lowest below 0.998 (0.99999 and 0.99996 in float32).""",
    "batch_size": """\
batch_size : int, default=64
    Faces embedded at a time. It bounds memory, and affects results by rounding only.""",
    "flip": """\
flip : bool, default=False
    Whether to average the embeddings of each face and its mirror image.""",
    "device": """\
device : str, default="auto"
    "cpu", "cuda", "cuda:1", "mps", or "auto" for the best available.""",
    "random_state": """\
random_state : int, RandomState instance or None, default=None
    Seed of the initial weights, the batches, the augmentation and the choice of faces held out.
    On a CPU the same int gives the same network.
verbose : int, default=0
    1 prints a line per epoch.""",
    "network_attributes": """\
weights_ : dict of str to ndarray
    Parameters and buffers of the network. Read-only.
weights_digest_ : str
    Digest of `weights_`, 32 hexadecimal digits. Estimators with equal digests share one loaded
    network per process.
backbone_ : str or callable
    Name of the network in use, or the callable that built it.
input_shape_ : tuple
    (3, H, W) of the network's faces, or (d,) of its vectors.
embedding_dim_ : int
    Length of an embedding.
preprocessing_ : Preprocessing
    Size, channel order and scaling of the network's input. None for feature vectors.""",
    "processes": """\
Under `torchrun`, all processes call `fit` with the same rows and train one network. Each
process embeds its share of every batch. Samples, mining and loss are those of the whole batch.
Batch normalization uses the statistics of the whole batch on CUDA, and of the share of the
process on a CPU.""",
    "training_attributes": """\
best_epoch_ : int or None
    Epoch whose network was kept, 0 for the start. None without `early_stopping`.
training_state_ : dict
    State of training for `warm_start`. Only present if `warm_start` is True.""",
}


def check_network_parameters(estimator: Any) -> None:
    """Check the parameters that estimators of a network share and that need no data.

    Parameters
    ----------
    estimator : NetworkEstimator
        The estimator.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid. The message names it.
    """
    from skface.nn.augment import Augmentation

    if isinstance(estimator.trainable, Integral) and not isinstance(estimator.trainable, bool):
        check_scalar(estimator.trainable, "trainable", Integral, min_val=0)
    else:
        check_option(estimator.trainable, "trainable", ("auto", "all", "head", "none"))
    check_scalar(estimator.augment, "augment", (bool, np.bool_, Augmentation))
    for name in ("early_stopping", "warm_start"):
        check_scalar(getattr(estimator, name), name, (bool, np.bool_))
    check_running(estimator)
    check_finite(estimator.learning_rate, "learning_rate")
    check_finite(estimator.weight_decay, "weight_decay", boundary="left")
    check_scalar(
        estimator.validation_fraction,
        "validation_fraction",
        Real,
        min_val=0,
        max_val=1,
        include_boundaries="neither",
    )
    for name, least in (
        ("n_identities_per_batch", 2),
        ("n_images_per_identity", 2),
        ("n_faces_per_batch", 2),
        ("max_epochs", 1),
        ("n_iter_no_change", 1),
        ("chunk_size", 3),  # divided evenly, it leaves no face alone in batch normalization
        ("batch_size", 1),
    ):
        if hasattr(estimator, name):
            check_scalar(getattr(estimator, name), name, Integral, min_val=least)
    _check_checkpoint_dir(estimator.checkpoint_dir, estimator.random_state)
    if estimator.embedding_dim is not None:
        check_scalar(estimator.embedding_dim, "embedding_dim", Integral, min_val=1)
        if callable(estimator.backbone):
            raise ValueError(
                f"embedding_dim={estimator.embedding_dim} cannot be passed to a backbone that is a "
                "callable: let the callable build a network of that width."
            )


def check_running(estimator: Any) -> None:
    """Check `device`, `precision`, `runtime` and `flip`, which may also change after `fit`."""
    from skface.embedding._network import choose_device, embedding_device

    choose_device(estimator.device)
    check_option(estimator.precision, "precision", PRECISIONS)
    check_option(estimator.runtime, "runtime", RUNTIMES)
    if hasattr(estimator, "flip"):
        check_scalar(estimator.flip, "flip", (bool, np.bool_))
    if estimator.runtime != "openvino":
        return
    if not is_installed("openvino"):
        raise ImportError(
            "runtime='openvino' needs OpenVINO, which is not installed: pip install "
            "'skface[fast]', or set runtime='auto'."
        )
    if embedding_device(estimator.device, estimator.runtime).type != "cpu":
        raise ValueError(
            f"runtime='openvino' runs on the CPU, but device={estimator.device!r}: set "
            "device='cpu', or runtime='torch'."
        )


def check_no_blends(augment: Any) -> None:
    """Refuse an augmentation that blends faces, because a blend has no identity.

    Raises
    ------
    ValueError
        If `augment` has blends.
    """
    if getattr(augment, "blend", 0):
        raise ValueError(
            f"augment has blend={augment.blend!r}, but a blend of two faces has no label. Set "
            "blend=0, or train DistilledEmbedder with a teacher."
        )


def _check_checkpoint_dir(checkpoint_dir: Any, random_state: Any) -> None:
    if checkpoint_dir is None:
        return
    if not isinstance(checkpoint_dir, str | os.PathLike):
        raise TypeError(f"checkpoint_dir={checkpoint_dir!r} is neither a path nor None.")
    if random_state is None:
        raise ValueError(
            f"checkpoint_dir={str(checkpoint_dir)!r} needs random_state to be an int, because only "
            "a run with the same random numbers can be resumed."
        )
