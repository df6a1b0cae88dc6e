"""Callbacks of scikit-learn follow every fit: bars nest, scores are logged, training stops."""

import inspect
import io
import warnings

import numpy as np
import pytest
import rich
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin, ProgressBar, ScoringMonitor, with_callbacks
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    OnnxEmbedder,
    PairVerifier,
    PerFace,
    make_faces,
    make_pairs,
)
from skface._utils.callbacks import epochs_as_tasks

FACES = make_faces(n_identities=6, n_images_per_identity=3, image_size=32, random_state=0)
PAIRS = make_pairs(FACES.target, random_state=0)
X, Y = FACES.data[PAIRS.indices], PAIRS.target


def centered_face(photo):
    """Detect a face in the middle of every photo, as YuNet reports one."""
    height, width = photo.shape[:2]
    points = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.38, 0.7], [0.62, 0.7]])
    box = np.array([0.2, 0.2, 0.6, 0.6]) * (width, height, width, height)
    return np.concatenate([box, (points * (width, height)).ravel(), [0.9]])[None]


def average_pool():
    """Build a network that trains in no time."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


class MeanPixel(CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Subtract the mean of all pixels, of which every epoch learns half of what is missing."""

    def __init__(self, max_epochs=4, fails_in=None):
        self.max_epochs = max_epochs
        self.fails_in = fails_in

    @with_callbacks
    def fit(self, X, y=None):
        target, mean = X.mean(), 0.0
        with epochs_as_tasks(self, X, y, self.max_epochs) as epochs:
            for epoch in range(self.max_epochs):
                epochs.begin()
                if epoch == self.fails_in:
                    raise FloatingPointError("diverged")
                mean = (mean + target) / 2
                if epochs.end(lambda mean=mean: {"mean_": mean}):
                    break
            self.mean_, self.n_epochs_ = mean, epoch + 1
        return self

    def transform(self, X):
        return X[:, :, ::4, ::4].reshape(len(X), 2, -1) - self.mean_


def offset(estimator, X, y=None):
    """Score a MeanPixel: 0 if what it returns is centered."""
    return -abs(estimator.transform(X).mean())


class Recorder:
    """Record the calls of a callback, in order."""

    max_propagation_depth = None  # down to the innermost estimator

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events = []

    def _note(self, event, context):
        self.events.append((event, context.estimator_name, context.task_name))

    def setup(self, estimator, context):
        self._note("setup", context)

    def on_fit_task_begin(self, estimator, context):
        self._note("begin", context)

    def on_fit_task_end(self, estimator, context):
        self._note("end", context)
        return (context.task_name, context.task_id) == ("epoch", self.stop_after)

    def teardown(self, estimator, context):
        self._note("teardown", context)


def bars(text):
    """Return the printed bars: what each is of, and its percentage."""
    lines = [line.partition("━")[::2] for line in text.splitlines() if "━" in line]
    return [(name.strip(), rest.split("%")[0].split()[-1]) for name, rest in lines]


@pytest.fixture
def screen():
    """Catch what rich draws, in long lines and as it is at the end."""
    screen = io.StringIO()
    rich.reconfigure(file=screen, width=300, force_terminal=False)
    yield screen
    rich.reconfigure()


@pytest.fixture
def pipe():
    return make_pipeline(FaceAligner(detector=centered_face), MeanPixel(), PairVerifier())


@pytest.fixture
def onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "mean_color",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3, 32, 32))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3, 1, 1))],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


# -------------------------------------------------------------------------------- one estimator


@pytest.mark.parametrize("name", ["FaceAligner", "OnnxEmbedder", "PairVerifier"])
def test_a_fit_of_one_piece_is_one_task(name, onnx_file):
    estimator, rows = {
        "FaceAligner": (FaceAligner(detector=centered_face), X),
        "OnnxEmbedder": (OnnxEmbedder(onnx_file), X),
        "PairVerifier": (PairVerifier(), MeanPixel().fit_transform(X)),
    }[name]
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(rows, Y)
    assert recorder.events == [
        (event, name, "fit") for event in ("setup", "begin", "end", "teardown")
    ]


