"""A network with the inputs and outputs of YuNet that finds the same faces in every photo."""

import numpy as np
import pytest

SIDE = 64  # of its input, in pixels
STRIDES = (8, 16, 32)
N_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def save_yunet(path, faces):
    """Save a network that finds these faces (k, 15); each is the answer of a cell of its own."""
    onnx = pytest.importorskip("onnx")
    float32, array, node = onnx.TensorProto.FLOAT, onnx.numpy_helper.from_array, onnx.helper
    answers = {
        f"{kind}_{stride}": np.zeros((1, (SIDE // stride) ** 2, n), np.float32)
        for stride in STRIDES
        for kind, n in N_VALUES.items()
    }
    for cell, face in enumerate(np.array(faces)):
        score = answers["cls_8"][0], answers["obj_8"][0]
        score[0][cell] = score[1][cell] = face[14]
        corner = np.array([cell % (SIDE // 8), cell // (SIDE // 8)])
        center = (face[:2] + face[2:4] / 2) / 8 - corner
        answers["bbox_8"][0, cell] = *center, *np.log(face[2:4] / 8)
        answers["kps_8"][0, cell] = face[4:14] / 8 - np.tile(corner, 5)
    nodes = [  # nothing, of the pixels, since every output has to depend on the input
        node.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=1),
        node.make_node("Mul", ["mean", "zero"], ["product"]),
        node.make_node("Reshape", ["product", "shape"], ["nothing"]),
        *(node.make_node("Add", [f"answer_{name}", "nothing"], [name]) for name in answers),
    ]
    constants = [
        array(np.zeros((1, 1, 1, 1), np.float32), "zero"),
        array(np.ones(3, np.int64), "shape"),
        *(array(answer, f"answer_{name}") for name, answer in answers.items()),
    ]
    graph = node.make_graph(
        nodes,
        "constant",
        [node.make_tensor_value_info("input", float32, [1, 3, "height", "width"])],
        [node.make_tensor_value_info(name, float32, a.shape) for name, a in answers.items()],
        constants,
    )
    model = node.make_model(graph, ir_version=8, opset_imports=[node.make_opsetid("", 13)])
    onnx.save(model, path)
    return path
