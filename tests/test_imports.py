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

# A module imports from layers above its own in this list only (imports run downwards).
LAYERS = (
    ("_locks",),
    ("_digests", "_per_process"),
    (
        "_blending",
        "_callbacks",
        "_cartoon",
        "_decoding",
        "_prefetch",
        "_report",
        "_validation",
        "_version",
    ),
    ("inference",),
    ("_yunet",),
    ("images", "metrics", "weights", "nn"),
    ("cache", "pairs", "plotting"),
    ("base", "datasets", "model_selection"),
    ("_frozen", "_network", "_search", "align"),
    ("_teacher", "_training_set"),
    ("_fitting",),
    ("embedding", "onnx", "siamese", "verification"),
    ("compose", "evaluation"),
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
    "module", ["metrics", "model_selection", "datasets", "evaluation", "plotting"]
)
def test_no_torch_where_no_network_runs(module):
    assert "torch" not in _loaded_by(f"import skface.{module}")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_loading_weights_does_not_load_the_compiler(backbone):
    # which takes longer than all else that happens then
    code = f"""
import sys, torch
from skface._network import build_network
from skface.nn.backbones import get_backbone
before = set(sys.modules)
spec = get_backbone({backbone!r})
shape = (64,) if spec.flat else (3, *(spec.input_size or (64, 64)))
with torch.device("meta"):
    like = spec.build(spec.embedding_dim, shape).state_dict()
state = {{name: torch.ones(t.shape, dtype=t.dtype).numpy() for name, t in like.items()}}
network = build_network({backbone!r}, shape, None, state=state)
tensors = [*network.module.parameters(), *network.module.buffers()]
assert tensors and not any(t.is_meta for t in tensors)
assert all((t == 1).all() for t in tensors)
print("then", *(set(sys.modules) - before))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert not {"torch._dynamo", "sympy"} & set(result.stdout.split())


def test_imports_raise_no_warning_of_their_own():
    code = "import torch, warnings; warnings.simplefilter('error'); import skface.compose"
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


def _imports_from_skface(path):
    """Modules of skface that a file imports anywhere, as dotted names below skface."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            names = [node.module]
            if node.module == "skface":
                names = [f"skface.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("skface.") for name in names if name.startswith("skface."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")
    assert own in LEVEL, f"give {own}.py a place in LAYERS"
    for imported in _imports_from_skface(path):
        top = imported.partition(".")[0]
        if own == top:
            continue  # the modules of a package know each other
        assert LEVEL[top] < LEVEL[own], f"{path.name} imports skface.{imported}"


def test_nn_knows_no_scikit_learn():
    for path in (PACKAGE / "nn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("sklearn") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert not node.module.startswith("sklearn"), path
