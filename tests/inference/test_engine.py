"""The inference engine: every backend gives the vectors of the plain network."""

import subprocess
import sys
import textwrap
import warnings
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import pytest
import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from networks import callable_network, largest_gap, lively_network, plainly
from sklearn.base import clone
from torch import nn

from skface import (
    FaceNetEmbedder,
    SiameseVerifier,
    make_faces,
    make_pairs,
)
from skface._utils.runtimes import thread_share
from skface.inference import Engine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=6, n_images_per_identity=4, image_size=32, random_state=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_callers_autocast_and_defaults_change_nothing(precision, faces):
    images = list(faces.data)
    expected = Engine(lively_network("small_resnet"), CPU, precision, "torch").embed(
        images, flip=False
    )
    engine = Engine(lively_network("small_resnet"), CPU, precision, "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.autocast("cpu", dtype=torch.float16):
            np.testing.assert_array_equal(engine.embed(images, flip=False), expected)
        network = lively_network("small_resnet")
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        try:
            vectors = Engine(network, CPU, precision, "torch").embed(images, flip=False)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
        np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("backbone", ["inception_resnet_v1", "mobilefacenet", "small_resnet"])
def test_every_backend_gives_the_plain_vectors_without_a_warning(backbone, runtime):
    pytest.importorskip(runtime)
    network = lively_network(backbone)
    images = list(make_faces(9, 1, 64, random_state=0).data)
    expected = plainly(network, images)
    for precision, gap in (("float32", 1e-6), ("bfloat16", 5e-4)):
        engine = Engine(lively_network(backbone), CPU, precision, runtime)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            vectors = engine.embed(images, flip=False)
        assert vectors.dtype == np.float32
        assert largest_gap(expected, vectors) < gap
        if precision == "bfloat16":  # it was not the plain network that ran
            assert largest_gap(expected, vectors) > 1e-8


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_face_alone_and_among_others_is_the_same(precision, runtime, faces):
    pytest.importorskip(runtime)
    engine = Engine(lively_network("small_resnet"), CPU, precision, runtime)
    images = list(faces.data)
    together = engine.embed(images, flip=False)
    np.testing.assert_array_equal(engine.embed(images, flip=False), together)
    alone = np.concatenate([engine.embed([image], flip=False) for image in images])
    assert largest_gap(together, alone) < {"float32": 1e-9, "bfloat16": 1e-5}[precision]


def test_flip_averages_the_vectors_of_mirror_images(faces):
    images = list(faces.data[:4])
    both = [
        plainly(lively_network("small_resnet"), list(x)) for x in (images, faces.data[:4, :, ::-1])
    ]
    expected = sum(v / np.linalg.norm(v, axis=1, keepdims=True) for v in both) / 2
    engine = Engine(lively_network("small_resnet"), CPU, "float32", "torch")
    np.testing.assert_allclose(engine.embed(images, flip=True), expected, atol=1e-5)


class OnlyFloat32(nn.Module):
    """A network that tracing, bfloat16 and another layout all break."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.embedding(x.view(len(x), -1) + torch.zeros(1, dtype=torch.float32))


@pytest.mark.filterwarnings("ignore:.*OpenVINO in .* cannot run it:UserWarning")
def test_networks_of_users_fall_back_to_slower_backends(faces):
    embedder = FaceNetEmbedder(OnlyFloat32, None, trainable="none", random_state=0)
    plain = clone(embedder).set_params(precision="float32").fit(faces.data)
    fast = clone(embedder).set_params(precision="bfloat16").fit(faces.data)
    with pytest.warns(UserWarning, match=r"OnlyFloat32.*bfloat16 cannot run it \(RuntimeError"):
        vectors = fast.transform(faces.data)
    np.testing.assert_allclose(vectors, plain.transform(faces.data), atol=1e-6)


class ScalesItsInput(nn.Module):
    """A network that writes to its input, which tracing does not see."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        x.mul_(0.5).add_(0.5)
        return self.embedding(x.flatten(1))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_networks_may_write_to_their_input(faces, runtime):
    pytest.importorskip(runtime)
    images = list(faces.data)
    network = callable_network(ScalesItsInput)
    both = [plainly(network, list(x)) for x in (images, faces.data[:, :, ::-1])]
    expected = sum(v / np.linalg.norm(v, axis=1, keepdims=True) for v in both) / 2
    engine = Engine(network, CPU, "float32", runtime)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        vectors = engine.embed(images, flip=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_openvino_needs_no_default_of_torch(faces, default):
    pytest.importorskip("openvino")
    network = lively_network("small_resnet")
    engine = Engine(network, CPU, "float32", "openvino")
    torch.set_default_dtype(default)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            vectors = engine.embed(list(faces.data), flip=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert largest_gap(plainly(network, list(faces.data)), vectors) < 1e-6


class LooksAtItsFaces(nn.Module):
    """A network that branches on the brightness of its faces. A trace keeps one branch."""

    def __init__(self):
        super().__init__()
        self.bright, self.dark = nn.Linear(3 * 32 * 32, 8), nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        return (self.bright if x.mean() > -0.9 else self.dark)(x.flatten(1))


def test_networks_that_decide_by_face_are_not_converted(faces):
    pytest.importorskip("openvino")
    network = callable_network(LooksAtItsFaces)
    with pytest.warns(UserWarning, match=r"LooksAtItsFaces.*OpenVINO.*another branch"):
        engine = Engine(network, CPU, "float32", "openvino")
    engine.embed(list(faces.data), flip=False)
    dark = [np.zeros((32, 32, 3), dtype=np.uint8)]
    np.testing.assert_allclose(engine.embed(dark, flip=False), plainly(network, dark), atol=1e-5)


class Waves(nn.Module):
    """A network that amplifies the rounding of bfloat16."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        return torch.sin(300 * self.embedding(x.flatten(1)))


@pytest.mark.filterwarnings("ignore:.*OpenVINO in .* gives other vectors:UserWarning")
@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_a_backend_of_other_vectors_is_rejected_with_figures_at_the_first_face(runtime, faces):
    embedder = FaceNetEmbedder(Waves, None, trainable="none", random_state=0, runtime=runtime)
    expected = clone(embedder).set_params(precision="float32").fit_transform(faces.data)
    embedder.set_params(precision="bfloat16").fit(faces.data)
    rejected = r"Waves.*torch in bfloat16 gives other vectors.* 8 probe images; 0\.9995 and 0\.998"
    with pytest.warns(UserWarning, match=rejected):
        first = embedder.transform(faces.data[:1])
    np.testing.assert_allclose(first, expected[:1], atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(embedder.transform(faces.data), expected, atol=1e-3)


class SeesBlackOnly(nn.Module):
    """A network with vectors of zeros, unless an image is black."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(1, 8)

    def forward(self, x):
        darkness = torch.relu(-0.99 - x.mean((1, 2, 3)))[:, None]
        return darkness * self.embedding(darkness)


@pytest.mark.parametrize("runtime", ["auto", "torch", "openvino"])
def test_the_plain_network_runs_if_probes_give_zeros(runtime):
    pytest.importorskip("openvino" if runtime == "openvino" else "torch")
    network = callable_network(SeesBlackOnly)
    black = [np.zeros((32, 32, 3), dtype=np.uint8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors = Engine(network, CPU, "bfloat16", runtime).embed(black, flip=False)
    np.testing.assert_array_equal(vectors, plainly(network, black))


@pytest.mark.parametrize("runtime", ["auto", "torch", "openvino"])
def test_a_photo_has_the_same_bits_before_and_after_2000_others(runtime, faces):
    pytest.importorskip("openvino" if runtime == "openvino" else "torch")
    embedder = FaceNetEmbedder(weights=None, trainable="none", random_state=0, runtime=runtime)
    embedder.fit(faces.data)
    alone, among_others = faces.data[:1], faces.data[:11]
    before = embedder.transform(alone), embedder.transform(among_others)
    others = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    assert np.isfinite(embedder.transform(others)).all()
    after = embedder.transform(alone), embedder.transform(among_others)
    for earlier, later in zip(before, after, strict=True):
        np.testing.assert_array_equal(later, earlier)


def test_auto_means_openvino_where_it_is_installed(faces, monkeypatch):
    pytest.importorskip("openvino")

    def embed_through(runtime):
        embedder = FaceNetEmbedder(weights=None, trainable="none", random_state=0, runtime=runtime)
        return embedder.set_params(precision="float32").fit(faces.data).transform(faces.data[:9])

    through = {runtime: embed_through(runtime) for runtime in ("auto", "torch", "openvino")}
    np.testing.assert_array_equal(through["auto"], through["openvino"])
    assert not np.array_equal(through["auto"], through["torch"])
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    embedder = FaceNetEmbedder(weights=None, trainable="none", random_state=1, precision="float32")
    embedder.fit(faces.data)
    expected = embedder.set_params(runtime="torch").transform(faces.data)
    np.testing.assert_array_equal(
        embedder.set_params(runtime="auto").transform(faces.data), expected
    )


@pytest.mark.parametrize("weights", ["skface-mini", "face-reidentification-retail-0095"])
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_real_weights_pass_the_check_in_bfloat16(weights, runtime, skface_home):
    pytest.importorskip(runtime)
    photo = make_faces(1, 1, 128, random_state=0).data
    embedder = FaceNetEmbedder(weights=weights, precision="bfloat16", runtime=runtime).fit(photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        embedder.transform(photo)


class Builder:
    """Builds a network, and counts how often."""

    def __init__(self):
        self.n_built = 0

    def __deepcopy__(self, memo):
        return self

    def __call__(self):
        self.n_built += 1
        return OnlyFloat32()


class UnhashableBuilder(Builder):
    __hash__ = None


@pytest.mark.parametrize("kind", [Builder, UnhashableBuilder])
def test_equal_networks_share_one_engine(kind, faces):
    build = kind()
    embedder = FaceNetEmbedder(
        build, None, trainable="none", random_state=0, precision="float32", runtime="torch"
    )
    fitted = [clone(embedder).fit(faces.data) for _ in range(3)]
    assert len({one.weights_digest_ for one in fitted}) == 1
    n_fits = build.n_built
    vectors = [one.transform(faces.data) for one in (*fitted, *fitted)]
    for other in vectors[1:]:
        np.testing.assert_array_equal(other, vectors[0])
    assert build.n_built - n_fits == (1 if kind is Builder else 3)


def test_other_weights_and_settings_have_engines_of_their_own(faces):
    build = Builder()
    embedder = FaceNetEmbedder(
        build, None, trainable="none", random_state=0, precision="float32", runtime="torch"
    )
    expected = embedder.fit(faces.data).transform(faces.data)
    digest, n_built = embedder.weights_digest_, build.n_built
    other = clone(embedder).set_params(random_state=1).fit(faces.data)
    assert other.weights_digest_ != digest
    assert not np.allclose(other.transform(faces.data), expected)
    assert build.n_built == n_built + 2 * (n_built - 1)
    np.testing.assert_array_equal(embedder.transform(faces.data), expected)


def test_equal_weights_for_faces_of_two_sizes_are_two_engines(faces, tmp_path):
    path = tmp_path / "own.pt"
    torch.save(lively_network("small_resnet").module.state_dict(), path)
    for size in ((48, 40), (32, 32)):
        embedder = FaceNetEmbedder("small_resnet", path, image_shape=size, precision="float32")
        network = lively_network("small_resnet", size=size)
        vectors = embedder.fit(faces.data).transform(faces.data)
        assert largest_gap(plainly(network, list(faces.data)), vectors) < 1e-6


class ReturnsTwo(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x


def test_openvino_is_imported_without_telemetry():
    pytest.importorskip("openvino")
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from skface import FaceNetEmbedder

        faces = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
        FaceNetEmbedder(weights=None, trainable="none", runtime="openvino").fit_transform(faces)
        assert "openvino" in sys.modules
        assert "openvino_telemetry" not in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_networks_of_several_outputs_are_named(faces):
    embedder = FaceNetEmbedder(ReturnsTwo, None, trainable="none")
    with pytest.raises(TypeError, match="ReturnsTwo.*returned a tuple"):
        embedder.fit(faces.data)


def threads_here():
    return thread_share(), torch.get_num_threads()


def test_workers_get_their_share_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert thread_share() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert thread_share() == cpu_count()
    get_reusable_executor().shutdown(wait=True)  # workers keep the environment they started with
    share = max(1, cpu_count() // 2)
    for threads in Parallel(n_jobs=2)(delayed(threads_here)() for _ in range(2)):
        assert threads == (share, share)
    get_reusable_executor().shutdown(wait=True)


def test_threads_of_torch_stay_as_they_were(faces):
    before = torch.get_num_threads()
    Engine(lively_network("small_resnet"), CPU, "float32", "auto").embed(
        list(faces.data), flip=True
    )
    assert torch.get_num_threads() == before


def embed_into(queue, embedder, X):
    torch.set_num_threads(1)  # its own threads do not work after a fork, whoever uses them
    queue.put(embedder.transform(X))


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="needs fork")
def test_forked_processes_embed_too(faces, runtime):
    pytest.importorskip(runtime)
    params = {"weights": None, "trainable": "none", "random_state": 0, "batch_size": 8}
    embedder = FaceNetEmbedder(runtime=runtime, **params).fit(faces.data)
    expected = embedder.transform(faces.data)
    context = get_context("fork")
    queue = context.Queue()
    process = context.Process(target=embed_into, args=(queue, embedder, faces.data), daemon=True)
    process.start()
    try:
        vectors = queue.get(timeout=30)
    finally:
        process.kill()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_openvino_is_asked_for_by_name(faces, monkeypatch):
    embedder = FaceNetEmbedder(weights=None, runtime="openvino", max_epochs=1)
    with pytest.raises(ValueError, match="runtime='tensorrt'"):
        clone(embedder).set_params(runtime="tensorrt").fit(faces.data, faces.target)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"skface\[fast\]"):
        embedder.fit(faces.data, faces.target)


def test_how_to_run_may_change_after_fit(faces):
    embedder = FaceNetEmbedder("small_resnet", None, trainable="none", random_state=0)
    expected = embedder.set_params(precision="float32").fit(faces.data).transform(faces.data)
    vectors = embedder.set_params(precision="bfloat16").transform(faces.data)
    assert 1e-8 < largest_gap(expected, vectors) < 5e-4
    for name in ("precision", "runtime"):
        with pytest.raises(ValueError, match=f"{name}='half'"):
            clone(embedder).fit(faces.data).set_params(**{name: "half"}).transform(faces.data)


def test_verifier_takes_the_runtimes(faces):
    pytest.importorskip("openvino")
    pairs = make_pairs(faces.target, random_state=0)
    X = faces.data[pairs.indices]
    params = {"weights": None, "max_epochs": 1, "random_state": 0, "precision": "float32"}
    through_torch = SiameseVerifier(runtime="torch", **params).fit(X, pairs.target)
    through_openvino = SiameseVerifier(runtime="openvino", **params).fit(X, pairs.target)
    np.testing.assert_allclose(
        through_openvino.predict_proba(X), through_torch.predict_proba(X), atol=1e-4
    )


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gpu_gives_the_plain_vectors(precision, faces):
    images = list(faces.data)
    expected = plainly(lively_network("small_resnet"), images)
    engine = Engine(lively_network("small_resnet"), torch.device("cuda"), precision, "auto")
    assert largest_gap(expected, engine.embed(images, flip=False)) < 5e-4
