"""The inference engine: every way to run a network gives the vectors of the plain one."""

import copy
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import pytest
import torch
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

import skface._engine as engine_module
from skface import (
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
    SiameseVerifier,
    make_faces,
    make_pairs,
)
from skface._engine import Engine, shared_engine
from skface._network import build_network
from skface._runtimes import InParts, thread_share
from skface.nn.backbones import BACKBONES
from skface.nn.folding import (
    FusedConv2d,
    can_fuse_convolutions,
    fold_batch_norm,
    fuse_convolutions,
)
from skface.nn.inference import cosine_gaps, resolve_precision
from skface.weights import load_state

CPU = torch.device("cpu")
IMAGE_BACKBONES = [name for name, spec in BACKBONES.items() if not spec.flat]
SIZES = {"inception_resnet_v1": (96, 96)}  # for speed; it takes any size


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=6, n_images_per_identity=4, image_size=32, random_state=0)


def lively_network(backbone, seed=0):
    """A network whose batch normalisations have statistics, as after training."""
    spec = BACKBONES[backbone]
    size = SIZES.get(backbone, spec.input_size or (48, 40))
    network = build_network(backbone, (3, *size), None, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for part in network.module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return network


def plainly(network, images):
    with torch.inference_mode():
        return network.module(torch.from_numpy(network.inputs(images))).numpy()


@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_folding_leaves_no_normalisation_after_a_convolution(backbone):
    network = lively_network(backbone)
    folded = fold_batch_norm(network.module)
    n_left = sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    # those of an IResNet that come before a convolution, whose padding is not normalised
    expected = {"iresnet18": 9, "iresnet50": 25, "iresnet-mini": 10}.get(backbone, 0)
    assert n_left == expected
    images = torch.randn(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network.module(images), rtol=1e-3, atol=1e-3)


def test_folding_in_one_thread_leaves_networks_of_others_alone():
    begun, done = threading.Event(), threading.Event()

    class Waiting(nn.Sequential):
        def forward(self, faces):
            begun.set()
            assert done.wait(60)
            return super().forward(faces)

    compiled = torch.compile(nn.Linear(4, 4), backend="eager")
    compiled(torch.zeros(1, 4))
    module = Waiting(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    faces = torch.ones(2, 3, 8, 8)
    expected = other(faces)
    with ThreadPoolExecutor(2) as pool:
        folding = pool.submit(fold_batch_norm, module)
        assert begun.wait(60)
        second = pool.submit(fold_batch_norm, copy.deepcopy(other).eval())
        try:
            torch.testing.assert_close(other(faces), expected)
            assert compiled(torch.zeros(1, 4)).shape == (1, 4)
        finally:
            done.set()
        for folded in (folding.result(), second.result()):
            assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def test_folding_leaves_what_others_see_or_what_runs_twice():
    class Network(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.first, self.norm, self.last, self.last_norm = layers

        def forward(self, faces):
            hidden = self.first(faces)
            hidden = self.norm(hidden) + hidden
            hidden = self.last_norm(self.last(hidden))
            return self.last_norm(self.last(hidden)).mean((2, 3))

    torch.manual_seed(0)
    module = Network(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    faces = torch.randn(5, 3, 8, 8)
    module(faces)  # in training mode, so that the statistics are not those of the start
    folded = fold_batch_norm(module.eval())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules()) == 2
    torch.testing.assert_close(folded(faces), module(faces))


def test_folding_takes_a_linear_layer_too():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
    faces = torch.randn(5, 3, 2, 2)
    module(faces)
    folded = fold_batch_norm(module.eval())
    assert not any(isinstance(part, nn.BatchNorm1d) for part in folded.modules())
    torch.testing.assert_close(folded(faces), module(faces))


needs_fusion = pytest.mark.skipif(
    not can_fuse_convolutions("float32"), reason="convolutions are fused by oneDNN on x86"
)


@needs_fusion
@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_fusing_takes_every_convolution(backbone):
    network = lively_network(backbone)
    fused = fuse_convolutions(fold_batch_norm(network.module), network.input_shape)
    kinds = [type(part) for part in fused.modules()]
    n_convolutions = sum(isinstance(part, nn.Conv2d) for part in network.module.modules())
    assert kinds.count(FusedConv2d) == n_convolutions
    for n_faces in (1, 2, 5):
        images = torch.randn(
            n_faces, *network.input_shape, generator=torch.Generator().manual_seed(n_faces)
        )
        with torch.inference_mode():
            torch.testing.assert_close(fused(images), network.module(images), rtol=1e-3, atol=1e-3)


@needs_fusion
def test_residual_blocks_become_their_convolutions():
    network = build_network("inception_resnet_v1", (3, 160, 160), None)
    fused = fuse_convolutions(fold_batch_norm(network.module), network.input_shape)
    targets = Counter(str(node.target) for node in fused.graph.nodes)
    for gone in ("relu", "mul", "add"):
        assert not any(gone in target for target in targets)


class FusesInPart(nn.Module):
    """What comes after convolutions here is for others too, or not what they can do."""

    def __init__(self, n=4):
        super().__init__()
        names = ("seen", "added", "twice", "doubled", "scaled", "widened", "named", "reflected")
        for name in names:
            mode = "reflect" if name == "reflected" else "zeros"
            conv = nn.Conv2d(3 if name == "seen" else n, n, 3, padding=1, padding_mode=mode)
            self.add_module(name, conv)
        self.bias = nn.Parameter(torch.arange(float(n)).reshape(1, n, 1, 1))

    def forward(self, x):
        x = self.seen(x)
        x = torch.relu(x) + x
        x = self.added(x) + self.bias  # of another shape
        x = torch.relu(self.twice(torch.relu(self.twice(x))) - 0.1)
        hidden = self.doubled(x)
        x = torch.relu(hidden + hidden)
        x = torch.relu(2 * self.scaled(x) + x)
        x = (self.widened(x) + x.double()).float()
        x = self.named(input=x)
        return self.reflected(x).mean((2, 3))


@needs_fusion
def test_fusing_leaves_what_others_see_or_cannot_be_part():
    torch.manual_seed(0)
    module = FusesInPart().eval()
    faces = torch.randn(3, 3, 8, 8)
    fused = fuse_convolutions(fold_batch_norm(module), (3, 8, 8))
    names = {name for name, part in fused.named_modules() if isinstance(part, FusedConv2d)}
    assert names == {"seen", "added", "doubled", "scaled", "widened"}
    with torch.inference_mode():
        torch.testing.assert_close(fused(faces), module(faces))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_callers_autocast_and_defaults_change_nothing(precision, faces):
    images = list(faces.data)
    expected = Engine(lively_network("small-resnet"), CPU, precision, "torch").embed(
        images, flip=False
    )
    engine = Engine(lively_network("small-resnet"), CPU, precision, "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.autocast("cpu", dtype=torch.float16):
            np.testing.assert_array_equal(engine.embed(images, flip=False), expected)
        network = lively_network("small-resnet")
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        try:
            vectors = Engine(network, CPU, precision, "torch").embed(images, flip=False)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)
        np.testing.assert_array_equal(vectors, expected)


@needs_fusion
def test_bfloat16_is_not_fused_where_onednn_cannot(faces):
    program = textwrap.dedent(
        """
        import warnings
        import numpy as np
        from skface import FaceNetEmbedder
        from skface.nn.folding import can_fuse_convolutions

        assert can_fuse_convolutions("float32") and not can_fuse_convolutions("bfloat16")
        warnings.simplefilter("error")
        faces = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
        embedder = FaceNetEmbedder(weights=None, trainable="none", precision="bfloat16")
        embedder.set_params(runtime="torch").fit_transform(faces)
        """
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_fusing_leaves_what_cannot_be_traced():
    module = LooksAtItsFaces()
    assert fuse_convolutions(module, (3, 32, 32)) is module


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("backbone", ["inception_resnet_v1", "mobilefacenet", "small-resnet"])
def test_every_way_gives_the_plain_vectors_without_a_warning(backbone, runtime):
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
        assert cosine_gaps(expected, vectors).max() < gap
        if precision == "bfloat16":  # it was not the plain network that ran
            assert cosine_gaps(expected, vectors).max() > 1e-8


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_face_alone_and_among_others_is_the_same(precision, runtime, faces):
    pytest.importorskip(runtime)
    engine = Engine(lively_network("small-resnet"), CPU, precision, runtime)
    images = list(faces.data)
    together = engine.embed(images, flip=False)
    np.testing.assert_array_equal(engine.embed(images, flip=False), together)
    alone = np.concatenate([engine.embed([image], flip=False) for image in images])
    assert cosine_gaps(together, alone).max() < {"float32": 1e-9, "bfloat16": 1e-5}[precision]


def test_mirror_images_go_the_same_way(faces):
    images = list(faces.data[:4])
    both = [
        plainly(lively_network("small-resnet"), list(x)) for x in (images, faces.data[:4, :, ::-1])
    ]
    expected = sum(v / np.linalg.norm(v, axis=1, keepdims=True) for v in both)
    engine = Engine(lively_network("small-resnet"), CPU, "float32", "torch")
    np.testing.assert_allclose(engine.embed(images, flip=True), expected, atol=1e-5)


def test_what_gives_other_vectors_is_dropped_with_figures(faces, monkeypatch):
    monkeypatch.setattr(
        engine_module, "fold_batch_norm", lambda module: lively_network("small-resnet", 1).module
    )
    network = lively_network("small-resnet")
    images = list(faces.data)
    engine = Engine(network, CPU, "bfloat16", "torch")
    with pytest.warns(UserWarning, match=r"small-resnet.*1 - cosine is \d.*0\.0005") as caught:
        vectors = engine.embed(images, flip=False)
    tried = [
        f"{name}{how}"
        for name in ("bfloat16", "float32")
        for how in (" with fused layers", "")
        if not how or can_fuse_convolutions(name)
    ]
    for precision, warning in zip(tried, caught, strict=True):
        assert f"torch in {precision} gives other vectors" in str(warning.message)
    np.testing.assert_allclose(vectors, plainly(network, images), atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.embed(images, flip=False)  # asked once


class OnlyFloat32(nn.Module):
    """A network that tracing, bfloat16 and another layout all break."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.embedding(x.view(len(x), -1) + torch.zeros(1, dtype=torch.float32))


def test_networks_of_others_fall_back(faces):
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
    network = build_network(ScalesItsInput, (3, 32, 32), None)
    both = [plainly(network, list(x)) for x in (images, faces.data[:, :, ::-1])]
    expected = sum(v / np.linalg.norm(v, axis=1, keepdims=True) for v in both)
    engine = Engine(network, CPU, "float32", runtime)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        vectors = engine.embed(images, flip=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_openvino_needs_no_default_of_torch(faces, default):
    pytest.importorskip("openvino")
    network = lively_network("small-resnet")
    engine = Engine(network, CPU, "float32", "openvino")
    torch.set_default_dtype(default)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            vectors = engine.embed(list(faces.data), flip=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert cosine_gaps(plainly(network, list(faces.data)), vectors).max() < 1e-6


class LooksAtItsFaces(nn.Module):
    """A network that does something else for dark faces, of which a trace knows one way."""

    def __init__(self):
        super().__init__()
        self.bright, self.dark = nn.Linear(3 * 32 * 32, 8), nn.Linear(3 * 32 * 32, 8)

    def forward(self, x):
        return (self.bright if x.mean() > -0.9 else self.dark)(x.flatten(1))


def test_networks_that_decide_by_face_are_not_converted(faces):
    pytest.importorskip("openvino")
    network = build_network(LooksAtItsFaces, (3, 32, 32), None)
    engine = Engine(network, CPU, "float32", "openvino")
    with pytest.warns(UserWarning, match=r"LooksAtItsFaces.*OpenVINO.*for other faces"):
        engine.embed(list(faces.data), flip=False)
    dark = [np.zeros((32, 32, 3), dtype=np.uint8)]
    np.testing.assert_allclose(engine.embed(dark, flip=False), plainly(network, dark), atol=1e-5)


def test_vectors_that_prove_nothing_settle_nothing(faces):
    network = lively_network("small-resnet")
    engine = Engine(network, CPU, "bfloat16", "torch")
    with torch.no_grad():
        kept = network.module.norm.weight.clone(), network.module.norm.bias.clone()
        network.module.norm.weight.zero_()
        network.module.norm.bias.zero_()
    assert not engine.embed(list(faces.data[:2]), flip=False).any()
    with torch.no_grad():
        network.module.norm.weight.copy_(kept[0])
        network.module.norm.bias.copy_(kept[1])
    vectors = engine.embed(list(faces.data), flip=False)
    assert 1e-8 < cosine_gaps(plainly(network, list(faces.data)), vectors).max() < 5e-4


def test_small_batches_prove_together(faces):
    network = lively_network("small-resnet")
    engine = Engine(lively_network("small-resnet"), CPU, "bfloat16", "torch")
    images = list(faces.data[:2])
    expected = plainly(network, images)
    gaps = [cosine_gaps(expected, engine.embed(images, flip=False)).max() for _ in range(5)]
    assert max(gaps[:3]) < 1e-9  # the plain network, until there are eight faces
    assert min(gaps[3:]) > 1e-8


def test_one_odd_face_is_no_proof_against_a_way(faces, monkeypatch):
    odd = 12e-4  # 1 - cosine of one face of eight: 1.5e-4 on average
    gaps = np.array([odd, *[0.0] * 7])
    for gap, is_dropped in ((gaps, False), (gaps * 2, True), (np.full(8, 6e-4), True)):
        monkeypatch.setattr(engine_module, "cosine_gaps", lambda *_, gap=gap: gap)
        engine = Engine(lively_network("small-resnet"), CPU, "bfloat16", "torch")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine.embed(list(faces.data[:8]), flip=False)
        assert any("torch in bfloat16" in str(w.message) for w in caught) == is_dropped


def test_openvino_waits_until_conversion_pays(faces, monkeypatch):
    pytest.importorskip("openvino")
    converted = []
    convert = engine_module.to_openvino
    monkeypatch.setattr(
        engine_module, "to_openvino", lambda *a, **kw: converted.append(a) or convert(*a, **kw)
    )
    monkeypatch.setattr(engine_module, "_CONVERSION_PAYS_AFTER", 30)
    images = list(faces.data)
    engine = Engine(lively_network("small-resnet"), CPU, "float32", "auto")
    results = [engine.embed(images, flip=False) for _ in range(2)]
    assert not converted
    results += [engine.embed(images, flip=False) for _ in range(2)]
    assert len(converted) == 1
    for vectors in results:
        assert cosine_gaps(results[0], vectors).max() < 1e-9
    Engine(lively_network("small-resnet"), CPU, "float32", "openvino").embed(images, flip=False)
    assert len(converted) == 2


@pytest.mark.parametrize("wraps", [None, "cached", "plain"])
def test_openvino_comes_at_once_if_enough_faces_are_to_come(wraps, faces, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    converted = []  # after how many faces, for each conversion
    convert = Engine._openvino_ways

    def counting(engine):
        if ways := convert(engine):
            converted.append(engine._n_embedded)
        return ways

    monkeypatch.setattr(Engine, "_openvino_ways", counting)
    monkeypatch.setattr(engine_module, "_CONVERSION_PAYS_AFTER", 20)
    seed = {None: 11, "cached": 12, "plain": 13}[wraps]  # engines of equal networks are shared
    embedder = FaceNetEmbedder(
        "small-resnet", None, trainable="none", random_state=seed, batch_size=12
    )
    if wraps is not None:
        cache = tmp_path if wraps == "cached" else None
        embedder = PerFace(embedder, batch_size=12, cache=cache)
    embedder.fit(faces.data[:1])
    embedder.transform(faces.data[:12])
    assert not converted
    embedder.transform(faces.data)
    # 24 faces are to come, or, where 12 are in the cache, 12 after as many
    assert converted == [12 + (wraps is not None)]  # fit of a PerFace looks at what comes out


@pytest.mark.parametrize("flip", [False, True])
def test_faces_of_a_call_count_once(flip, faces, monkeypatch):
    n_faces = 20
    pytest.importorskip("openvino")
    monkeypatch.setattr(engine_module, "_CONVERSION_PAYS_AFTER", n_faces * (1 + flip) + 1)
    embedder = FaceNetEmbedder(
        "small-resnet", None, trainable="none", random_state=20 + flip, batch_size=4, flip=flip
    )
    converted = []
    monkeypatch.setattr(engine_module, "to_openvino", converted.append)
    embedder.fit(faces.data[:1]).transform(faces.data[:n_faces])
    assert not converted


def test_a_late_conversion_is_proven_on_eight_faces_too(faces, monkeypatch):
    pytest.importorskip("openvino")
    compared = []
    compare = engine_module.cosine_gaps
    monkeypatch.setattr(
        engine_module, "cosine_gaps", lambda *args: compared.append(len(args[0])) or compare(*args)
    )
    monkeypatch.setattr(engine_module, "_CONVERSION_PAYS_AFTER", 10)
    engine = Engine(lively_network("small-resnet"), CPU, "float32", "auto")
    for image in faces.data:  # one at a time, as from a camera
        engine.embed([image], flip=False)
    assert compared == [8, 8]


def fail_above(n_faces, error):
    """A network that runs out of memory above so many faces."""
    sizes = []

    def run(batch):
        if len(batch) > n_faces:
            raise error
        sizes.append(len(batch))
        return batch * 2

    return run, sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_halves_the_batch_once_and_for_all(error):
    run, sizes = fail_above(3, error)
    in_parts = InParts(run)
    batch = np.arange(10.0).reshape(10, 1)
    with pytest.warns(UserWarning, match="batch_size=2") as caught:
        np.testing.assert_array_equal(in_parts(batch), batch * 2)
    assert len(caught) == 1
    assert sizes == [2] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_parts(batch)
    with pytest.raises(type(error)):
        InParts(fail_above(0, error)[0])(batch)


def test_other_errors_are_not_hidden():
    run, _ = fail_above(0, RuntimeError("weights are broken"))
    with pytest.raises(RuntimeError, match="broken"):
        InParts(run)(np.zeros((4, 1)))


def test_clones_of_a_frozen_embedder_share_one_engine(faces, tmp_path, monkeypatch):
    built = []

    class Counted(Engine):
        def __init__(self, *args):
            built.append(args)
            super().__init__(*args)

    monkeypatch.setattr(engine_module, "Engine", Counted)
    path = tmp_path / "own.pt"
    torch.save(lively_network("small-resnet", seed=5).module.state_dict(), path)
    pairs = make_pairs(faces.target, random_state=0)
    search = GridSearchCV(
        make_pipeline(FaceNetEmbedder("small-resnet", path), PairVerifier()),
        {"pairverifier__threshold": [0.2, 0.5, 0.8]},
        cv=2,
    )
    search.fit(faces.data[pairs.indices], pairs.target)
    assert len(built) == 1
    other = FaceNetEmbedder("small-resnet", path, precision="float32").fit(faces.data)
    other.transform(faces.data)
    assert len(built) == 1 + (resolve_precision("auto", "cpu") != "float32")


def test_equal_weights_for_faces_of_two_sizes_are_two_engines(faces, tmp_path):
    path = tmp_path / "own.pt"
    torch.save(lively_network("small-resnet").module.state_dict(), path)
    for size in ((48, 40), (32, 32)):
        embedder = FaceNetEmbedder("small-resnet", path, image_shape=size, precision="float32")
        network = build_network("small-resnet", (3, *size), None, state=load_state(path))
        vectors = embedder.fit(faces.data).transform(faces.data)
        assert cosine_gaps(plainly(network, list(faces.data)), vectors).max() < 1e-6


class ReturnsTwo(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x


def test_openvino_reports_to_nobody():
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


def test_what_a_callable_builds_is_not_shared():
    network = lively_network("small-resnet")
    args = (lambda: network, OnlyFloat32, (3, 48, 40), network.state(), CPU, "float32", "torch")
    assert shared_engine(*args) is not shared_engine(*args)


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
    Engine(lively_network("small-resnet"), CPU, "float32", "auto").embed(
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
    monkeypatch.setattr("skface._fitting.is_installed", lambda runtime: False)
    with pytest.raises(ImportError, match=r"skface\[fast\]"):
        embedder.fit(faces.data, faces.target)


def test_how_to_run_may_change_after_fit(faces):
    embedder = FaceNetEmbedder("small-resnet", None, trainable="none", random_state=0)
    expected = embedder.set_params(precision="float32").fit(faces.data).transform(faces.data)
    vectors = embedder.set_params(precision="bfloat16").transform(faces.data)
    assert 1e-8 < cosine_gaps(expected, vectors).max() < 5e-4
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
    expected = plainly(lively_network("small-resnet"), images)
    engine = Engine(lively_network("small-resnet"), torch.device("cuda"), precision, "auto")
    assert cosine_gaps(expected, engine.embed(images, flip=False)).max() < 5e-4