def test_every_epoch_is_a_task():
    recorder = Recorder()
    MeanPixel(max_epochs=2).set_callbacks(recorder).fit(X)
    assert [(event, task) for event, _, task in recorder.events] == [
        ("setup", "fit"),
        ("begin", "fit"),
        *[("begin", "epoch"), ("end", "epoch")] * 2,
        ("end", "fit"),
        ("teardown", "fit"),
    ]


def test_the_wrapped_fit_looks_like_itself():
    assert list(inspect.signature(PairVerifier.fit).parameters) == [
        "self",
        "X",
        "y",
        "sample_weight",
    ]
    assert inspect.getdoc(PairVerifier.fit).startswith("Learn ")
    with pytest.raises(TypeError, match="'y'"):
        PairVerifier().fit([[0.1], [0.2]])


def test_warnings_point_to_the_caller_of_fit():
    score = np.linspace(0, 1, 20)[:, None]
    same = np.arange(20) >= 10
    wide = np.tile(score, 40)
    for verifier, rows, y in (
        (PairVerifier(), score, ~same),  # larger scores of different people
        (PairVerifier(), wide, same),  # as if embeddings
        (PairVerifier(criterion="far", far=0.01), score, same),  # too few pairs
    ):
        with pytest.warns(UserWarning) as caught:
            verifier.fit(rows, y)
        assert [warning.filename for warning in caught] == [__file__]


def test_failure_closes_callbacks_and_leaves_nothing_behind():
    recorder = Recorder()
    estimator = MeanPixel(fails_in=1).set_callbacks(recorder)
    before = set(vars(estimator))
    with pytest.raises(FloatingPointError, match="diverged"):
        estimator.fit(X)
    assert [event for event, _, _ in recorder.events] == [
        *("setup", "begin", "begin", "end", "begin", "teardown"),
    ]
    assert set(vars(estimator)) == before
    assert set(vars(estimator.set_params(fails_in=None).fit(X))) == before | {"mean_", "n_epochs_"}


# ----------------------------------------------------------------------------------- monitoring


def test_scores_of_each_epoch_are_those_of_a_fit_that_ends_there():
    monitor = ScoringMonitor(scoring={"score": offset})
    MeanPixel(max_epochs=3).set_callbacks(monitor).fit(X, Y)
    rows = monitor.get_logs().data
    logged = [row["score"] for row in rows if row["task_name"] == "epoch"]
    expected = [offset(MeanPixel(max_epochs=n).fit(X), X) for n in (1, 2, 3)]
    np.testing.assert_allclose(logged, expected)
    assert len(set(logged)) == 3
    (whole,) = [row["score"] for row in rows if row["task_name"] == "fit"]
    assert whole == logged[-1]


@pytest.mark.parametrize("by_name", [False, True])
def test_weighted_scores_of_a_verifier(by_name):
    rng = np.random.default_rng(0)
    score, weight = rng.random((40, 1)), rng.integers(0, 4, 40)
    y = np.where(rng.random(40) < score[:, 0], "same", "different")
    monitor = ScoringMonitor(scoring="accuracy")
    verifier = PairVerifier().set_callbacks(monitor)
    if by_name:
        verifier.fit(y=y, X=score, sample_weight=weight)
    else:
        verifier.fit(score, y, weight)
    (row,) = monitor.get_logs().data
    expected = accuracy_score(y, verifier.predict(score), sample_weight=weight)
    assert row["accuracy"] == pytest.approx(expected)
    assert expected != pytest.approx(accuracy_score(y, verifier.predict(score)))


def test_attributes_are_computed_only_for_callbacks_that_use_them():
    class Unwatched(CallbackSupportMixin, BaseEstimator):
        @with_callbacks
        def fit(self, X, y=None):
            with epochs_as_tasks(self, X, y, 1) as epochs:
                epochs.begin()
                epochs.end(lambda: pytest.fail("copied the network without need"))
            return self

    recorder = Recorder()
    Unwatched().set_callbacks(recorder).fit(X)
    assert ("end", "Unwatched", "epoch") in recorder.events


def test_a_callback_stops_the_training_and_the_bar_is_full(screen):
    estimator = MeanPixel(max_epochs=50).set_callbacks(Recorder(stop_after=1), ProgressBar())
    assert estimator.fit(X).n_epochs_ == 2
    assert bars(screen.getvalue()) == [("MeanPixel - fit", "100")]


