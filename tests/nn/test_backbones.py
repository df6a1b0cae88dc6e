"""Backbones: published architecture, independence of rows, weights from OpenVINO IR."""

import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from skface.nn.backbones import (  # noqa: E402
    BACKBONES,
    MLP,
    InceptionResnetV1,
    MobileFaceNet,
    Retail0095,
    get_backbone,
    iresnet18,
    iresnet50,
    load_retail0095_ir,
)
from skface.nn.openvino_ir import read_constants  # noqa: E402

# The shape of one row with which each backbone is tested.
SHAPES = {
    "inception_resnet_v1": (3, 96, 96),
    "iresnet18": (3, 33, 24),
    "iresnet50": (3, 24, 33),
    "iresnet_mini": (3, 33, 24),
    "mobilefacenet": (3, 112, 96),
    "retail_0095": (3, 128, 128),
    "small_resnet": (3, 48, 40),
    "mlp": (7,),
}


def build(name, seed=0, embedding_dim=None):
    spec = get_backbone(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return spec.build(embedding_dim or spec.embedding_dim, SHAPES[name])


def rows(name, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *SHAPES[name], generator=generator)
    return 255 * x if name == "retail_0095" else 2 * x - 1


def randomise(network, seed=0):
    """Give every tensor of a network, running statistics included, plausible random values."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.ndim == 1 and value.is_floating_point():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def test_every_backbone_is_exercised():
    assert set(SHAPES) == set(BACKBONES)


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_rows_are_embedded_each_by_itself(name):
    network = randomise(build(name))
    x = rows(name, 3)
    together = F.normalize(network(x))
    alone = F.normalize(torch.cat([network(row[None]) for row in x]))
    assert together.shape == (3, get_backbone(name).embedding_dim)
    assert together.dtype == torch.float32
    tolerance = 1e-7 if name == "mlp" else 1e-6
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)
    assert not torch.allclose(together[0], together[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_seed_decides_the_weights(name):
    before = torch.random.get_rng_state()
    a, b, c = (build(name, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


@pytest.mark.parametrize("name", SHAPES)
def test_embedding_dim_gradients_and_a_batch_of_two(name):
    network = build(name, embedding_dim=5).train()
    embedding = network(rows(name, 2))
    assert embedding.shape == (2, 5)
    embedding[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_children_are_registered_in_the_order_in_which_they_run(name):
    network = build(name).eval()
    order = []
    for child_name, child in network.named_children():
        child.register_forward_pre_hook(lambda *_, child_name=child_name: order.append(child_name))
    network(rows(name, 1))
    assert order == [child_name for child_name, _ in network.named_children()]


@pytest.mark.parametrize("name", set(SHAPES) - {"mlp"})
def test_unsuitable_shapes_are_refused(name):
    for shape in [(3, 8, 200), (1, 160, 160), (160, 160), (12,)]:
        with pytest.raises(ValueError, match="in_shape"):
            get_backbone(name).build(8, shape)


def test_mlp_refuses_images():
    with pytest.raises(ValueError, match=r"in_shape=\(3, 64, 64\)"):
        MLP(8, (3, 64, 64))


def test_unknown_backbone_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'resnet'.*'small_resnet'"):
        get_backbone("resnet")


def test_specs_pickle():
    for spec in BACKBONES.values():
        assert pickle.loads(pickle.dumps(spec)) == spec


# Inception-ResNet-v1


def test_inception_resnet_v1_has_the_published_state_dict():
    network = InceptionResnetV1()
    assert sum(p.numel() for p in network.parameters()) == 23_482_624
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    expected = {
        "conv2d_1a.conv.weight": (32, 3, 3, 3),
        "conv2d_4b.bn.running_var": (256,),
        "repeat_1.4.branch2.2.conv.weight": (32, 32, 3, 3),
        "repeat_1.0.branch0.conv.weight": (32, 256, 1, 1),
        "repeat_1.0.conv2d.bias": (256,),
        "mixed_6a.branch0.conv.weight": (384, 256, 3, 3),
        "mixed_6a.branch1.2.bn.num_batches_tracked": (),
        "repeat_2.9.branch1.1.conv.weight": (128, 128, 1, 7),
        "repeat_2.9.branch1.2.conv.weight": (128, 128, 7, 1),
        "mixed_7a.branch2.2.conv.weight": (256, 256, 3, 3),
        "repeat_3.4.conv2d.weight": (1792, 384, 1, 1),
        "block8.branch1.1.conv.weight": (192, 192, 1, 3),
        "last_linear.weight": (512, 1792),
        "last_bn.running_mean": (512,),
    }
    assert expected.items() <= shapes.items()
    # 132 convolutions with batch normalization (6 tensors), 21 plain ones (2), and the last two.
    n_units = sum(key.endswith("conv.weight") for key in shapes)
    assert len(shapes) == 6 * n_units + 2 * (5 + 10 + 5 + 1) + 6


def conv_unit(state, prefix, x, **kwargs):
    x = F.conv2d(x, state[f"{prefix}.conv.weight"], **kwargs)
    norm = [state[f"{prefix}.bn.{key}"] for key in ("running_mean", "running_var")]
    affine = [state[f"{prefix}.bn.{key}"] for key in ("weight", "bias")]
    return F.relu(F.batch_norm(x, *norm, *affine, eps=0.001))


@torch.no_grad()
def test_inception_resnet_v1_blocks_follow_the_formula():
    network = randomise(InceptionResnetV1())
    state = network.state_dict()
    generator = torch.Generator().manual_seed(3)

    x = torch.randn(2, 896, 6, 5, generator=generator)
    b0 = conv_unit(state, "repeat_2.3.branch0", x)
    b1 = conv_unit(state, "repeat_2.3.branch1.0", x)
    b1 = conv_unit(state, "repeat_2.3.branch1.1", b1, padding=(0, 3))
    b1 = conv_unit(state, "repeat_2.3.branch1.2", b1, padding=(3, 0))
    mixed = F.conv2d(
        torch.cat([b0, b1], 1),
        state["repeat_2.3.conv2d.weight"],
        state["repeat_2.3.conv2d.bias"],
    )
    torch.testing.assert_close(network.repeat_2[3](x), F.relu(x + 0.1 * mixed))

    x = torch.randn(2, 1792, 3, 3, generator=generator)
    for prefix, block, scale in [
        ("repeat_3.0", network.repeat_3[0], 0.2),
        ("block8", network.block8, 1.0),
    ]:
        b0 = conv_unit(state, f"{prefix}.branch0", x)
        b1 = conv_unit(state, f"{prefix}.branch1.0", x)
        b1 = conv_unit(state, f"{prefix}.branch1.1", b1, padding=(0, 1))
        b1 = conv_unit(state, f"{prefix}.branch1.2", b1, padding=(1, 0))
        weight, bias = state[f"{prefix}.conv2d.weight"], state[f"{prefix}.conv2d.bias"]
        expected = x + scale * F.conv2d(torch.cat([b0, b1], 1), weight, bias)
        expected = expected if prefix == "block8" else F.relu(expected)
        torch.testing.assert_close(block(x), expected)

    x = torch.randn(1, 256, 9, 9, generator=generator)
    b0 = conv_unit(state, "mixed_6a.branch0", x, stride=2)
    b1 = conv_unit(state, "mixed_6a.branch1.0", x)
    b1 = conv_unit(state, "mixed_6a.branch1.1", b1, padding=1)
    b1 = conv_unit(state, "mixed_6a.branch1.2", b1, stride=2)
    expected = torch.cat([b0, b1, F.max_pool2d(x, 3, 2)], 1)
    torch.testing.assert_close(network.mixed_6a(x), expected)


@torch.no_grad()
def test_inception_resnet_v1_equals_facenet_pytorch():
    published = pytest.importorskip(
        "facenet_pytorch",
        reason="facenet_pytorch, the published implementation, cannot be imported",
    )
    oracle = published.InceptionResnetV1()
    ours = InceptionResnetV1()
    oracle.load_state_dict(randomise(ours).state_dict())
    x = torch.randn(4, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(F.normalize(ours(x)), oracle.eval()(x), rtol=0, atol=1e-5)


# MobileFaceNet


def test_mobilefacenet_has_the_parameters_of_its_table():
    # Convolutions of table 1 without bias, (2 norm + 1 slope) per channel where there is a PReLU
    # and 2 where the convolution is linear.
    def block(n_in, n_hidden, n_out):
        convolutions = n_in * n_hidden + 9 * n_hidden + n_hidden * n_out
        return convolutions + 2 * 3 * n_hidden + 2 * n_out

    expected = 27 * 64 + 3 * 64 + 9 * 64 + 3 * 64
    n_in = 64
    for t, c, n in [(2, 64, 5), (4, 128, 1), (2, 128, 6), (4, 128, 1), (2, 128, 2)]:
        for _ in range(n):
            expected += block(n_in, t * n_in, c)
            n_in = c
    expected += 128 * 512 + 3 * 512 + 49 * 512 + 2 * 512 + 512 * 128 + 2 * 128
    assert sum(p.numel() for p in MobileFaceNet().parameters()) == expected
    assert 0.98e6 < expected < 1.01e6  # "0.99 million" in the paper


# IResNet


@pytest.mark.parametrize(
    ("build_network", "n_blocks"), [(iresnet18, (2, 2, 2, 2)), (iresnet50, (3, 4, 14, 3))]
)
def test_iresnet_has_the_published_state_dict(build_network, n_blocks):
    with torch.device("meta"):  # names and shapes: no memory, no random numbers
        network = build_network()
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    names |= {f"{name}.{key}" for name in ("bn1", "bn2", "features") for key in norm}
    # Stem: convolution, 2 per channel of the normalization, 1 slope per channel.
    expected = 27 * 64 + 3 * 64
    n_in = 64
    for stage, (n, n_out) in enumerate(zip(n_blocks, (64, 128, 256, 512), strict=True), start=1):
        for i in range(n):
            block = f"layer{stage}.{i}"
            names |= {f"{block}.{name}.weight" for name in ("conv1", "conv2", "prelu")}
            names |= {f"{block}.bn{k}.{key}" for k in (1, 2, 3) for key in norm}
            expected += 2 * n_in + 9 * n_in * n_out + 3 * n_out + 9 * n_out**2 + 2 * n_out
            if i == 0:
                names |= {f"{block}.downsample.0.weight"}
                names |= {f"{block}.downsample.1.{key}" for key in norm}
                expected += n_in * n_out + 2 * n_out
            n_in = n_out
    # The last map is 7 x 7: normalization, linear layer with bias, normalization.
    expected += 2 * 512 + 49 * 512 * 512 + 512 + 2 * 512
    assert set(network.state_dict()) == names
    assert sum(p.numel() for p in network.parameters()) == expected
    assert expected == {iresnet18: 24_025_600, iresnet50: 43_590_848}[build_network]


def plain_norm(state, prefix, x):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, gain, shift = (
        state[f"{prefix}.{key}"].view(shape)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gain + shift


@torch.no_grad()
def test_iresnet18_follows_the_formula():
    network = randomise(build("iresnet18"))
    state = network.state_dict()
    x = rows("iresnet18", 2)
    y = F.conv2d(x, state["conv1.weight"], padding=1)
    y = F.prelu(plain_norm(state, "bn1", y), state["prelu.weight"])
    for block in (f"layer{stage}.{i}" for stage in (1, 2, 3, 4) for i in (0, 1)):
        stride = 2 if block.endswith("0") else 1
        z = F.conv2d(
            plain_norm(state, f"{block}.bn1", y), state[f"{block}.conv1.weight"], padding=1
        )
        z = F.prelu(plain_norm(state, f"{block}.bn2", z), state[f"{block}.prelu.weight"])
        z = F.conv2d(z, state[f"{block}.conv2.weight"], stride=stride, padding=1)
        if stride == 2:
            y = F.conv2d(y, state[f"{block}.downsample.0.weight"], stride=2)
            y = plain_norm(state, f"{block}.downsample.1", y)
        y = plain_norm(state, f"{block}.bn3", z) + y
    y = plain_norm(state, "bn2", y).flatten(1) @ state["fc.weight"].T + state["fc.bias"]
    expected = plain_norm(state, "features", y)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4 * expected.std().item())


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "retail_0095"])
def test_networks_tied_to_their_shape_refuse_another(name):
    network = build(name, embedding_dim=2)
    with pytest.raises(ValueError, match=r"built for images .* given \(3, 112, 112\); resize"):
        network(torch.zeros(2, 3, 112, 112))


# face-reidentification-retail-0095


def retail(shared_weights):
    path = shared_weights / "face-reidentification-retail-0095.xml"
    if not path.is_file():
        pytest.skip(f"no {path.name} among the shared weights")
    return path


def test_retail0095_reads_its_state_dict_and_draws_no_random_number(shared_weights):
    path = retail(shared_weights)
    before = torch.random.get_rng_state()
    state = load_retail0095_ir(path)
    assert torch.equal(before, torch.random.get_rng_state())
    network = Retail0095()
    assert {key: value.shape for key, value in state.items()} == {
        key: tuple(value.shape) for key, value in network.state_dict().items()
    }
    assert all(value.dtype == np.float32 for value in state.values())
    assert (
        sum(value.size for value in state.values()) * 2 == path.with_suffix(".bin").stat().st_size
    )


@torch.no_grad()
def test_retail0095_equals_openvino(shared_weights, shared_data):
    openvino = pytest.importorskip("openvino")
    image = pytest.importorskip("PIL.Image")
    path = retail(shared_weights)
    photos = sorted((shared_data / "lfw_home").rglob("*.jpg"))[:200:20]
    if not photos:
        pytest.skip("no LFW photos among the shared data")
    faces = np.stack(
        [
            np.asarray(image.open(p).convert("RGB").resize((128, 128), box=(75, 75, 175, 175)))
            for p in photos
        ]
    )
    x = np.ascontiguousarray(faces[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32)

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([compiled(row[None])[0].reshape(1, -1) for row in x])

    network = Retail0095().eval()
    network.load_state_dict(
        {key: torch.from_numpy(value) for key, value in load_retail0095_ir(path).items()}
    )
    ours = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3)
    cosine = (ours * expected).sum(1)
    cosine /= np.linalg.norm(ours, axis=1) * np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)


# OpenVINO IR


def write_ir(folder, constants, blob, head=""):
    layers = "".join(
        f'<layer id="{i}" name="{name}" type="Const"><data {data}/></layer>'
        for i, (name, data) in enumerate(constants)
    )
    (folder / "net.bin").write_bytes(blob)
    (folder / "net.xml").write_text(f'{head}<net name="x"><layers>{layers}</layers></net>')
    return folder / "net.xml"


def test_constants_of_every_type_and_rank(tmp_path):
    half = np.array([[1.5, -2.0]], "<f2")
    whole = np.array([7, 8], "<i8")
    scalar = np.array(0.25, "<f4")
    path = write_ir(
        tmp_path,
        [
            ("scalar", 'element_type="f32" shape="" offset="20" size="4"'),
            ("half", 'element_type="f16" shape="1, 2" offset="0" size="4"'),
            ("whole", 'element_type="i64" shape="2" offset="4" size="16"'),
            ("empty", 'element_type="f32" shape="0,3" offset="24" size="0"'),
        ],
        half.tobytes() + whole.tobytes() + scalar.tobytes(),
    )
    constants = read_constants(str(path))
    assert list(constants) == ["scalar", "half", "whole", "empty"]  # order of the graph
    np.testing.assert_array_equal(constants["half"], half)
    assert constants["half"].dtype == np.float32
    np.testing.assert_array_equal(constants["whole"], whole)
    assert constants["whole"].dtype == np.int64
    assert constants["scalar"].shape == ()
    assert constants["scalar"] == 0.25
    assert constants["empty"].shape == (0, 3)
    constants["half"][0] = 0  # a copy that may be written to


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('element_type="f16" shape="4" offset="0" size="8"', "'a'.*byte 8.*holds 4 bytes"),
        ('element_type="f16" shape="2" offset="0" size="2"', "'a'.*inconsistent"),
        ('element_type="f16" shape="-2,-1" offset="0" size="4"', "'a'.*inconsistent"),
        ('element_type="f16" shape="2" offset="-1" size="4"', "'a'.*inconsistent"),
        ('element_type="u4" shape="2" offset="0" size="1"', "'a'.*element_type='u4'"),
        ('element_type="f16" shape="two" offset="0" size="4"', "'a'.*readable shape"),
        ('element_type="f16" shape="2" size="4"', "'a'.*readable shape"),
    ],
)
def test_damaged_constants_are_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_constants(write_ir(tmp_path, [("a", data)], b"\0" * 4))


def test_documents_that_are_no_ir_are_refused(tmp_path):
    good = [("a", 'element_type="f16" shape="2" offset="0" size="4"')]
    path = write_ir(tmp_path, good, b"\0" * 4, head='<!DOCTYPE net [<!ENTITY a "aa">]>')
    with pytest.raises(ValueError, match="document type"):
        read_constants(path)
    with pytest.raises(ValueError, match="two constants named 'a'"):
        read_constants(write_ir(tmp_path, good * 2, b"\0" * 4))
    with pytest.raises(ValueError, match="no Const layer"):
        read_constants(write_ir(tmp_path, [], b""))
    path.write_text("weights?")
    with pytest.raises(ValueError, match=r"net\.xml is not an OpenVINO IR"):
        read_constants(path)


def test_missing_files_are_named(tmp_path):
    path = write_ir(tmp_path, [("a", 'element_type="u8" shape="1" offset="0" size="1"')], b"\0")
    path.with_suffix(".bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"net\.bin"):
        read_constants(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.xml"):
        read_constants(tmp_path / "absent.xml")


def test_another_network_is_not_retail0095(tmp_path):
    half = 'element_type="f16" shape="2" offset="0" size="4"'
    with pytest.raises(ValueError, match="1 constants"):
        load_retail0095_ir(write_ir(tmp_path, [("a", half)], b"\0" * 4))
    n_constants = len(Retail0095().state_dict())
    constants = [(f"c{i}", half) for i in range(n_constants)]
    with pytest.raises(ValueError, match=r"'c0' has shape \(2,\) where input_scale"):
        load_retail0095_ir(write_ir(tmp_path, constants, b"\0" * 4))
