"""OnnxEmbedder on small ONNX files made here, and on the real OpenVINO network."""

import dataclasses
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

from skface import FaceNetEmbedder, OnnxEmbedder, make_faces
from skface.weights import weights_info

onnx = pytest.importorskip("onnx")
RETAIL = "face-reidentification-retail-0095"
WEIGHT = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=3, n_images_per_identity=3, image_size=16, random_state=0)


def write_network(path, shape=("n", 3, 16, 16)):
    """Mean color of the face times a matrix: what a loop of numpy can check."""
    channels_last = shape[1] != 3
    helper = onnx.helper
    axes = [1, 2] if channels_last else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean_color",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (shape[0], 8))],
        [
            onnx.numpy_helper.from_array(np.array(axes), "axes"),
            onnx.numpy_helper.from_array(WEIGHT, "w"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return str(path)


def by_hand(X, color="rgb", mean=127.5, std=127.5):
    rows = []
    for face in X.astype(float):
        means = face.mean(axis=(0, 1))[:: 1 if color == "rgb" else -1]
        vector = (means - mean) / std @ WEIGHT
        rows.append(vector / np.linalg.norm(vector))
    return np.array(rows)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "shape",
    [("n", 3, 16, 16), (1, 3, 16, 16), (4, 3, 16, 16), ("n", 16, 16, 3), ("n", 3, "h", "w")],
    ids=str,
)
def test_any_layout_and_batch_gives_what_a_loop_gives(runtime, shape, faces, tmp_path):
    pytest.importorskip(runtime)
    path = write_network(tmp_path / "net.onnx", shape)
    size = (16, 16) if "h" in shape else None
    embedder = OnnxEmbedder(path, runtime=runtime, input_size=size, color="bgr", mean=100, std=50)
    embeddings = embedder.fit_transform(faces.data)
    np.testing.assert_allclose(embeddings, by_hand(faces.data, "bgr", 100, 50), atol=1e-5)
    assert embedder.runtime_ == runtime
    for batch_size in (1, 4):
        embedder.batch_size = batch_size
        np.testing.assert_allclose(embedder.transform(faces.data), embeddings, atol=1e-6)


def test_flip_pairs_and_missing_faces(faces, tmp_path):
    path = write_network(tmp_path / "net.onnx")
    embedder = OnnxEmbedder(path, flip=True).fit(faces.data)
    slots = np.array([[0, 1], [1, 2], [2, 0]])
    # the mean color of a mirrored face is the same
    np.testing.assert_allclose(
        embedder.transform(faces.data[slots]), by_hand(faces.data)[slots], atol=1e-5
    )
    X = faces.data / 255
    X[1] = np.nan
    assert np.isnan(embedder.transform(X)).any(axis=1).tolist() == [False, True, *[False] * 7]


def test_bad_flip_after_fit_is_named(faces, tmp_path):
    embedder = OnnxEmbedder(write_network(tmp_path / "net.onnx")).fit(faces.data)
    with pytest.raises(TypeError, match="flip"):
        embedder.set_params(flip="yes").transform(faces.data)


def test_flip_averages_unit_vectors(faces, tmp_path):
    """With a network that mirror images change: it sees the left half of a face only."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["left"]),
        helper.make_node("ReduceMean", ["left", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["y"]),
    ]
    constants = {"start": [0], "end": [8], "axis": [3], "axes": [2, 3]}
    graph = helper.make_graph(
        nodes,
        "left_half",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3, 16, 16))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 8))],
        [
            *(onnx.numpy_helper.from_array(np.array(v), name) for name, v in constants.items()),
            onnx.numpy_helper.from_array(WEIGHT, "w"),
        ],
    )
    path = tmp_path / "left.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    left, right = by_hand(faces.data[:, :, :8]), by_hand(faces.data[:, :, 8:])
    expected = (left + right) / np.linalg.norm(left + right, axis=1, keepdims=True)
    embedder = OnnxEmbedder(path, flip=True).fit(faces.data)
    np.testing.assert_allclose(embedder.transform(faces.data), expected, atol=1e-5)


def test_registered_weights_bring_their_preprocessing_and_parameters_change_it(faces, skface_home):
    pytest.importorskip("openvino")
    entry = weights_info(RETAIL).preprocessing
    found = OnnxEmbedder(RETAIL).fit(faces.data).preprocessing_
    assert found == dataclasses.replace(entry, size=(128, 128))
    changed = OnnxEmbedder(RETAIL, color="rgb", std=2.0).fit(faces.data).preprocessing_
    assert changed == dataclasses.replace(entry, size=(128, 128), color="rgb", std=2.0)


def test_a_fit_that_fails_leaves_the_fitted_state_alone(faces, tmp_path):
    embedder = OnnxEmbedder(write_network(tmp_path / "net.onnx")).fit(faces.data)
    expected = embedder.transform(faces.data)
    embedder.set_params(weights=write_network(tmp_path / "open.onnx", ("n", 3, "h", "w")))
    with pytest.raises(ValueError, match="input_size"):
        embedder.fit(faces.data)
    np.testing.assert_array_equal(embedder.transform(faces.data), expected)


def test_the_file_travels_with_the_pickle(faces, tmp_path):
    path = tmp_path / "net.onnx"
    embedder = OnnxEmbedder(write_network(path)).fit(faces.data)
    expected = embedder.transform(faces.data)
    path.unlink()
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(faces.data), expected)
    joblib.dump((embedder, faces.data), tmp_path / "model.joblib")
    code = (
        "import joblib, numpy, sys; model, X = joblib.load(sys.argv[1]); "
        "numpy.save(sys.argv[2], model.transform(X))"
    )
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", code, tmp_path / "model.joblib", out], check=True)
    np.testing.assert_array_equal(np.load(out), expected)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_threads_may_share_an_embedder(runtime, faces, tmp_path):
    pytest.importorskip(runtime)
    path = write_network(tmp_path / "net.onnx")
    embedder = OnnxEmbedder(path, runtime=runtime).fit(faces.data)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: embedder.transform(faces.data), range(40)))
    for embeddings in results:
        np.testing.assert_allclose(embeddings, by_hand(faces.data), atol=1e-5)


def test_real_network_equals_the_pytorch_one(skface_home, tmp_path):
    pytest.importorskip("openvino")
    X = make_faces(3, 3, image_size=128, random_state=0).data
    through_torch = FaceNetEmbedder(weights=RETAIL, precision="float32").fit(X).transform(X)
    through_openvino = OnnxEmbedder(RETAIL).fit(X).transform(X)
    np.testing.assert_allclose(through_openvino, through_torch, atol=1e-3)


def test_refusals_name_the_way_out(faces, tmp_path):
    path = write_network(tmp_path / "net.onnx")
    open_size = write_network(tmp_path / "open.onnx", ("n", 3, "h", "w"))
    lone_xml = tmp_path / "lone.xml"
    lone_xml.write_text("<net/>")
    text = tmp_path / "text.pt"
    text.write_text("")
    cases = [
        ({"weights": "nowhere.onnx"}, FileNotFoundError, "nowhere.onnx"),
        ({"weights": str(text)}, ValueError, "FaceNetEmbedder"),
        ({"weights": open_size}, ValueError, "input_size"),
        ({"weights": path, "input_size": (8, 8)}, ValueError, r"\(16, 16\)"),
        ({"weights": path, "runtime": "tensorrt"}, ValueError, "runtime='tensorrt'"),
        ({"weights": path, "color": "hsv"}, ValueError, "color='hsv'"),
        ({"weights": str(lone_xml), "runtime": "onnxruntime"}, ValueError, "openvino"),
        ({"weights": str(lone_xml)}, FileNotFoundError, r"lone\.bin"),
    ]
    for params, kind, message in cases:
        with pytest.raises(kind, match=message):
            OnnxEmbedder(**params).fit(faces.data)
