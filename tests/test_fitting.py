"""What fitting a network offers: losses, frozen parts, validation, checkpoints, warm starts."""

import dataclasses
import errno
import functools
import pickle
import re
import subprocess
import sys
import textwrap

import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from skface import (
    FaceNetEmbedder,
    IdentityKFold,
    PairVerifier,
    SiameseEmbedder,
    SiameseVerifier,
    make_faces,
    make_pairs,
)
from skface.embedding._fitting import NetworkMixin
from skface.embedding._training_set import FaceLoader, TrainingSet
from skface.nn.augment import Augmentation


@pytest.fixture(scope="module")
def faces():
    return make_faces(10, 4, image_size=32, difficulty=0.2, random_state=0)


@pytest.fixture(scope="module")
def pairs(faces):
    drawn = make_pairs(faces.target, random_state=0)
    drawn.data = faces.data[drawn.indices]
    return drawn


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(108, 16))


class Viewing(nn.Module):
    """A backbone as people write them, which takes features as a `view`, not a reshape."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 4, stride=4)
        self.embedding = nn.Linear(8 * 8 * 8, 16)

    def forward(self, images):
        features = self.convolution(images).relu()
        return self.embedding(features.view(len(features), -1))


def tiny(kind=FaceNetEmbedder, **params):
    params = {"max_epochs": 2, "random_state": 0, **params}
    return kind(tiny_network, None, **params)


def weights_of(estimator):
    return np.concatenate([values.ravel() for values in estimator.weights_.values()])


def genuine_auc(embedder, faces):
    embeddings = embedder.transform(faces.data)
    left, right = np.triu_indices(len(embeddings), 1)
    same = faces.target[left] == faces.target[right]
    return roc_auc_score(same, (embeddings[left] * embeddings[right]).sum(axis=1))


# --- losses ---------------------------------------------------------------------------------------


def test_augmentation_is_on_by_default_and_can_be_chosen(faces, monkeypatch):
    used = []
    call = Augmentation.__call__
    monkeypatch.setattr(
        Augmentation,
        "__call__",
        lambda self, images, draws: used.append(self) or call(self, images, draws),
    )
    chosen = Augmentation(rotation=30.0, brightness=0.0)
    for augment, expected in ((True, Augmentation()), (chosen, chosen), (False, None)):
        used.clear()
        embedder = tiny(augment=augment).fit(faces.data, faces.target)
        # in the range of what the network is fed
        wanted = expected and dataclasses.replace(expected, value_range=(-1.0, 1.0))
        assert set(used) == ({wanted} if expected else set())
        assert clone(embedder).augment == augment


@pytest.mark.parametrize("params", [{"loss": "arcface", "margin": 0.5}, {"loss": "cosface"}])
def test_margin_softmax_trains(params, faces):
    embedder = tiny(max_epochs=30, learning_rate=1e-2, augment=False, **params)
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0] / 2
    assert genuine_auc(embedder, faces) > 0.9


def test_a_loss_of_pytorch_metric_learning_plugs_in_and_stays_as_it_is(faces):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    loss = losses.ProxyAnchorLoss(10, 16)
    before = loss.proxies.detach().clone()
    embedder = tiny(max_epochs=20, learning_rate=1e-2, loss=loss).fit(faces.data, faces.target)
    assert torch.equal(loss.proxies, before)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0]
    np.testing.assert_array_equal(
        weights_of(clone(embedder).fit(faces.data, faces.target)), weights_of(embedder)
    )


def spread(embeddings, labels):
    return -torch.pdist(embeddings).mean()


def no_tensor(embeddings, labels):
    return 3.0


def test_any_callable_is_a_loss(faces):
    embedder = tiny(loss=spread).fit(faces.data, faces.target)
    pickle.loads(pickle.dumps(embedder)).transform(faces.data)
    with pytest.raises(TypeError, match=r"loss=.*no_tensor.*returned 3\.0"):
        tiny(loss=no_tensor).fit(faces.data, faces.target)


def not_a_number(embeddings, labels):
    return embeddings.sum() * float("nan")


def no_slope(embeddings, labels):
    return (embeddings - embeddings.detach()).square().sum().sqrt()


@pytest.mark.parametrize("loss", [not_a_number, no_slope])
def test_a_loss_that_is_no_number_ends_training_at_once(loss, faces):
    # in the only step there is, after which no embedding would tell
    embedder = tiny(loss=loss, max_epochs=1, n_identities_per_batch=10)
    with pytest.raises(FloatingPointError, match=r"epoch 1: .*loss.*learning_rate=0\.001"):
        embedder.fit(faces.data, faces.target)
    assert not hasattr(embedder, "weights_")


def test_weights_that_overflow_in_the_last_step_are_an_error(faces):
    embedder = tiny(max_epochs=1, n_identities_per_batch=10, learning_rate=1e38)
    with pytest.raises(FloatingPointError, match=r"epoch 1: weights.*learning_rate=1e\+38"):
        embedder.fit(faces.data, faces.target)


def test_history_is_a_table(faces):
    table = pandas.DataFrame(tiny(max_epochs=3).fit(faces.data, faces.target).history_)
    assert table["epoch"].tolist() == [1, 2, 3]
    assert list(table) == [
        "epoch",
        "loss",
        "active_triplets",
        "active_fraction",
        "mean_genuine_distance",
        "mean_impostor_distance",
        "learning_rate",
    ]
    assert table.notna().all(axis=None)


def normed_network():
    return nn.Sequential(tiny_network(), nn.BatchNorm1d(16))


@pytest.mark.parametrize("n_images", [2, 3, 4])
def test_no_chunk_is_a_single_face_which_has_no_variance(n_images, faces):
    some = np.arange(40) % 4 < n_images
    embedder = FaceNetEmbedder(
        normed_network, None, chunk_size=3, n_identities_per_batch=5, max_epochs=1,
        n_images_per_identity=n_images, random_state=0,
    )  # fmt: skip
    assert embedder.fit(faces.data[some], faces.target[some]).history_["epoch"].tolist() == [1]


# --- faces that an earlier step did not find ------------------------------------------------------


def test_missing_faces_make_no_one_of_two_people(faces, monkeypatch):
    # rows 0 and 1 are of two people, and the second photo of each was not found
    X = faces.data[[[0, 1], [4, 5], [0, 2], [4, 6], [0, 4], [1, 5]]] / np.float32(255)
    X[:2, 1] = np.nan
    X[5] = np.nan
    seen = []
    monkeypatch.setattr(
        FaceNetEmbedder,
        "_make_sampler",
        lambda self, learnt, seed: (
            seen.append(learnt.identities) or NetworkMixin._make_sampler(self, learnt, seed)
        ),
    )
    tiny().fit(X, [1, 1, 1, 1, 0, 1])
    left, right = np.triu_indices(4, 1)
    assert (seen[0][left] == seen[0][right]).sum() == 2


# --- what is trained ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainable", "n_changed"), [("all", None), ("head", 0), (0, 0), (1, 1), ("none", -1)]
)
def test_trainable_decides_which_stages_change(trainable, n_changed, faces, tmp_path):
    from skface.nn.freezing import stages

    donor = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    donor.fit(faces.data, faces.target)
    path = tmp_path / "own.pt"
    torch.save({name: torch.from_numpy(v) for name, v in donor.weights_.items()}, path)
    embedder = FaceNetEmbedder(
        "small_resnet", path, trainable=trainable, max_epochs=1, random_state=0
    )
    embedder.fit(faces.data, faces.target)

    module = donor._rebuild().module
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    changed = [
        any(
            not np.array_equal(embedder.weights_[name], donor.weights_[name])
            for part in stage
            for name in (names[id(parameter)] for parameter in part.parameters())
        )
        for stage in stages(module)
    ]
    n_last = len(changed) if n_changed is None else n_changed + 1
    assert changed == [False] * (len(changed) - n_last) + [True] * n_last


def test_too_many_stages_are_refused(faces):
    with pytest.raises(ValueError, match="trainable=99"):
        FaceNetEmbedder(weights=None, trainable=99).fit(faces.data, faces.target)


def test_fine_tuning_pretrained_weights():
    faces = make_faces(6, 3, image_size=112, random_state=0)
    embedder = FaceNetEmbedder(trainable="head", learning_rate=1e-4, max_epochs=2, random_state=0)
    tuned = embedder.fit(faces.data, faces.target)
    frozen = FaceNetEmbedder().fit(faces.data)
    different = [
        name
        for name in frozen.weights_
        if not np.array_equal(frozen.weights_[name], tuned.weights_[name])
    ]
    assert {name.partition(".")[0] for name in different} == {"embedding", "norm"}


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseEmbedder, SiameseVerifier])
@pytest.mark.parametrize("rows", ["faces", "pairs"])
def test_early_stopping_keeps_the_best_epoch(kind, rows, faces, pairs):
    X, y = (faces.data, faces.target) if rows == "faces" else (pairs.data, pairs.target)
    estimator = tiny(
        kind, max_epochs=30, learning_rate=0.03, early_stopping=True,
        validation_fraction=0.3, n_iter_no_change=3,
    )  # fmt: skip
    history = estimator.fit(X, y).history_
    best = estimator.best_epoch_
    n_epochs = len(history["epoch"])
    assert n_epochs == min(30, best + 3)
    if best:
        assert history["validation_eer"][best - 1] == history["validation_eer"].min()
    assert ((history["validation_tar"] >= 0) & (history["validation_tar"] <= 1)).all()


def test_early_stopping_keeps_the_head_of_the_best_epoch_as_well(faces):
    params = {"max_epochs": 30, "learning_rate": 0.05, "early_stopping": True}
    params |= {"validation_fraction": 0.4, "n_iter_no_change": 3}
    best = tiny(SiameseVerifier, **params).fit(faces.data, faces.target)
    assert 0 < best.best_epoch_ < len(best.history_["epoch"])
    until_then = tiny(SiameseVerifier, **params).set_callbacks(StopAfter(best.best_epoch_))
    until_then.fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(best), weights_of(until_then))
    np.testing.assert_array_equal(best.coef_, until_then.coef_)
    assert best.intercept_ == until_then.intercept_


def test_people_held_out_are_not_learnt_from(faces, monkeypatch):
    seen = []
    call = FaceLoader.__call__
    monkeypatch.setattr(
        FaceLoader,
        "__call__",
        lambda self, rows: seen.append((id(self), self.faces.places[rows])) or call(self, rows),
    )
    embedder = tiny(early_stopping=True, validation_fraction=0.3)
    embedder.fit(faces.data, faces.target)
    caches = {owner for owner, _ in seen}
    people = [
        set(faces.target[np.concatenate([places for owner, places in seen if owner == cache])])
        for cache in caches
    ]
    assert sorted(map(len, people)) == [3, 7]
    assert not people[0] & people[1]


def test_validation_that_leaves_nobody_to_train_on_is_refused(faces):
    few = faces.target < 3
    with pytest.raises(ValueError, match=r"holds 2 people .*of the 3 there are"):
        tiny(early_stopping=True).fit(faces.data[few], faces.target[few])


def test_validation_that_leaves_pairs_of_one_kind_is_refused(faces):
    X = faces.data[[[0, 1], [4, 5], [8, 9], [12, 13], [0, 4], [8, 12]]]
    with pytest.raises(ValueError, match="early_stopping=True holds 2 people .*2 of the 6 pairs"):
        tiny(SiameseVerifier, early_stopping=True).fit(X, [1, 1, 1, 1, 0, 0])


# --- warm starts and checkpoints ------------------------------------------------------------------


def test_warm_start_goes_on_and_a_pickle_too(faces):
    embedder = tiny(warm_start=True, learning_rate=1e-2).fit(faces.data, faces.target)
    before = weights_of(embedder)
    copied = pickle.loads(pickle.dumps(embedder))
    losses = embedder.history_["loss"]
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(embedder.history_["loss"][:2], losses)
    assert not np.array_equal(weights_of(embedder), before)
    np.testing.assert_array_equal(
        weights_of(copied.fit(faces.data, faces.target)), weights_of(embedder)
    )
    # another one starts anew
    np.testing.assert_array_equal(weights_of(clone(embedder).fit(faces.data, faces.target)), before)


def test_warm_start_needs_the_same_network_and_people(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, warm_start=True, random_state=0)
    embedder.fit(faces.data, faces.target)
    with pytest.raises(ValueError, match="embedding_dim=128, but .* 64"):
        clone_with(embedder, embedding_dim=64).fit(faces.data, faces.target)
    few = faces.target < 4
    embedder.fit(faces.data[few], faces.target[few])  # triplets know no classes
    softmax = tiny(loss="arcface", warm_start=True).fit(faces.data, faces.target)
    with pytest.raises(ValueError, match=r"\(10, 16\), but .*\(4, 16\).*warm_start=False"):
        softmax.fit(faces.data[few], faces.target[few])


def deep_network():
    return nn.Sequential(tiny_network(), nn.ReLU(), nn.Linear(16, 16))


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseVerifier])
def test_a_warm_start_may_train_other_parts(kind, faces):
    frozen = kind(
        deep_network, None, trainable="head", max_epochs=1, warm_start=True, random_state=0
    ).fit(faces.data, faces.target)
    # nothing is learnt, so that only what goes on is seen
    thawed = clone_with(frozen, trainable="all", learning_rate=1e-30)
    thawed.fit(faces.data, faces.target)
    assert thawed.history_["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(weights_of(thawed), weights_of(frozen))
    if kind is SiameseVerifier:
        np.testing.assert_array_equal(thawed.coef_, frozen.coef_)
    before = weights_of(thawed)
    thawed.set_params(learning_rate=1e-2).fit(faces.data, faces.target)
    assert (weights_of(thawed) != before).mean() > 0.9


def test_a_warm_start_may_change_the_loss(faces):
    embedder = tiny(warm_start=True)
    for i, loss in enumerate(["triplet", "arcface", "cosface", spread, "triplet"]):
        embedder.set_params(loss=loss).fit(faces.data, faces.target)
        assert len(embedder.history_["epoch"]) == 2 * (i + 1)


def test_a_warm_start_takes_the_weight_decay_of_now(faces):
    embedder = tiny(warm_start=True, learning_rate=1e-2, weight_decay=0.0, augment=False)
    embedder.fit(faces.data, faces.target)
    decayed = clone_with(embedder, weight_decay=50.0).fit(faces.data, faces.target)
    embedder.fit(faces.data, faces.target)
    assert np.abs(weights_of(decayed)).mean() < 0.8 * np.abs(weights_of(embedder)).mean()


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_warm_start_holds_the_same_people_out(random_state, faces, monkeypatch):
    held_out = []
    hold_out = TrainingSet.hold_out

    def watch(self, *args):
        learnt, others = hold_out(self, *args)
        held_out.append(set(others.places))
        return learnt, others

    monkeypatch.setattr(TrainingSet, "hold_out", watch)
    embedder = tiny(warm_start=True, early_stopping=True, random_state=random_state)
    embedder.set_params(validation_fraction=0.5)
    for _ in range(3):
        embedder = clone_with(embedder.fit(faces.data, faces.target))
    assert held_out[0] == held_out[1] == held_out[2]


def clone_with(embedder, **params):
    copied = pickle.loads(pickle.dumps(embedder))
    return copied.set_params(**params)


KILLED = textwrap.dedent(
    """
    import os, sys, numpy as np
    from skface import FaceNetEmbedder, make_faces
    from skface.nn.checkpoint import Checkpoint

    folder, n_epochs, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    save, count = Checkpoint.save, []

    def save_and_die(self, state):
        save(self, state)
        count.append(1)
        if len(count) == n_epochs:
            os._exit(9)

    Checkpoint.save = save_and_die
    faces = make_faces(10, 4, image_size=32, difficulty=0.2, random_state=0)
    embedder = FaceNetEmbedder(
        weights=None, max_epochs=4, loss="arcface", early_stopping=True, validation_fraction=0.3,
        checkpoint_dir=folder, random_state=0,
    )
    embedder.fit(faces.data, faces.target)
    np.savez(out, **embedder.weights_)
    """
)


def test_a_killed_run_resumes_to_the_same_network(faces, tmp_path):
    def run(n_epochs):
        command = [sys.executable, "-c", KILLED, tmp_path / "runs", str(n_epochs), tmp_path / "out"]
        return subprocess.run(command, check=False).returncode

    assert run(n_epochs=2) == 9
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert run(n_epochs=1) == 9  # one more epoch, and killed again
    assert run(n_epochs=99) == 0
    embedder = FaceNetEmbedder(
        weights=None, max_epochs=4, loss="arcface", early_stopping=True, validation_fraction=0.3,
        random_state=0,
    )  # fmt: skip
    embedder.fit(faces.data, faces.target)
    with np.load(tmp_path / "out.npz") as resumed:
        for name, values in embedder.weights_.items():
            np.testing.assert_array_equal(resumed[name], values, err_msg=name)


def test_checkpoints_of_other_runs_are_not_taken(faces, tmp_path, monkeypatch):
    first = tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    other = tiny(checkpoint_dir=tmp_path, margin=0.5).fit(faces.data, faces.target)
    tiny(checkpoint_dir=tmp_path).fit(faces.data[:-1], faces.target[:-1])
    tiny(checkpoint_dir=tmp_path, random_state=1).fit(faces.data, faces.target)
    assert len(list(tmp_path.iterdir())) == 4
    assert not np.array_equal(weights_of(first), weights_of(other))
    # what is complete is not trained again, whatever only affects speed or output
    monkeypatch.setattr("skface.nn.training.Trainer._run_step", None)
    again = tiny(checkpoint_dir=tmp_path, batch_size=3, flip=True).fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(again), weights_of(first))


class Repulsion(nn.Module):
    """A loss with settings that neither its repr nor its state dict shows."""

    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent
        self.register_buffer("scale", torch.ones(1))

    def forward(self, embeddings, labels):
        return -self.scale[0] * torch.pdist(embeddings).pow(self.exponent).mean()


def repel(embeddings, labels, exponent=1.0):
    return Repulsion(exponent)(embeddings, labels)


def test_checkpoints_tell_losses_apart(faces, tmp_path):
    losses = [Repulsion(1.0), Repulsion(2.0), repel, functools.partial(repel, exponent=2.0)]
    backbones = [tiny_network, functools.partial(tiny_network)]
    for loss in losses:
        for backbone in backbones:
            FaceNetEmbedder(
                backbone, None, loss=loss, max_epochs=1, checkpoint_dir=tmp_path, random_state=0
            ).fit(faces.data, faces.target)
    assert len(list(tmp_path.iterdir())) == len(losses) * len(backbones)


FIT_WITH_LOSS = """
import sys, torch
from skface import FaceNetEmbedder, make_faces
from skface.nn.losses import MarginSoftmax

