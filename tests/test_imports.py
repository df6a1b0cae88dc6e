"""What importing skface loads, what it shows, and which module may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skface
from skface.nn.backbones import BACKBONES

PACKAGE = Path(skface.__file__).parent
HEAVY = {"torch", "cv2", "matplotlib", "onnxruntime", "openvino", "pandas"}

# A folder or module imports from layers above its own in this list only (imports run downwards).
LAYERS = (
    ("_version", "nn"),
    ("_utils", "exceptions"),
    ("_rows", "inference", "metrics"),
    ("datasets", "weights", "cache", "plotting"),
    ("alignment", "embedding", "model_selection", "per_face"),
    ("verification",),
    ("pipeline",),
    ("",),  # skface/__init__.py
)
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _loaded_by(statement):
    """Top-level packages that a fresh interpreter has loaded after `statement`."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(result.stdout.split())


def test_import_skface_is_light():
    assert not _loaded_by("import skface; dir(skface)") & HEAVY


@pytest.mark.parametrize(
    "statement",
    [
        "import skface.cache, skface.exceptions, skface.weights, skface.nn.backbones",
        "import skface.datasets",
        "import skface.metrics",
        "import skface.model_selection",
        "import skface.plotting",
        "import skface.verification",
        "import skface.embedding, skface.alignment",
        "from skface import PerFace, FaceNetEmbedder; repr(PerFace(FaceNetEmbedder()))",
        "from skface import make_face_verifier; repr(make_face_verifier(cache='folder'))",
        "from sklearn.base import clone; from skface import make_face_verifier as make; "
        "clone(make()).set_params(facenetembedder__margin=0.3)",
    ],
)
def test_no_torch_until_a_network_is_built(statement):
    assert "torch" not in _loaded_by(statement)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_loading_weights_does_not_load_the_compiler(backbone, tmp_path):
    # which takes longer than all else that happens then
    code = f"""
import sys, numpy as np, torch
from skface.nn.backbones import get_backbone
from skface import FaceNetEmbedder
from skface._rows import check_images
spec = get_backbone({backbone!r})
shape = (64,) if spec.flat else (3, *(spec.input_size or (64, 64)))
torch.manual_seed(0)
state = spec.build(spec.embedding_dim, shape).state_dict()
path = {str(tmp_path / "weights.pt")!r}
torch.save(state, path)
before = set(sys.modules)
X = np.zeros((2, 64), np.float32) if spec.flat else np.zeros((2, *shape[1:], 3), np.uint8)
embedder = FaceNetEmbedder({backbone!r}, path).fit(X)
for name, tensor in state.items():
    np.testing.assert_array_equal(embedder.weights_[name], tensor.numpy())
print("then", *(set(sys.modules) - before))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert not {"torch._dynamo", "sympy"} & set(result.stdout.split())


def test_imports_raise_no_warning_of_their_own():
    code = "import torch, warnings; warnings.simplefilter('error'); import skface.pipeline"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_matplotlib_is_loaded_by_drawing_only():
    assert "matplotlib" not in _loaded_by("import skface.plotting")


def test_dir_is_all_and_every_name_resolves():
    assert sorted(skface.__all__) == dir(skface)
    for name in skface.__all__:
        assert getattr(skface, name) is not None


def test_public_modules_are_listed():
    modules = {path.stem for path in PACKAGE.glob("[!_]*.py")}
    modules |= {path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py")}
    assert modules <= set(skface.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="'FaceNet'"):
        _ = skface.FaceNet


def _imported(path):
    """Modules that a file imports anywhere, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            if node.module == "skface":
                yield from (f"skface.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")
    assert own in LEVEL, f"give {own} a place in LAYERS"
    for name in _imported(path):
        package, _, imported = name.partition(".")
        top = imported.partition(".")[0]
        if package != "skface" or own == top:
            continue  # the modules of a folder know each other
        assert LEVEL[top] < LEVEL[own], f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "nn").rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nn_is_plain_pytorch(path):
    for name in _imported(path):
        package, _, rest = name.partition(".")
        assert package != "sklearn"
        assert package != "skface" or rest.partition(".")[0] == "nn"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
