"""Fitting a network: rows and targets in, a trained network and its history out.

What the estimators that hold a network share: checks of their parameters, validation, checkpoints,
warm starts, and callbacks.
"""

import hashlib
import os
import pickle
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import validate_data

from skface._callbacks import Epochs, epochs_as_tasks
from skface._digests import digest_arrays
from skface._network import (
    Network,
    build_network,
    choose_backbone,
    choose_device,
    choose_face_size,
    choose_input_shape,
    has_known_input,
    is_flat,
    weights_files,
)
from skface._per_process import STORE
from skface._teacher import Teacher, make_lesson, show_pixels
from skface._training_set import (
    FaceCache,
    TrainingSet,
    collect_faces,
    collect_unlabelled,
    validation_pairs,
)
from skface._validation import check_finite, check_option
from skface._version import __version__
from skface.images import Rows, check_images, vector_rows
from skface.inference import Preprocessing
from skface.inference._engine import RUNTIMES, Engine
from skface.inference._threads import is_installed
from skface.inference._torch import resolve_precision
from skface.metrics import FewImpostorsWarning, equal_error_rate, tar_at_far
from skface.nn.augment import Augmentation
from skface.nn.checkpoint import Checkpoint
from skface.nn.distributed import Team, join_team
from skface.nn.freezing import freeze
from skface.nn.objectives import Imitation
from skface.nn.rng import private_global_rng
from skface.nn.sampling import FaceSampler, IdentitySampler, PairSampler
from skface.nn.training import Fetch, Lesson, Options, Trainer, embed

_VALIDATION_FAR = 1e-2
# What changes neither the network that is trained nor the way there.
_IRRELEVANT_PARAMETERS = {
    "batch_size",
    "checkpoint_dir",
    "device",
    "flip",
    "random_state",  # its draw is known
    "runtime",
    "threshold",
    "verbose",
}