torch.manual_seed(0)
loss = MarginSoftmax(3, 8, kind="arcface")  # which holds a tensor
def network():
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 8)
    )
faces = make_faces(3, 2, image_size=16, random_state=0)
FaceNetEmbedder(
    network, None, loss=loss, max_epochs=1, checkpoint_dir=sys.argv[1], random_state=0
).fit(faces.data, faces.target)
"""


def test_processes_with_one_loss_share_a_checkpoint(tmp_path):
    for _ in range(2):
        subprocess.run([sys.executable, "-c", FIT_WITH_LOSS, tmp_path], check=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_checkpoints_refuse_functions_without_a_name(faces, tmp_path):
    with pytest.raises(ValueError, match=r"loss=.*lambda.*named function"):
        tiny(loss=lambda e, y: e.sum(), checkpoint_dir=tmp_path).fit(faces.data, faces.target)


def test_numbers_of_numpy_do_not_spoil_a_checkpoint(faces, tmp_path):
    params = {"learning_rate": np.float64(1e-3), "weight_decay": np.float64(1e-4)}
    embedder = tiny(checkpoint_dir=tmp_path, max_epochs=np.int64(2), **params)
    before = weights_of(embedder.fit(faces.data, faces.target))
    np.testing.assert_array_equal(weights_of(embedder.fit(faces.data, faces.target)), before)


def test_a_folder_of_checkpoints_that_cannot_be_is_refused_before_training(
    faces, tmp_path, monkeypatch
):
    monkeypatch.setattr("skface.nn.training.Trainer._run_step", None)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileExistsError, match="file"):
        tiny(checkpoint_dir=tmp_path / "file").fit(faces.data, faces.target)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"checkpoints.*cannot be written to"):
        tiny(checkpoint_dir=tmp_path / "checkpoints").fit(faces.data, faces.target)


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(faces, tmp_path, monkeypatch):
    def fill(state, file):
        file.write(b"half of a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    embedder = tiny(checkpoint_dir=tmp_path).set_callbacks(StopAfter(1))
    embedder.fit(faces.data, faces.target)
    (path,) = tmp_path.iterdir()
    saved = path.read_bytes()
    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match="No space left"):
        tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    assert [other.read_bytes() for other in tmp_path.iterdir()] == [saved]


def test_checkpoints_need_a_seed_and_a_readable_file(faces, tmp_path):
    with pytest.raises(ValueError, match="random_state to be an int"):
        tiny(checkpoint_dir=tmp_path, random_state=None).fit(faces.data, faces.target)
    embedder = tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(
        ValueError, match=re.compile(f"{path.name} cannot be read.*remove it", re.DOTALL)
    ):
        embedder.fit(faces.data, faces.target)


def test_a_fit_that_fails_leaves_the_fitted_state_alone(faces, monkeypatch):
    embedder = tiny().fit(faces.data, faces.target)
    before = pickle.dumps(vars(embedder))

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("skface.nn.training.Trainer._run_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(faces.data[:20], faces.target[:20])
    assert pickle.dumps(vars(embedder)) == before


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_do_not_matter(off, faces):
    with off():
        embedder = tiny(loss="arcface").fit(faces.data, faces.target)
        assert not torch.is_grad_enabled()
    expected = tiny(loss="arcface").fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(embedder), weights_of(expected))


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseVerifier])
def test_double_precision_as_the_default_of_torch_does_not_matter(kind, faces):
    torch.set_default_dtype(torch.float64)
    try:
        estimator = tiny(kind, early_stopping=True).fit(faces.data, faces.target)
    finally:
        torch.set_default_dtype(torch.float32)
    assert weights_of(estimator).dtype == np.float32


# --- pipelines and searches -----------------------------------------------------------------------


def test_a_search_over_margins_trains_once_per_candidate_and_fold(pairs, monkeypatch):
    fits = count_fits(monkeypatch)
    pipe = make_pipeline(tiny(), PairVerifier())
    search = GridSearchCV(pipe, {"facenetembedder__margin": [0.1, 0.4]}, cv=IdentityKFold(3))
    search.fit(pairs.data, pairs.target, groups=pairs.identities)
    assert len(fits) == 2 * 3 + 1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_frozen_embedder_in_a_search_never_trains(pairs, faces, monkeypatch, tmp_path):
    donor = tiny().fit(faces.data, faces.target)
    torch.save({n: torch.from_numpy(v) for n, v in donor.weights_.items()}, tmp_path / "w.pt")
    fits = count_fits(monkeypatch)
    pipe = make_pipeline(FaceNetEmbedder(tiny_network, tmp_path / "w.pt"), PairVerifier())
    grid = {"pairverifier__criterion": ["accuracy", "eer"], "pairverifier__threshold": [None, 0.5]}
    search = GridSearchCV(pipe, grid, cv=IdentityKFold(3))
    search.fit(pairs.data, pairs.target, groups=pairs.identities)
    assert fits == []


def count_fits(monkeypatch):
    from skface.nn.training import Trainer

    fits = []
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, *args: fits.append(1) or run(self, *args))
    return fits


class StopAfter:
    """Callback that asks for the end of training."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id + 1 == self.n_epochs


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseEmbedder, SiameseVerifier])
def test_a_callback_may_stop_training(kind, faces):
    estimator = tiny(kind, max_epochs=9).set_callbacks(StopAfter(3))
    assert len(estimator.fit(faces.data, faces.target).history_["epoch"]) == 3