# ------------------------------------------------------------------------------------- nesting


def test_bars_of_a_pipeline_nest_without_a_warning(pipe, screen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.set_callbacks(ProgressBar()).fit(X, Y)
    assert bars(screen.getvalue()) == [
        ("Pipeline - fit", "100"),
        ("Pipeline - fit-transform-facealigner | FaceAligner - fit #0", "100"),
        ("Pipeline - fit-transform-meanpixel | MeanPixel - fit #1", "100"),
        ("Pipeline - fit-final-estimator | PairVerifier - fit #2", "100"),
    ]


def test_a_stop_ends_the_epochs_but_not_the_pipeline(pipe):
    pipe.set_callbacks(Recorder(stop_after=0)).fit(X, Y)
    assert pipe[1].n_epochs_ == 1
    assert pipe.predict(X).shape == Y.shape


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bars_of_a_grid_search(n_jobs, pipe, screen):
    grid = {"meanpixel__max_epochs": [1, 3]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    shown = bars(screen.getvalue())
    assert {percentage for _, percentage in shown} == {"100"}
    names = [name for name, _ in shown]
    # 2 candidates on 2 splits each, and the refit
    assert sum("candidate-split-evaluation | Pipeline - fit" in name for name in names) == 4
    for step in ("FaceAligner", "MeanPixel", "PairVerifier"):
        assert sum(f"| {step} - fit" in name for name in names) == 5
    fitted = search.best_estimator_[1]
    assert fitted.n_epochs_ == search.best_params_["meanpixel__max_epochs"]


def test_bars_of_epochs_in_a_grid_search_over_margins(screen):
    pipe = make_pipeline(
        FaceAligner(detector=centered_face),
        FaceNetEmbedder(average_pool, None, max_epochs=2, random_state=0),
        PairVerifier(),
    )
    grid = {"facenetembedder__margin": [0.1, 0.4]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    shown = bars(screen.getvalue())
    assert {percentage for _, percentage in shown} == {"100"}
    assert sum("| FaceNetEmbedder - fit" in name for name, _ in shown) == 5
    assert search.best_estimator_[1].history_["epoch"].tolist() == [1, 2]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_of_a_step_in_a_grid_search(n_jobs, pipe):
    monitor = ScoringMonitor(scoring="accuracy")
    pipe[-1].set_callbacks(monitor)
    search = GridSearchCV(pipe, {"pairverifier__criterion": ["eer", "f1"]}, cv=2, n_jobs=n_jobs)
    search.fit(X, Y)
    log = monitor.get_logs()
    assert log.estimator_name == "GridSearchCV"
    assert len(log.data) == 5
    (refit,) = [row["accuracy"] for row in log.data if row["task_id_path"][:2] == (0, 1)]
    assert refit == search.score(X, Y)


def test_per_face_hands_callbacks_to_its_transformer():
    recorder = Recorder()
    per_face = PerFace(make_pipeline(StandardScaler())).set_callbacks(recorder).fit(X, Y)
    names = [("begin", "PerFace", "fit"), ("begin", "Pipeline", "fit")]
    names += [("begin", "StandardScaler", "fit"), ("end", "StandardScaler", "fit")]
    names += [("end", "Pipeline", "fit"), ("end", "PerFace", "fit")]
    assert recorder.events[1:-1] == names
    assert "_skl_callbacks" not in vars(per_face.transformer_)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("ignore:The estimator PCA does not support callbacks:UserWarning")
def test_per_face_in_a_grid_search(n_jobs, screen):
    pipe = make_pipeline(PerFace(make_pipeline(PCA(2))), PairVerifier())
    grid = {"perface__transformer__pca__n_components": [2, 3]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    shown = bars(screen.getvalue())
    assert sum("PerFace - fit-transformer | Pipeline - fit" in name for name, _ in shown) == 5
    assert {percentage for _, percentage in shown} == {"100"}


def test_scikit_learn_says_which_transformer_takes_no_callbacks():
    with pytest.warns(UserWarning, match="PCA does not support callbacks") as caught:
        PerFace(PCA(2)).set_callbacks(Recorder()).fit(X)
    assert len(caught) == 1
