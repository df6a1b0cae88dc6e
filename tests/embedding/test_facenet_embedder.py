"""FaceNetEmbedder: unit vectors, pairs, failures, persistence and refusals."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from skface import FaceNetEmbedder, make_faces


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=6, n_images_per_identity=4, image_size=32, random_state=0)


@pytest.fixture(scope="module")
def trained(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=2, random_state=0)
    return embedder.fit(faces.data, faces.target)


@parametrize_with_checks([FaceNetEmbedder("mlp", weights=None, max_epochs=2, random_state=0)])
def test_flat_backbone_passes_every_scikit_learn_check(estimator, check):
    check(estimator)


def test_embeddings_are_unit_vectors(trained, faces):
    embeddings = trained.transform(faces.data)
    assert embeddings.shape == (24, trained.embedding_dim_)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_training_separates_people_it_was_shown():
    faces = make_faces(6, 8, 32, difficulty=0.2, random_state=0)
    embedder = FaceNetEmbedder(weights=None, max_epochs=25, random_state=0)
    embeddings = embedder.fit_transform(faces.data, faces.target)
    similarity = embeddings @ embeddings.T
    same = faces.target[:, None] == faces.target
    off_diagonal = ~np.eye(len(same), dtype=bool)
    assert similarity[same & off_diagonal].mean() > similarity[~same].mean() + 0.3
    active = embedder.history_["active_triplets"]
    assert active[-1] < active[0]


def test_pairs_are_regrouped_faces(trained, faces):
    slots = np.random.default_rng(0).integers(0, 24, (10, 2))
    pairs = trained.transform(faces.data[slots])
    np.testing.assert_allclose(pairs, trained.transform(faces.data)[slots], atol=1e-6)
    swapped = trained.transform(faces.data[slots[:, ::-1]])
    np.testing.assert_allclose(swapped, pairs[:, ::-1], atol=1e-6)


class CountingNetwork(nn.Module):
    """A network that counts the faces it embeds."""

    n_faces = 0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, faces):
        CountingNetwork.n_faces += len(faces)
        return self.linear(faces.mean(dim=(2, 3)))


def test_each_distinct_photo_of_pairs_is_embedded_once(faces):
    embedder = FaceNetEmbedder(CountingNetwork, None, trainable="none", runtime="torch")
    embedder.fit(faces.data).transform(faces.data[:1])  # the first call loads the network
    before = CountingNetwork.n_faces
    embedder.transform(faces.data[np.tile([[0, 1], [1, 2], [2, 0]], (5, 1))])
    assert CountingNetwork.n_faces - before == 3


def test_batch_size_changes_nothing(trained, faces):
    expected = trained.transform(faces.data)
    for batch_size in (1, 5, 24):
        other = clone(trained).set_params(batch_size=batch_size)
        other.__dict__.update({**vars(trained), "batch_size": batch_size})
        # in bfloat16, other kernels for other numbers of faces may round otherwise
        np.testing.assert_allclose(other.transform(faces.data), expected, atol=2e-5)


def test_ints_and_floats_embed_alike(trained, faces):
    expected = trained.transform(faces.data)
    np.testing.assert_allclose(trained.transform(faces.data / 255), expected, atol=1e-5)


def test_same_seed_gives_the_same_network(trained, faces):
    again = clone(trained).fit(faces.data, faces.target)
    for name, values in trained.weights_.items():
        np.testing.assert_array_equal(again.weights_[name], values, err_msg=name)
    other = clone(trained).set_params(random_state=1).fit(faces.data, faces.target)
    assert not np.allclose(other.transform(faces.data), trained.transform(faces.data))


def test_training_leaves_global_random_states_alone(faces):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    FaceNetEmbedder(weights=None, max_epochs=1, random_state=0).fit(faces.data, faces.target)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_threads_that_train_at_once_get_the_networks_of_their_seeds(faces):
    def fit(seed):
        embedder = FaceNetEmbedder(tiny_network, None, max_epochs=2, random_state=seed)
        return embedder.fit(faces.data, faces.target).transform(faces.data)

    state = torch.get_rng_state()
    expected = [fit(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(fit, [0, 1, 2, 3] * 4))
    for i, embeddings in enumerate(results):
        np.testing.assert_allclose(embeddings, expected[i % 4], atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_on_pairs_recovers_identities(faces):
    target = faces.target
    genuine = [(i, i + 1) for i in range(23) if target[i] == target[i + 1]]
    impostor = [(i, (i + 7) % 24) for i in range(24) if target[i] != target[(i + 7) % 24]]
    slots = np.array(genuine + impostor)
    same = np.repeat(["same", "different"], [len(genuine), len(impostor)])
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    # "different" < "same": the last label in sorted order means the same person
    pairs = embedder.fit(faces.data[slots], same)
    assert pairs.transform(faces.data[slots]).shape == (len(slots), 2, 128)


def test_missing_faces_embed_to_nan_and_are_not_learned_from(faces):
    X = faces.data / np.float32(255)
    X[[3, 9]] = np.nan
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0).fit(X, faces.target)
    embeddings = embedder.transform(X)
    assert np.isnan(embeddings[[3, 9]]).all()
    assert np.isfinite(np.delete(embeddings, [3, 9], axis=0)).all()
    assert np.isfinite(embedder.transform(faces.data)).all()


def test_fitted_state_is_arrays_and_survives_another_process(trained, faces, tmp_path):
    assert all(isinstance(values, np.ndarray) for values in trained.weights_.values())
    before = set(vars(trained))
    expected = trained.transform(faces.data)
    assert set(vars(trained)) == before
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(trained)).transform(faces.data), expected
    )
    joblib.dump((trained, faces.data), tmp_path / "model.joblib")
    code = (
        "import joblib, numpy, sys; model, X = joblib.load(sys.argv[1]); "
        "numpy.save(sys.argv[2], model.transform(X))"
    )
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", code, tmp_path / "model.joblib", out], check=True)
    np.testing.assert_array_equal(np.load(out), expected)


def test_refit_replaces_the_network(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    first = embedder.fit(faces.data, faces.target).transform(faces.data)
    second = embedder.set_params(random_state=1).fit(faces.data, faces.target)
    assert not np.allclose(second.transform(faces.data), first)


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def test_any_callable_may_build_the_network(faces):
    embedder = FaceNetEmbedder(tiny_network, None, max_epochs=2, random_state=0)
    assert embedder.fit_transform(faces.data, faces.target).shape == (24, 8)
    with pytest.raises(TypeError, match="returned a int"):
        FaceNetEmbedder(int, None).fit(faces.data, faces.target)
    with pytest.raises(ValueError, match="embedding_dim=4"):
        FaceNetEmbedder(tiny_network, None, embedding_dim=4).fit(faces.data, faces.target)


def test_a_callable_that_returns_one_network_again_and_again_shares_no_weights(faces):
    own = tiny_network()
    before = own[-1].weight.detach().clone()
    first = FaceNetEmbedder(lambda: own, None, max_epochs=1, random_state=0)
    expected = first.fit(faces.data, faces.target).transform(faces.data)
    FaceNetEmbedder(lambda: own, None, max_epochs=1, random_state=1).fit(faces.data, faces.target)
    np.testing.assert_array_equal(first.transform(faces.data), expected)
    assert torch.equal(own[-1].weight, before)


def test_flip_averages_the_mirror_image(trained, faces):
    flipped = clone(trained).set_params(flip=True).fit(faces.data, faces.target)
    both = trained.transform(faces.data) + trained.transform(faces.data[:, :, ::-1])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(flipped.transform(faces.data), both, atol=1e-5)


def test_flattened_rows_need_their_shape(trained, faces):
    flat = faces.data.reshape(24, -1)
    embedder = clone(trained).set_params(image_shape=(32, 32, 3)).fit(flat, faces.target)
    np.testing.assert_allclose(embedder.transform(flat), trained.transform(faces.data), atol=1e-6)
    with pytest.raises(ValueError, match="image_shape"):
        trained.transform(flat)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trainable": "head?"}, "trainable='head\\?'"),
        ({"mining": "soft"}, "mining='soft'"),
        ({"margin": 0}, "margin == 0"),
        ({"max_epochs": 0}, "max_epochs == 0"),
        ({"batch_size": 0}, "batch_size == 0"),
        ({"backbone": "resnet-1000"}, "backbone='resnet-1000'"),
        ({"weights": "yunet"}, "FaceAligner"),
        ({"weights": "sface"}, "OnnxEmbedder"),
        (
            {"weights": "skface-mini", "backbone": "small_resnet"},
            "iresnet_mini.*weights=None",
        ),
        ({"weights": __file__}, "backbone must name"),
        ({"image_shape": (0, 4)}, "image_shape"),
    ],
)
def test_bad_parameters_are_named(params, message, faces):
    with pytest.raises(ValueError, match=message):
        FaceNetEmbedder(**{"weights": None, **params}).fit(faces.data, faces.target)


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"backbone": nn.Flatten()}, TypeError, "Flatten, a network: pass a function"),
        ({"weights": 3}, TypeError, "weights=3"),
        ({"flip": "no"}, TypeError, "flip"),
        ({"device": "gpu"}, ValueError, "device='gpu'"),
    ],
)
def test_parameters_of_another_kind_are_named(params, kind, message, faces):
    with pytest.raises(kind, match=message):
        FaceNetEmbedder(**{"weights": None, **params}).fit(faces.data, faces.target)


def test_parameters_that_change_after_fit_wait_for_the_next_fit(trained, faces):
    again = pickle.loads(pickle.dumps(trained)).set_params(embedding_dim=32)
    np.testing.assert_array_equal(again.transform(faces.data), trained.transform(faces.data))


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"flip": "yes"}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"device": "tpu"}, ValueError),
        ({"precision": "float8"}, ValueError),
        ({"runtime": "tvm"}, ValueError),
    ],
)
def test_bad_values_of_what_may_change_after_fit_are_named(params, kind, trained, faces):
    again = pickle.loads(pickle.dumps(trained)).set_params(**params)
    with pytest.raises(kind, match=next(iter(params))):
        again.transform(faces.data)


def test_bad_targets_are_named(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=1)
    with pytest.raises(ValueError, match="requires y"):
        embedder.fit(faces.data)
    with pytest.raises(ValueError, match="5 labels.*24 rows"):
        embedder.fit(faces.data, faces.target[:5])
    with pytest.raises(ValueError, match=r"1 classes|one class"):
        embedder.fit(faces.data.reshape(12, 2, 32, 32, 3), np.ones(12))
    with pytest.raises(ValueError, match="two images"):
        embedder.fit(faces.data, np.arange(24))
    with pytest.raises(ValueError, match="identit"):
        embedder.fit(faces.data, np.zeros(24))
    with pytest.raises(ValueError, match=r"\(24, 8\).*FaceNetEmbedder.*DistilledEmbedder"):
        embedder.fit(faces.data, np.ones((24, 8)))


def test_targets_are_ignored_if_nothing_is_trained(faces):
    embedder = FaceNetEmbedder(weights=None, trainable="none", random_state=0)
    expected = embedder.fit(faces.data).transform(faces.data)
    again = embedder.fit(faces.data, np.ones((24, 8)))  # of a regressor later in a pipeline
    np.testing.assert_array_equal(again.transform(faces.data), expected)


def test_mixed_sizes_need_image_shape(faces, tmp_path):
    X = [*faces.data[:23], faces.data[23, :20]]
    with pytest.raises(ValueError, match=r"2 sizes.*\(32, 32\).*\(20, 32\).*row 23.*image_shape"):
        FaceNetEmbedder(weights=None, max_epochs=1).fit(X, faces.target)
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, image_shape=(32, 32), random_state=0)
    assert embedder.fit_transform(X, faces.target).shape == (24, 128)


@pytest.mark.gpu
def test_gpu_model_loads_on_cpu(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, device="cuda", random_state=0)
    on_gpu = embedder.fit(faces.data, faces.target).transform(faces.data)
    on_cpu = pickle.loads(pickle.dumps(embedder)).set_params(device="cpu").transform(faces.data)
    np.testing.assert_allclose(on_cpu, on_gpu, atol=1e-3)