def auc(embedder, X, y):
    embeddings = embedder.transform(X)
    left, right = np.triu_indices(len(y), 1)
    return roc_auc_score(y[left] == y[right], (embeddings[left] * embeddings[right]).sum(axis=1))


def test_scoring_monitor_sees_the_network_of_each_epoch(faces, pairs):
    monitor = ScoringMonitor(scoring={"score": auc})
    embedder = tiny(max_epochs=3, learning_rate=0.02).set_callbacks(monitor)
    embedder.fit(faces.data, faces.target)
    scores = [row["score"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == pytest.approx(auc(embedder, faces.data, faces.target), abs=1e-6)
    assert len(set(scores)) == 3

    monitor = ScoringMonitor(scoring="roc_auc")
    verifier = tiny(SiameseVerifier).set_callbacks(monitor).fit(pairs.data, pairs.target)
    scores = [row["roc_auc"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    expected = roc_auc_score(pairs.target, verifier.decision_function(pairs.data))
    assert scores[-1] == pytest.approx(expected, abs=1e-6)


# --- speed ----------------------------------------------------------------------------------------


def test_all_photos_that_cannot_be_read_are_named_before_training(faces, tmp_path, monkeypatch):
    import PIL.Image

    paths = [tmp_path / f"{i}.jpg" for i in range(len(faces.data))]
    for path, pixels in zip(paths, faces.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    for i in (3, 30):
        paths[i].write_text("no photo")
    monkeypatch.setattr("skface.nn.training.Trainer._run_step", None)
    with pytest.raises(ValueError, match=re.compile(r"2 of 40 .*3\.jpg.*30\.jpg", re.DOTALL)):
        tiny(image_shape=(32, 32)).fit(paths, faces.target)


def test_training_photos_are_decoded_once(faces, tmp_path, monkeypatch):
    import PIL.Image
    import skface.images

    paths = np.array([str(tmp_path / f"{i}.png") for i in range(len(faces.data))])
    for path, pixels in zip(paths, faces.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    decoded = []
    decode = skface.images.decode
    monkeypatch.setattr(
        skface.images, "decode", lambda source: decoded.append(source) or decode(source)
    )
    from_paths = tiny(max_epochs=4, image_shape=(32, 32)).fit(paths, faces.target)
    assert len(decoded) == len(paths)
    from_arrays = tiny(max_epochs=4).fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(from_paths), weights_of(from_arrays))
    monkeypatch.setattr("skface.embedding._training_set._MOST_CACHED_BYTES", 0)
    uncached = tiny(max_epochs=4, image_shape=(32, 32)).fit(paths, faces.target)
    assert len(decoded) == (1 + 1 + 4) * len(paths)
    np.testing.assert_allclose(weights_of(uncached), weights_of(from_arrays), atol=1e-5)


@pytest.mark.parametrize("augment", [True, False])
def test_a_backbone_of_the_caller_gets_images_in_the_usual_layout(augment, faces):
    embedder = FaceNetEmbedder(
        Viewing, None, max_epochs=1, augment=augment, early_stopping=True, random_state=0
    )
    assert embedder.fit(faces.data, faces.target).transform(faces.data).shape == (40, 16)


def test_registered_backbones_are_trained_channels_last_on_a_cpu(faces, monkeypatch):
    layouts = []
    conv2d = nn.Conv2d.forward

    def watch(layer, images):
        if layer.training:
            layouts.append(images.is_contiguous(memory_format=torch.channels_last))
        return conv2d(layer, images)

    monkeypatch.setattr(nn.Conv2d, "forward", watch)
    FaceNetEmbedder("small_resnet", None, max_epochs=1, random_state=0, device="cpu").fit(
        faces.data, faces.target
    )
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"loss": "softmax"}, ValueError, "loss='softmax'"),
        ({"trainable": -1}, ValueError, "trainable == -1"),
        ({"precision": "float16"}, ValueError, "precision='float16'"),
        ({"validation_fraction": 1.0}, ValueError, r"validation_fraction == 1\.0"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change == 0"),
        ({"chunk_size": 2}, ValueError, "chunk_size == 2"),
        ({"weight_decay": -1.0}, ValueError, r"weight_decay == -1\.0"),
        ({"checkpoint_dir": 3}, TypeError, "checkpoint_dir=3"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping"),
        ({"augment": None}, TypeError, "augment"),
        ({"device": "abacus"}, ValueError, "device='abacus'"),
        ({"device": None}, ValueError, "device=None"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99'.*'auto'"),
        ({"loss": "arcface", "margin": 3.0}, ValueError, r"margin=3\.0"),
    ],
)
def test_bad_parameters_are_named(params, kind, message, faces):
    with pytest.raises(kind, match=message):
        tiny(**params).fit(faces.data, faces.target)


def test_half_precision_trains(faces):
    embedder = tiny(precision="bfloat16", max_epochs=10, learning_rate=1e-2)
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0]
    assert weights_of(embedder).dtype == np.float32