class NetworkMixin(CallbackSupportMixin, ABC):
    """What estimators that train a network share.

    A subclass has the parameters of FaceNetEmbedder, but for those of its loss, and implements
    `_make_objective`. It learns from identities, which `fit` recovers from pairs, or from labelled
    pairs as they are if `_learns_from_pairs` is true.
    """

    _learns_from_pairs = False
    _has_head = False  # a head is trained even if the network is frozen
    _can_imitate = False  # has a parameter `teacher`, and takes embeddings as y

    @abstractmethod
    def _make_objective(self, n_identities: int, embedding_dim: int) -> torch.nn.Module:
        """Return what training minimises, see :mod:`skface.nn.objectives`."""

    def _score_pairs(self, left: np.ndarray, right: np.ndarray, objective: Any) -> np.ndarray:
        """Score pairs of unit vectors for validation; larger = more alike."""
        return np.einsum("ij,ij->i", left, right)

    # whatever the caller switched off around it
    @torch.inference_mode(False)
    @torch.enable_grad()
    def _fit_network(self, X: Any, y: Any) -> None:
        """Choose the network, train what is trainable, and set the fitted attributes."""
        self._check_params()
        backbone, state = choose_backbone(self.backbone, self.weights)
        imitates = self._imitates(y)
        trainable = self._choose_trainable(state is not None, imitates)
        learns = self._has_head or trainable != "none"
        if is_flat(backbone):
            rows = self._check_vectors(X, reset=True, min_rows=2 if learns else 1)
        else:
            rows = check_images(X, image_shape=self.image_shape)
        faces = self._collect_faces(rows, y, imitates) if learns else None
        teacher = self._find_teacher(backbone, faces)
        device = choose_device(self.device)
        team = join_team(device) if learns else Team()
        seed = team.agree(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

        network = self._earlier_network(backbone, rows)
        continues = network is not None
        if continues and not isinstance(self.random_state, Integral):
            # other people held out would be people that the network was trained on
            seed = self.training_state_["seed"]
        if not continues:
            width = self.embedding_dim
            if imitates and width is None and state is None and not callable(backbone):
                width = _width_of_targets(faces, teacher)
            network = build_network(
                backbone,
                choose_input_shape(backbone, self.image_shape, rows, self.batch_size),
                width,
                state=state,
                origin=self.weights,
                seed=seed,
            )
        wanted = _width_of_targets(faces, teacher) if imitates else network.embedding_dim
        if network.embedding_dim != wanted:
            raise ValueError(
                f"The network returns {network.embedding_dim} values, the embeddings to imitate "
                f"have {wanted}. With embedding_dim=None and no weights it would follow them."
            )
        objective, trainer = None, None
        with epochs_as_tasks(self, X, y, self.max_epochs if learns else 0) as epochs:
            if learns:
                freeze(network.module, trainable)
                objective, trainer = self._prepare(
                    network, faces, teacher, trainable, device, team, seed, continues
                )
                self._run(trainer, network, objective, faces, seed, epochs)
            # all at the very end: a fit that fails leaves the estimator as it was
            vars(self).update(self._fitted_attributes(network, objective, faces))
            self.history_ = _as_table([] if trainer is None else trainer.history)
            self.best_epoch_ = None if trainer is None else trainer.best_epoch
            vars(self).pop("training_state_", None)
            if trainer is not None and self.warm_start:
                self.training_state_ = _to_arrays(
                    trainer.state() | {"module": {}, "best": None, "seed": seed}
                )

    def _fitted_attributes(
        self, network: Network, objective: Any, faces: TrainingSet | None
    ) -> dict[str, Any]:
        """Return what `transform` and its like need, by name."""
        weights = network.state()
        return {
            "backbone_": network.backbone,
            "input_shape_": network.input_shape,
            "preprocessing_": network.preprocessing,
            "embedding_dim_": network.embedding_dim,
            "weights_": weights,
            "weights_digest_": digest_arrays(weights),
        }

    def _rebuild(self) -> Network:
        return build_network(
            self.backbone_, self.input_shape_, self.embedding_dim_, state=self.weights_
        )

    def _embed(self, faces: list[np.ndarray]) -> np.ndarray:
        return self._engine().embed(faces, flip=getattr(self, "flip", False))

    def _engine(self) -> Engine:
        """Return what runs the fitted network: one per process for all equal networks."""
        self._check_runtime()
        device = self._embedding_device()
        settings = (device, resolve_precision(self.precision, device), self.runtime)
        return STORE.get(
            "engine",
            # some networks take any size, so the weights do not tell the shape of the input
            (self._backbone_key(), self.input_shape_, self.weights_digest_, *settings),
            lambda: Engine(self._rebuild(), *settings),
            owner=self,
        )

    def _backbone_key(self) -> Hashable:
        """Return what equal backbones have in common; a callable is one of its own."""
        try:
            hash(self.backbone_)
        except TypeError:
            return weakref.ref(self)  # nothing else to tell it by: the engine is not shared
        return self.backbone_

    def _embedding_device(self) -> torch.device:
        # OpenVINO computes on the CPU, whatever else there is
        on_cpu = self.runtime == "openvino" and self.device == "auto"
        return choose_device("cpu" if on_cpu else self.device)

    def _value_state(self) -> dict[str, Any]:
        """Return what the embeddings depend on beside the faces."""
        names = ("backbone_", "input_shape_", "embedding_dim_", "preprocessing_", "weights_digest_")
        state = {name: getattr(self, name) for name in (*names, "image_shape")}
        precision = resolve_precision(self.precision, self._embedding_device())
        return state | {"flip": getattr(self, "flip", False), "precision": precision}

    def _fit_sources(self) -> tuple[Path, ...] | None:
        """Name the files that `fit` reads, or return None if it learns from its rows."""
        imitates = getattr(self, "teacher", None) is not None
        trainable = self._choose_trainable(self.weights is not None, imitates)
        if self.weights is None or self._has_head or self.warm_start or trainable != "none":
            return None
        if not has_known_input(self.backbone, self.weights, self.image_shape):
            return None
        return weights_files(self.weights)

    def _imitates(self, y: Any) -> bool:
        """Tell whether there are embeddings to imitate: a teacher's, or rows of y."""
        if not self._can_imitate:
            return False
        y = None if y is None else np.asarray(y)
        given = y is not None and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f"
        if given and self.teacher is not None:
            raise ValueError(
                f"y of shape {y.shape} holds embeddings to imitate, and teacher={self.teacher!r} "
                "would give others. Pass one of the two."
            )
        return given or self.teacher is not None

    def _choose_trainable(self, has_weights: bool, imitates: bool = False) -> str | int:
        if self.trainable == "auto":
            return "none" if has_weights and not imitates else "all"
        if imitates and self.trainable == "none":
            raise ValueError(
                "trainable='none' trains nothing, but there are embeddings to imitate. Set "
                "trainable='auto', or teacher=None and another y."
            )
        return self.trainable

    def _find_teacher(self, backbone: Any, faces: TrainingSet | None) -> Teacher | None:
        """Return the teacher, tried on one of the faces that it is to judge."""
        if not self._can_imitate or self.teacher is None:
            return None
        if not hasattr(self.teacher, "transform"):
            raise TypeError(
                f"teacher={self.teacher!r} has no transform: pass an embedder, or any fitted "
                "transformer from faces to vectors."
            )
        if is_flat(backbone):
            raise ValueError(
                f"backbone={backbone!r} takes feature vectors, which teacher={self.teacher!r} "
                "cannot embed: pass its embeddings as y."
            )
        size = choose_face_size(self.image_shape, faces.rows, self.batch_size)
        face = faces.rows.images[faces.places[0]]
        return Teacher(self.teacher, Preprocessing(size).to_bytes(face))

    def _check_params(self) -> None:
        if isinstance(self.trainable, Integral) and not isinstance(self.trainable, bool):
            check_scalar(self.trainable, "trainable", Integral, min_val=0)
        else:
            check_option(self.trainable, "trainable", ("auto", "all", "head", "none"))
        check_scalar(self.augment, "augment", (bool, np.bool_, Augmentation))
        taught = getattr(self, "teacher", None) is not None
        if isinstance(self.augment, Augmentation) and self.augment.blend and not taught:
            raise ValueError(
                f"augment has blend={self.augment.blend!r}, but nobody knows who a blend of two "
                "faces is: only a teacher can embed it. Pass one, or set blend=0."
            )
        for name in ("early_stopping", "warm_start"):
            check_scalar(getattr(self, name), name, (bool, np.bool_))
        self._check_runtime()
        check_finite(self.learning_rate, "learning_rate")
        check_finite(self.weight_decay, "weight_decay", boundary="left")
        check_scalar(
            self.validation_fraction,
            "validation_fraction",
            Real,
            min_val=0,
            max_val=1,
            include_boundaries="neither",
        )
        for name, least in (
            ("n_identities_per_batch", 2),
            ("n_images_per_identity", 2),
            ("max_epochs", 1),
            ("n_iter_no_change", 1),
            ("chunk_size", 3),  # divided evenly, it leaves no face alone in batch normalisation
            ("batch_size", 1),
        ):
            check_scalar(getattr(self, name), name, Integral, min_val=least)
        if self.checkpoint_dir is not None and not isinstance(
            self.checkpoint_dir, str | os.PathLike
        ):
            raise TypeError(f"checkpoint_dir={self.checkpoint_dir!r} is neither a path nor None.")
        if self.checkpoint_dir is not None and self.random_state is None:
            raise ValueError(
                f"checkpoint_dir={str(self.checkpoint_dir)!r} needs random_state to be an int: a "
                "run that starts from other random numbers is another run, and cannot be resumed."
            )
        if self.embedding_dim is not None:
            check_scalar(self.embedding_dim, "embedding_dim", Integral, min_val=1)
            if callable(self.backbone):
                raise ValueError(
                    f"embedding_dim={self.embedding_dim} cannot be passed to a backbone that is a "
                    "callable: let the callable build a network of that width."
                )

    def _check_runtime(self) -> None:
        """Check what may also change after `fit`: how the network is run."""
        choose_device(self.device)
        check_option(self.precision, "precision", ("auto", "float32", "bfloat16"))
        check_option(self.runtime, "runtime", RUNTIMES)
        if self.runtime != "openvino":
            return
        if not is_installed("openvino"):
            raise ImportError(
                "runtime='openvino' needs OpenVINO, which is not installed: pip install "
                "'skface[fast]', or set runtime='auto'."
            )
        if self._embedding_device().type != "cpu":
            raise ValueError(
                f"runtime='openvino' runs on the CPU, but device={self.device!r}: set "
                "device='cpu', or runtime='torch'."
            )

    def _check_rows(self, X: Any) -> Rows:
        if self.preprocessing_ is None:
            return self._check_vectors(X, reset=False)
        return check_images(X, image_shape=self.image_shape)

    def _check_vectors(self, X: Any, *, reset: bool, min_rows: int = 1) -> Rows:
        """Check feature vectors through a 2-D view, so that n_features_in_ is one vector's."""
        rules = {"reset": reset, "dtype": np.float32, "ensure_min_samples": min_rows}
        X = X if hasattr(X, "columns") or hasattr(X, "toarray") else np.asarray(X)
        if getattr(X, "ndim", 2) != 3:
            return vector_rows(validate_data(self, X, **rules))
        if X.shape[1] != 2:
            raise ValueError(f"X has shape {X.shape}; pairs of feature vectors are (n, 2, d).")
        flat = validate_data(self, X.reshape(-1, X.shape[2]), **rules)
        return vector_rows(flat.reshape(X.shape))

    def _collect_faces(self, rows: Rows, y: Any, imitates: bool = False) -> TrainingSet:
        if imitates:
            return collect_unlabelled(rows, np.asarray(y) if self.teacher is None else None)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None: identities for faces, same or different for pairs."
            )
        return collect_faces(
            rows,
            y,
            want_pairs=self._learns_from_pairs,
            want_identities=not self._learns_from_pairs or self.early_stopping,
        )

    def _earlier_network(self, backbone: Any, rows: Rows) -> Network | None:
        """Return the network to train on with, if this is a warm start."""
        if not self.warm_start or not hasattr(self, "training_state_"):
            return None
        network = self._rebuild()
        asked = (backbone, self.embedding_dim or network.embedding_dim)
        if asked != (network.backbone, network.embedding_dim):
            raise ValueError(
                f"warm_start=True goes on with backbone={network.backbone!r} and embedding_dim="
                f"{network.embedding_dim}, but the parameters now ask for {asked[0]!r} and "
                f"{asked[1]}. Set warm_start=False, or fit a clone."
            )
        if network.preprocessing is None and rows.images[0].shape[-1:] != network.input_shape:
            raise ValueError(
                f"warm_start=True goes on with vectors of length {network.input_shape[0]}, but X "
                f"holds vectors of length {rows.images[0].shape[-1]}."
            )
        return network

    def _prepare(
        self,
        network: Network,
        faces: TrainingSet,
        teacher: Teacher | None,
        trainable: str | int,
        device: torch.device,
        team: Team,
        seed: int,
        continues: bool,
    ) -> tuple[torch.nn.Module, Trainer]:
        """Put together what trains the network in place, or only the head of the objective."""
        team.check_equal(
            joblib.hash((faces.identities, faces.pairs, faces.targets)),
            "The processes of this run were given different faces or labels: give all the same.",
        )
        learnt, held_out = faces, None
        if self.early_stopping:
            learnt, held_out = faces.hold_out(self.validation_fraction, seed)
        sampler = self._make_sampler(learnt, seed)
        with private_global_rng(seed):
            if faces.is_unlabelled:
                objective = Imitation()
            else:
                n_identities = 0 if learnt.pairs is not None else sampler.n_identities
                objective = self._make_objective(n_identities, network.embedding_dim).float()
        # a frozen network sees every face once, and the head learns from the vectors
        frozen = trainable == "none"
        module = torch.nn.Identity() if frozen else network.module
        lesson, seen = None, network
        if teacher is not None:
            lesson = make_lesson(teacher, network)
            size = choose_face_size(self.image_shape, faces.rows, self.batch_size)
            seen = show_pixels(network, size)
        fetch = self._make_fetch(seen, learnt, device, frozen)
        options = Options(
            max_epochs=self.max_epochs,
            # plain floats, since checkpoints hold what the optimiser was given
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            augmentation=None if frozen else self._choose_augmentation(seen),
            chunk_size=self.chunk_size,
            precision=_choose_precision(self.precision, device),
            device=device,
            seed=seed,
            patience=self.n_iter_no_change if self.early_stopping else None,
            team=team,
        )
        validate = None
        if held_out is not None:
            fetch_held_out = self._make_fetch(seen, held_out, device, frozen)
            if faces.is_unlabelled:
                validate = self._validate_imitation(module, fetch_held_out, held_out, lesson)
            else:
                validate = self._make_validation(
                    module, fetch_held_out, held_out.identities, objective
                )
        trainer = Trainer(module, objective, sampler, fetch, options, validate, lesson)
        if continues:
            earlier = _to_tensors(self.training_state_)
            _check_same_classes(objective, earlier["objective"])
            trainer.continue_after(earlier)
        return objective, trainer

    def _run(
        self,
        trainer: Trainer,
        network: Network,
        objective: torch.nn.Module,
        faces: TrainingSet,
        seed: int,
        epochs: Epochs,
    ) -> None:
        """Train, from the last checkpoint on if there is one."""
        team = trainer.options.team
        checkpoint = None
        if self.checkpoint_dir is not None:
            fingerprint = self._fingerprint(faces, network, seed)
            checkpoint = Checkpoint(self.checkpoint_dir, team.agree(fingerprint))
            saved = team.agree(checkpoint.load() if team.rank == 0 else None)
            if saved is not None:
                trainer.resume(saved)

        def end_epoch(record: dict[str, float]) -> bool:
            if self.verbose and team.rank == 0:
                print("  ".join(f"{name} {value:.4g}" for name, value in record.items()))
            if checkpoint is not None and team.rank == 0:
                checkpoint.save(trainer.state())
            return epochs.end(lambda: self._fitted_attributes(network, objective, faces))

        trainer.run(epochs.begin, end_epoch)
        network.module.to("cpu")
        objective.to("cpu").eval()

    def _choose_augmentation(self, network: Network) -> Augmentation | None:
        """Return the variation of training faces, in the range of the network's input."""
        if not self.augment or network.preprocessing is None:
            return None
        mean, std = network.preprocessing.mean, network.preprocessing.std
        chosen = self.augment if isinstance(self.augment, Augmentation) else Augmentation()
        return replace(chosen, value_range=((0 - mean) / std, (255 - mean) / std))

    def _make_sampler(
        self, faces: TrainingSet, seed: int
    ) -> IdentitySampler | PairSampler | FaceSampler:
        n_people, n_images = self.n_identities_per_batch, self.n_images_per_identity
        if faces.is_unlabelled:
            return FaceSampler(len(faces.places), n_people * n_images, seed, faces.targets)
        if faces.pairs is None:
            return IdentitySampler(faces.identities, n_people, n_images, seed)
        left, right, same = faces.pairs.T
        return PairSampler(left, right, same.astype(bool), n_people * n_images // 2, seed)

    def _make_fetch(
        self, network: Network, faces: TrainingSet, device: torch.device, frozen: bool
    ) -> Fetch:
        """Return what hands out faces as the input of the network, or of a head as its output."""
        fetch = FaceCache(network, faces, device)
        if not frozen:
            return fetch
        module, n_faces = network.module.to(device), len(faces.places)
        return torch.from_numpy(_embed_all(module, fetch, n_faces, self.batch_size)).__getitem__

    def _make_validation(
        self, module: torch.nn.Module, fetch: Fetch, identities: np.ndarray, objective: Any
    ) -> Any:
        """Return what measures the network on people that it is not trained on."""
        pairs = validation_pairs(identities)

        def validate() -> dict[str, float]:
            vectors = _embed_all(module, fetch, len(identities), self.batch_size)
            left, right = vectors[pairs.indices].swapaxes(0, 1)
            scores = self._score_pairs(left, right, objective)
            with warnings.catch_warnings():
                # few people are held out, and telling epochs apart takes no exact rate
                warnings.simplefilter("ignore", FewImpostorsWarning)
                tar = tar_at_far(pairs.target, scores, _VALIDATION_FAR)
            eer = equal_error_rate(pairs.target, scores).rate
            return {"validation_eer": eer, "validation_tar": tar}

        return validate

    def _validate_imitation(
        self, module: torch.nn.Module, fetch: Fetch, faces: TrainingSet, lesson: Lesson | None
    ) -> Any:
        """Return what measures the network on faces that it is not trained on."""
        n_faces, targets, inputs = len(faces.places), faces.targets, fetch
        if lesson is not None:
            batches = np.array_split(np.arange(n_faces), -(-n_faces // self.batch_size))
            parts = [lesson.targets(fetch(rows)).cpu().numpy() for rows in batches]
            targets = np.concatenate(parts)

            def inputs(rows: np.ndarray) -> torch.Tensor:
                return lesson.inputs(fetch(rows))

        def validate() -> dict[str, float]:
            vectors = _embed_all(module, inputs, n_faces, self.batch_size)
            return {"validation_cosine": float((vectors * targets).sum(axis=1).mean())}

        return validate

    def _fingerprint(self, faces: TrainingSet, network: Network, seed: int) -> str:
        """Digest everything that training depends on."""
        digest = hashlib.sha256(f"skface {__version__} {type(self).__name__} {seed}".encode())
        for name, value in sorted(self.get_params(deep=False).items()):
            if name not in _IRRELEVANT_PARAMETERS:
                digest.update(f"{name}={_describe(name, value)}".encode())
        for name, array in network.state().items():
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        for part in (faces.identities, faces.pairs, faces.targets):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        for place in faces.places:
            key = faces.rows.images.key(place)
            digest.update(repr(key).encode())
            if isinstance(key, str):  # a file, which may change
                stat = os.stat(key)
                digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:32]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        flat = is_flat(self.backbone)
        tags.input_tags.one_d_array = tags.input_tags.string = not flat
        tags.input_tags.allow_nan = not flat
        tags.input_tags.two_d_array = flat or self.image_shape is not None
        taught = self._can_imitate and self.teacher is not None
        tags.target_tags.required = not taught and (
            self._has_head or self._choose_trainable(self.weights is not None) != "none"
        )
        return tags


def _width_of_targets(faces: TrainingSet, teacher: Teacher | None) -> int:
    return faces.targets.shape[1] if teacher is None else teacher.embedding_dim


def _check_same_classes(objective: torch.nn.Module, earlier: dict[str, torch.Tensor]) -> None:
    """Refuse to go on with class weights of other people."""
    for name, tensor in objective.state_dict().items():
        if name in earlier and tensor.shape != earlier[name].shape:
            raise ValueError(
                f"warm_start=True goes on with a loss that holds {name} of shape "
                f"{tuple(earlier[name].shape)}, but this fit needs {tuple(tensor.shape)}: it has "
                "other people. Set warm_start=False, or use the triplet loss."
            )


def _embed_all(module: torch.nn.Module, fetch: Fetch, n_faces: int, batch_size: int) -> np.ndarray:
    """Embed all faces that `fetch` hands out, as unit vectors."""
    with torch.inference_mode():
        parts = [
            embed(module, fetch(np.arange(start, min(start + batch_size, n_faces))))
            for start in range(0, n_faces, batch_size)
        ]
    return torch.cat(parts).cpu().numpy()


def _choose_precision(precision: str, device: torch.device) -> str:
    if precision != "auto":
        return precision
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def _as_table(history: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Turn records into columns; what a record lacks is NaN."""
    names = list(dict.fromkeys(name for record in history for name in record))
    return {name: np.array([record.get(name, np.nan) for record in history]) for name in names}


def _to_arrays(state: Any) -> Any:
    """Replace the tensors in nested containers and modules by arrays."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().numpy().copy()
    if isinstance(state, torch.nn.Module):
        return type(state), _to_arrays(vars(state))
    if isinstance(state, dict):
        return {name: _to_arrays(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_to_arrays(value) for value in state)
    return state


def _to_tensors(state: Any) -> Any:
    """Undo :func:`_to_arrays`."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    if isinstance(state, dict):
        return {name: _to_tensors(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_to_tensors(value) for value in state)
    return state


def _describe(name: str, value: Any) -> str:
    """Describe a parameter in the same way in every process."""
    if not (callable(value) or hasattr(value, "get_params")):  # an estimator's repr hides its state
        return repr(value)
    try:
        return joblib.hash(_to_arrays(value))  # the hash of a tensor does not last
    except (pickle.PicklingError, TypeError) as error:
        raise ValueError(
            f"{name}={value!r} cannot be told from others by a later process, which "
            "checkpoint_dir needs: pass a named function of a module."
        ) from error
