"""What scikit-learn's check_estimator asks of 2-D rows, asked of images and pairs.

One registry lists every public estimator with the rows it takes; every property below is run over
all of them.
"""

import pickle

import joblib
import numpy as np
import PIL.Image
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import skface
from skface import (
    DistilledEmbedder,
    FaceAligner,
    FaceNetEmbedder,
    IdentityKFold,
    OnnxEmbedder,
    PairVerifier,
    PerFace,
    SiameseEmbedder,
    SiameseVerifier,
    make_faces,
)

FACES = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
PAIRS = skface.make_pairs(FACES.target, random_state=0)
VECTORS = np.random.default_rng(0).normal(size=(8, 6))[FACES.target] + np.random.default_rng(
    1
).normal(scale=0.3, size=(32, 6))


def centered_face(photo):
    """Detect a face in the middle of every photo, as YuNet reports one."""
    height, width = photo.shape[:2]
    points = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.38, 0.7], [0.62, 0.7]])
    box = np.array([0.2, 0.2, 0.6, 0.6]) * (width, height, width, height)
    return np.concatenate([box, (points * (width, height)).ravel(), [0.9]])[None]


def average_pool():
    """Build a network so small that one epoch takes no time."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["y"]),
        ],
        "mean_color",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3, 32, 32))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 4))],
        [
            onnx.numpy_helper.from_array(np.array([2, 3]), "axes"),
            onnx.numpy_helper.from_array(weight, "w"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return str(path)


# name -> estimator; "@" stands for the ONNX file that a fixture writes
ESTIMATORS = {
    "FaceAligner": FaceAligner(detector=centered_face),
    "FaceAligner-nan": FaceAligner(detector=centered_face, on_failure="nan"),
    "FaceNetEmbedder": FaceNetEmbedder(weights=None, max_epochs=1, random_state=0),
    "FaceNetEmbedder-callable": FaceNetEmbedder(average_pool, None, max_epochs=1, random_state=0),
    "DistilledEmbedder": DistilledEmbedder(
        FaceNetEmbedder(average_pool, None, trainable="none", random_state=1),
        average_pool,
        max_epochs=1,
        random_state=0,
    ),
    "OnnxEmbedder": OnnxEmbedder("@"),
    "SiameseEmbedder": SiameseEmbedder(average_pool, None, max_epochs=1, random_state=0),
    "SiameseVerifier": SiameseVerifier(average_pool, None, max_epochs=1, random_state=0),
    "PerFace": PerFace(PCA(3, random_state=0)),
    "PerFace-pipeline": PerFace(
        make_pipeline(
            FaceAligner(detector=centered_face),
            FaceNetEmbedder(average_pool, None, max_epochs=1, random_state=0),
        )
    ),
    "PairVerifier": PairVerifier(),
    "PairVerifier-far": PairVerifier(criterion="far", far=0.2, metric="euclidean"),
}
VERIFIERS = [name for name in ESTIMATORS if name.startswith("PairVerifier")]
IMAGE_ESTIMATORS = [name for name in ESTIMATORS if name not in VERIFIERS]
TRANSFORMERS = [name for name in IMAGE_ESTIMATORS if name != "SiameseVerifier"]

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_image_estimator = pytest.mark.parametrize("name", IMAGE_ESTIMATORS)
every_transformer = pytest.mark.parametrize("name", TRANSFORMERS)
faces_and_pairs = pytest.mark.parametrize("rows", ["faces", "pairs"])


@pytest.fixture
def build(onnx_file):
    def build(name):
        estimator = clone(ESTIMATORS[name])
        return estimator.set_params(weights=onnx_file) if name == "OnnxEmbedder" else estimator

    return build


def rows_for(name, rows="pairs"):
    if name in VERIFIERS:
        return VECTORS[PAIRS.indices], PAIRS.target
    if name == "SiameseVerifier":  # fits on faces too, but decides on pairs only
        rows = "pairs"
    if rows == "faces":
        return FACES.data, FACES.target
    return FACES.data[PAIRS.indices], PAIRS.target


def output(estimator, X):
    return estimator.decision_function(X) if is_classifier(estimator) else estimator.transform(X)


def test_every_public_estimator_is_registered():
    public = {
        name
        for name in skface.__all__
        if isinstance(getattr(skface, name), type) and (hasattr(getattr(skface, name), "fit"))
    }
    assert public == {name.partition("-")[0] for name in ESTIMATORS}


@every_estimator
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_checks_that_need_no_data(name, check, build):
    check(type(ESTIMATORS[name]).__name__, build(name))


@every_estimator
@faces_and_pairs
def test_fit_returns_self_keeps_parameters_and_sets_only_learned_names(name, rows, build):
    estimator = build(name)
    before = joblib.hash(estimator.get_params())
    X, y = rows_for(name, rows)
    assert estimator.fit(X, y) is estimator
    assert joblib.hash(estimator.get_params()) == before
    added = set(vars(estimator)) - set(vars(build(name)))
    assert added
    assert all(attribute.endswith("_") for attribute in added)


@every_estimator
@faces_and_pairs
def test_rows_are_kept_and_prediction_changes_no_state(name, rows, build):
    X, y = rows_for(name, rows)
    estimator = build(name).fit(X, y)
    before = joblib.hash(vars(estimator))
    X_before = X.copy()
    assert len(output(estimator, X)) == len(X)
    assert joblib.hash(vars(estimator)) == before
    np.testing.assert_array_equal(X, X_before)


@every_estimator
def test_unfitted_use_is_refused(name, build):
    with pytest.raises(NotFittedError):
        output(build(name), rows_for(name)[0])


@every_estimator
@faces_and_pairs
def test_two_fits_give_one_result(name, rows, build):
    X, y = rows_for(name, rows)
    estimator = build(name).fit(X, y)
    expected = output(estimator, X)
    np.testing.assert_allclose(output(estimator.fit(X, y), X), expected, atol=1e-6)
    np.testing.assert_allclose(output(clone(estimator).fit(X, y), X), expected, atol=1e-6)


@every_estimator
@faces_and_pairs
def test_rows_do_not_depend_on_each_other(name, rows, build):
    X, y = rows_for(name, rows)
    estimator = build(name).fit(X, y)
    expected = output(estimator, X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(output(estimator, X[order]), expected[order], atol=1e-6)
    one_by_one = np.concatenate([output(estimator, X[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(one_by_one, expected[:4], atol=1e-6)


@every_estimator
def test_swapping_the_photos_of_pairs_changes_nothing(name, build):
    X, y = rows_for(name)
    estimator = build(name).fit(X, y)
    swapped = output(estimator, X[:, ::-1])
    expected = output(estimator, X)
    if not is_classifier(estimator):
        expected = expected[:, ::-1]
    np.testing.assert_array_equal(swapped, expected)


@every_transformer
def test_pairs_are_faces_regrouped(name, build):
    estimator = build(name).fit(*rows_for(name, "faces"))
    pairs = estimator.transform(FACES.data[PAIRS.indices])
    expected = estimator.transform(FACES.data)[PAIRS.indices]
    np.testing.assert_allclose(pairs, expected, atol=1e-6)


@every_estimator
@faces_and_pairs
def test_pickles_predict_identically(name, rows, build, tmp_path):
    X, y = rows_for(name, rows)
    estimator = build(name).fit(X, y)
    expected = output(estimator, X)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    from_file = joblib.load(tmp_path / "estimator.joblib", mmap_mode="r")
    # the sums of a PCA may run in another order once its arrays have been copied
    atol = 1e-10 if name == "PerFace" else 0
    for again in (pickle.loads(pickle.dumps(estimator)), from_file):
        np.testing.assert_allclose(output(again, X), expected, rtol=0, atol=atol)


@every_estimator
@faces_and_pairs
def test_read_only_and_fortran_arrays_are_rows_too(name, rows, build):
    X, y = rows_for(name, rows)
    expected = output(build(name).fit(X, y), X)
    read_only = X.copy()
    read_only.setflags(write=False)
    np.testing.assert_allclose(output(build(name).fit(read_only, y), read_only), expected)
    fortran = np.asfortranarray(X)
    np.testing.assert_allclose(output(build(name).fit(fortran, y), fortran), expected, atol=1e-6)


@every_estimator
@faces_and_pairs
def test_lists_are_rows_too(name, rows, build):
    X, y = rows_for(name, rows)
    expected = output(build(name).fit(X, y), X)
    as_lists = build(name).fit(list(X), list(y))
    np.testing.assert_allclose(output(as_lists, list(X)), expected, atol=1e-6)


@every_image_estimator
def test_frames_of_paths_are_rows_too(name, build, tmp_path):
    pandas = pytest.importorskip("pandas")
    paths = [str(tmp_path / f"{i}.png") for i in range(len(FACES.data))]
    for path, pixels in zip(paths, FACES.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    frame = pandas.DataFrame(
        np.array(paths, dtype=object)[PAIRS.indices], columns=["a", "b"], index=PAIRS.indices[:, 0]
    )
    X, y = rows_for(name)
    expected = output(build(name).fit(X, y), X)
    series = pandas.Series(y, index=frame.index)
    np.testing.assert_allclose(output(build(name).fit(frame, series), frame), expected, atol=1e-5)


@every_estimator
def test_labels_may_be_strings_or_booleans(name, build):
    X, y = rows_for(name)
    expected = output(build(name).fit(X, y), X)
    for labels in (y == 1, np.where(y == 1, "same", "different")):
        estimator = build(name).fit(X, labels)
        np.testing.assert_allclose(output(estimator, X), expected)
        if is_classifier(estimator):
            assert set(estimator.predict(X)) <= set(labels)


@every_estimator
def test_no_rows_are_refused(name, build):
    X, y = rows_for(name)
    with pytest.raises(ValueError, match=r"0 rows|0 sample|minimum of"):
        build(name).fit(X[:0], y[:0])
    estimator = build(name).fit(X, y)
    with pytest.raises(ValueError, match=r"0 rows|0 sample|minimum of"):
        output(estimator, X[:0])


@every_estimator
def test_wrong_number_of_axes_is_refused(name, build):
    X, y = rows_for(name)
    for wrong in (X.ravel()[: len(X)], X[np.newaxis], X.reshape(len(X), 1, 1, *X.shape[1:])):
        with pytest.raises((ValueError, TypeError), match="shape|axes|dim"):
            build(name).fit(wrong, y[: len(wrong)])


@every_image_estimator
def test_pixels_out_of_range_are_refused(name, build):
    X, y = rows_for(name)
    estimator = build(name)
    with pytest.raises(ValueError, match="outside 0..1"):
        estimator.fit(X / 1.0, y)
    with pytest.raises(ValueError, match="outside 0..255"):
        estimator.fit(X.astype(int) + 300, y)


@pytest.mark.parametrize(
    "name",
    ["DistilledEmbedder", "FaceNetEmbedder", "SiameseEmbedder", "OnnxEmbedder", "PerFace"],
)
def test_feature_names_and_pandas_output(name, build):
    pandas = pytest.importorskip("pandas")
    X, y = rows_for(name, "faces")
    estimator = build(name).fit(X, y)
    names = estimator.get_feature_names_out()
    prefix = "pca" if name == "PerFace" else type(estimator).__name__.lower()
    assert list(names[:2]) == [f"{prefix}0", f"{prefix}1"]
    frame = estimator.set_output(transform="pandas").transform(X)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(names)


@every_transformer
def test_frames_as_global_output_leave_pairs_arrays(name, build):
    X, y = rows_for(name)
    expected = build(name).fit_transform(X, y)
    with sklearn.config_context(transform_output="pandas"):
        got = build(name).fit_transform(X, y)
        make_pipeline(build(name)).set_output(transform="pandas")
    assert isinstance(got, np.ndarray)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.filterwarnings("ignore:Larger scores:UserWarning")  # networks that learned little
@every_transformer
def test_pipelines_are_the_steps_in_turn_and_search(name, build):
    X, y = rows_for(name)
    first = PerFace(build(name)) if name.startswith("FaceAligner") else build(name)
    flat = first.fit_transform(X, y)
    if flat.ndim > 3:  # crops: their pixels are the vectors
        flat = flat.reshape(len(flat), 2, -1)
        first = make_pipeline(first, PerFace(PCA(2, random_state=0)))
        flat = first.fit_transform(X, y)
    verifier = PairVerifier().fit(flat, y)
    pipe = make_pipeline(first, PairVerifier()).fit(X, y)
    np.testing.assert_allclose(pipe.predict_proba(X), verifier.predict_proba(flat), atol=1e-5)
    grid = {"pairverifier__criterion": ["accuracy", "eer"], "pairverifier__threshold": [None, 0.0]}
    search = GridSearchCV(pipe, grid, cv=IdentityKFold(2), n_jobs=2, error_score="raise")
    search.fit(X, y, groups=PAIRS.identities)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
