"""Splitters over people, what they report, and the audit of what two sets share."""

import io
import warnings

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    PredefinedSplit,
    TunedThresholdClassifierCV,
    cross_validate,
)

from skface import load_lfw_pairs, make_faces
from skface.model_selection import (
    IdentityGroupKFold,
    IdentityKFold,
    IdentityShuffleSplit,
    StratifiedIdentityKFold,
    audit_leakage,
    describe_folds,
)
from skface.verification import PairVerifier

FOLDS = [IdentityKFold, IdentityGroupKFold, StratifiedIdentityKFold]
SPLITTERS = [
    IdentityKFold(4),
    IdentityKFold(4, shuffle=True, random_state=0),
    IdentityGroupKFold(4),
    IdentityGroupKFold(4, shuffle=True, random_state=0),
    StratifiedIdentityKFold(4),
    IdentityShuffleSplit(6, test_size=0.4, random_state=0),
]
every_splitter = pytest.mark.parametrize("cv", SPLITTERS, ids=str)


def dense_pairs(n_people=30, n_pairs=900, seed=0):
    """Pairs among everybody: the graph of people is one component."""
    rng = np.random.default_rng(seed)
    people = rng.integers(0, n_people, (n_pairs, 2))
    people[::2, 1] = people[::2, 0]
    return people, (people[:, 0] == people[:, 1]).astype(int)


def clustered_pairs(n_clusters=20, seed=0):
    """Pairs within groups of four people."""
    people, _ = dense_pairs(4, 12 * n_clusters, seed)
    people = people + 4 * np.arange(n_clusters).repeat(12)[:, None]
    return people, (people[:, 0] == people[:, 1]).astype(int)


@pytest.mark.parametrize(
    ("make", "cv"),
    [
        (make, cv)
        for make in (dense_pairs, clustered_pairs)
        for cv in SPLITTERS
        if make is clustered_pairs or not isinstance(cv, IdentityGroupKFold)
    ],
    ids=str,
)
def test_nobody_is_on_both_sides(make, cv):
    people, y = make()
    for train, test in cv.split(np.zeros(len(y)), y, people):
        assert not set(people[train].flat) & set(people[test].flat)
        assert np.all(np.diff(train) > 0)
        assert np.all(np.diff(test) > 0)


@pytest.mark.parametrize(
    ("make", "splitter"),
    [
        (dense_pairs, IdentityKFold),
        (dense_pairs, StratifiedIdentityKFold),
        (clustered_pairs, IdentityKFold),
        (clustered_pairs, StratifiedIdentityKFold),
        (clustered_pairs, IdentityGroupKFold),
    ],
)
def test_folds_lose_nothing_but_straddling_pairs(make, splitter):
    people, y = make()
    # a pair of everybody's own, so that the test rows of a fold show all people of the fold
    everybody = np.unique(people)
    people = np.r_[people, np.column_stack([everybody, everybody])]
    y = np.r_[y, np.ones(len(everybody), dtype=int)]
    tested = []
    for train, test in splitter(4).split(np.zeros(len(y)), y, people):
        inside = set(people[test].flat)
        straddling = np.setdiff1d(np.arange(len(y)), np.r_[train, test])
        assert all(len({*people[i]} & inside) == 1 for i in straddling)
        tested.extend(test)
    assert len(tested) == len(set(tested))
    # Same pairs cannot straddle, so each of them is tested once.
    assert set(np.flatnonzero(y)) <= set(tested)


def test_linked_people_stay_together_and_no_pair_is_lost():
    people, y = clustered_pairs()
    sizes = []
    for train, test in IdentityGroupKFold(5).split(y, y, people):
        assert len(train) + len(test) == len(y)
        sizes.append(len(test))
    assert sum(sizes) == len(y)
    assert max(sizes) - min(sizes) <= 12


def test_links_through_others_count():
    # a chain of six people, and a couple
    people = np.array([[0, 1], [4, 5], [1, 2], [3, 4], [2, 3], [6, 7]])
    with pytest.warns(UserWarning, match="The 2 folds are uneven: .* 83% of the rows"):
        tests = [test.tolist() for _, test in IdentityGroupKFold(2).split(people, groups=people)]
    assert tests == [[0, 1, 2, 3, 4], [5]]


def test_one_group_cannot_be_dealt():
    people, y = dense_pairs()
    with pytest.raises(ValueError, match="n_splits=5.*1 groups.*100% of the rows.*IdentityKFold"):
        list(IdentityGroupKFold(5).split(y, y, people))


def test_even_groups_give_no_warning():
    people, y = clustered_pairs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(IdentityGroupKFold(5).split(y, y, people))


def test_people_are_dealt_one_by_one_and_evenly():
    people, y = dense_pairs()
    sizes = [len(test) for _, test in IdentityKFold(5).split(y, y, people)]
    assert sum(sizes) < len(y)
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("splitter", [IdentityKFold, IdentityGroupKFold])
def test_faces_are_balanced_as_by_group_k_fold(splitter):
    people = np.random.default_rng(0).integers(0, 40, 500)
    sizes = sorted(len(test) for _, test in splitter(5).split(people, None, people))
    expected = sorted(len(test) for _, test in GroupKFold(5).split(people, None, people))
    assert sizes == expected
    tests = [test for _, test in splitter(5).split(people, None, people)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(500))


def class_counts(cv, X, y, people):
    """Test rows per fold and class, (n_folds, n_classes)."""
    n_classes = y.max() + 1
    return np.array(
        [np.bincount(y[test], minlength=n_classes) for _, test in cv.split(X, y, people)]
    )


def uneven_pairs(seed=0):
    """Pairs among people of whom some have many photos and some have two."""
    rng = np.random.default_rng(seed)
    faces = np.repeat(np.arange(60), rng.geometric(0.15, 60) + 1)
    i, j = np.triu_indices(len(faces), 1)
    y = (faces[i] == faces[j]).astype(int)
    keep = (y == 1) | (rng.random(len(y)) < 0.03)
    return np.column_stack([faces[i], faces[j]])[keep], y[keep]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [dense_pairs, clustered_pairs, uneven_pairs])
def test_stratified_folds_mix_the_classes_more_alike(make, seed):
    people, y = make(seed=seed)
    plain = class_counts(IdentityKFold(5), y, y, people)
    stratified = class_counts(StratifiedIdentityKFold(5), y, y, people)
    spread, spread_plain = (
        (counts[:, 1] / counts.sum(axis=1)).std() for counts in (stratified, plain)
    )
    assert spread < 0.5 * spread_plain
    # evenness is not bought by losing pairs
    assert stratified.sum() > 0.95 * plain.sum()


def test_stratified_folds_are_a_local_optimum_of_unevenness():
    people, y = dense_pairs(12, 150)

    def unevenness(fold_of_person):
        fold = fold_of_person[people]
        inside = fold[:, 0] == fold[:, 1]
        counts = np.array(
            [[np.sum(inside & (fold[:, 0] == f) & (y == c)) for c in (0, 1)] for f in range(3)]
        )
        return (counts.var(axis=0) / counts.mean(axis=0) ** 2).sum()

    chosen = np.empty(12, dtype=int)
    for fold, (_, test) in enumerate(StratifiedIdentityKFold(3).split(y, y, people)):
        chosen[people[test]] = fold
    best = unevenness(chosen)
    for person in range(12):
        for fold in range(3):
            moved = chosen.copy()
            moved[person] = fold
            assert unevenness(moved) >= best - 1e-9
        for partner in range(12):
            swapped = chosen.copy()
            swapped[[person, partner]] = chosen[[partner, person]]
            assert unevenness(swapped) >= best - 1e-9


def test_faces_may_be_stratified_by_any_label():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 50, 600)
    label = rng.choice(3, 50, p=[0.6, 0.3, 0.1])[people]
    plain = class_counts(IdentityKFold(5), people, label, people)
    counts = class_counts(StratifiedIdentityKFold(5), people, label, people)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(label))
    assert np.ptp(counts, axis=0).max() < np.ptp(plain, axis=0).max() / 2
    with pytest.raises(ValueError, match="y=None: StratifiedIdentityKFold"):
        list(StratifiedIdentityKFold().split(people, groups=people))


def test_shuffle_split_draws_the_asked_number_of_people():
    people, y = dense_pairs()
    cv = IdentityShuffleSplit(4, test_size=0.3, train_size=12, random_state=0)
    drawn = set()
    for train, test in cv.split(y, y, people):
        # photos of one person are in a pair of that person at least
        assert len(set(people[train].flat)) == 12
        tested = frozenset(people[test].flat)
        assert len(tested) == 9
        expected = [i for i, pair in enumerate(people) if tested >= set(pair)]
        assert test.tolist() == expected
        drawn.add(tested)
    assert len(drawn) == 4
    sizes = [
        len(np.unique(people[test]))
        for _, test in IdentityShuffleSplit(2, random_state=1).split(y, y, people)
    ]
    assert sizes == [6, 6]  # a fifth of 30
    with pytest.raises(ValueError, match="test_size"):
        list(IdentityShuffleSplit(test_size=1.5).split(y, y, people))


def folds(cv, people):
    return [test.tolist() for _, test in cv.split(np.zeros(len(people)), groups=people)]


@pytest.mark.parametrize("splitter", [IdentityKFold, IdentityGroupKFold])
def test_folds_are_deterministic_and_shuffling_changes_them(splitter):
    people = np.arange(30)
    assert folds(splitter(3), people) == folds(splitter(3), people)
    shuffled = splitter(3, shuffle=True, random_state=1)
    assert folds(shuffled, people) == folds(shuffled, people)
    assert folds(shuffled, people) != folds(splitter(3), people)
    assert folds(shuffled, people) != folds(splitter(3, shuffle=True, random_state=2), people)


def test_names_and_data_frames_give_the_folds_of_numbers():
    people, _ = dense_pairs()
    names = np.array([f"person {i:03}" for i in range(30)])[people]
    expected = folds(IdentityKFold(4), people)
    for groups in (names, names.astype(object), names.tolist(), pd.DataFrame(names)):
        assert folds(IdentityKFold(4), groups) == expected


def test_repr_names_the_arguments():
    text = repr(IdentityKFold(3, shuffle=True, random_state=7))
    assert text == "IdentityKFold(n_splits=3, random_state=7, shuffle=True)"
    text = " ".join(repr(IdentityShuffleSplit(3, test_size=0.5)).split())
    assert text.endswith("Split(n_splits=3, random_state=None, test_size=0.5, train_size=None)")
    for cv in (*(splitter(3) for splitter in FOLDS), IdentityShuffleSplit(3)):
        assert cv.get_n_splits() == 3


# Splitters in scikit-learn's meta-estimators -------------------------------------------------

GRID = {"criterion": ["accuracy", "eer"], "threshold": [None, 0.0]}


@pytest.fixture(params=[False, True], ids=["plain", "routing"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def scored_pairs():
    people, y = clustered_pairs(30)
    return np.random.default_rng(1).normal(y[:, None], 1.0, (len(y), 2)), y, people


@every_splitter
def test_grid_search(cv, routing):
    X, y, people = scored_pairs()
    search = GridSearchCV(PairVerifier(), GRID, cv=cv, error_score="raise")
    search.fit(X, y, groups=people)
    # by hand, for the first candidate
    expected = [
        PairVerifier(criterion="accuracy").fit(X[train], y[train]).score(X[test], y[test])
        for train, test in cv.split(X, y, people)
    ]
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(expected))


@every_splitter
def test_cross_validate(cv, routing):
    X, y, people = scored_pairs()
    given = {"params": {"groups": people}} if routing else {"groups": people}
    scores = cross_validate(LogisticRegression(), X, y, cv=cv, error_score="raise", **given)
    expected = [
        LogisticRegression().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in cv.split(X, y, people)
    ]
    np.testing.assert_allclose(scores["test_score"], expected)


@every_splitter
def test_halving_search_subsamples_within_the_folds(cv, routing):
    X, y, people = scored_pairs()
    search = HalvingGridSearchCV(
        PairVerifier(), GRID, cv=cv, min_resources=80, error_score="raise", random_state=0
    )
    search.fit(X, y, groups=people)
    assert search.n_resources_ == [80, 240]
    assert search.best_score_ > 0.6


@every_splitter
def test_calibration_and_threshold_tuning(cv, routing):
    X, y, people = scored_pairs()
    for meta in (
        lambda cv: CalibratedClassifierCV(PairVerifier(calibration=None), cv=cv),
        lambda cv: TunedThresholdClassifierCV(LogisticRegression(), cv=cv, thresholds=20),
    ):
        by_list = meta(list(cv.split(X, y, people))).fit(X, y)
        assert by_list.score(X, y) > 0.6
        if routing:
            routed = meta(cv).fit(X, y, groups=people)
            np.testing.assert_allclose(routed.predict_proba(X), by_list.predict_proba(X))
        else:  # these two cannot pass groups on; the error says what to do
            with pytest.raises(ValueError, match=r"cv=list\(.*split\(X, y, groups\)\)"):
                meta(cv).fit(X, y)


def test_groups_are_requested_unless_declined():
    with sklearn.config_context(enable_metadata_routing=True):
        for cv in SPLITTERS:
            assert cv.get_metadata_routing().split.requests == {"groups": True}
            declined = type(cv)().set_split_request(groups=False)
            assert declined.get_metadata_routing().split.requests == {"groups": False}


MISSING = [["a", "a"], ["b", None], ["c", "c"], ["d", float("nan")]]


@pytest.mark.parametrize(
    ("n_splits", "groups", "words"),
    [
        (2, None, "groups=None"),
        (2, [0, 1, 2], "inconsistent numbers of samples"),
        (2, np.zeros((4, 3)), r"shape \(4, 3\)"),
        (2, np.zeros((4, 2, 1)), r"shape \(4, 2, 1\)"),
        (5, [0, 1, 2, 3], "n_splits=5 .* 4 people"),
        (1, [0, 1, 2, 3], "n_splits"),
        (2, MISSING, "row 1, 3"),
        (2, [0.0, 1.0, np.nan, 2.0], "row 2"),
        (2, pd.Series(["a", "b", pd.NA, "c"]), "row 2"),
        (2, np.array(["a", 1, "b", 2], dtype=object), "mixes types"),
        (2, [["a", "b"]] * 4, "training set of fold 0 is without any row: it holds 0 of 4 rows"),
    ],
)
def test_bad_groups_are_named(n_splits, groups, words):
    with pytest.raises(ValueError, match=words):
        list(IdentityKFold(n_splits).split(np.zeros(4), groups=groups))


def test_fold_without_a_class_is_an_error_that_names_it():
    people = [["a", "a"], ["b", "b"], ["c", "c"], ["d", "d"], ["a", "c"], ["b", "d"], ["a", "d"]]
    y = [1, 1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match=r"fold 0 is without class 0.*straddle.*fewer splits"):
        list(IdentityKFold(4).split(people, y, people))
    # Without labels there is nothing to miss.
    assert len(list(IdentityKFold(4).split(people, None, people))) == 4


def test_fold_without_a_class_points_to_linked_groups_if_they_would_do():
    # eight couples: dealt one by one, hardly any couple stays together
    same = [[i, i] for i in range(16)]
    people = np.array(same + [[i, i + 8] for i in range(8)])
    y = np.repeat([1, 0], [16, 8])
    with pytest.raises(ValueError, match=r"without class 0.*IdentityGroupKFold\(n_splits=3\)"):
        list(IdentityKFold(3).split(people, y, people))
    assert len(list(IdentityGroupKFold(3).split(people, y, people))) == 3


# describe_folds ------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [KFold(4), 4, IdentityKFold(4), IdentityShuffleSplit(3)], ids=str)
def test_described_folds_are_those_of_a_plain_loop(cv):
    people, y = dense_pairs()
    if isinstance(cv, IdentityShuffleSplit):
        cv.random_state = 0
    X = np.zeros(len(y))
    report = describe_folds(cv, X, y, people)
    splitter = sklearn.model_selection.check_cv(cv, y, classifier=True)
    tested = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KFold says that it ignores groups
        splits = list(splitter.split(X, y, people))
    assert len(report.folds) == len(splits)
    for fold, (train, test) in zip(report.folds, splits, strict=True):
        known = {person for i in train for person in people[i]}
        strangers = {person for i in test for person in people[i]}
        assert fold["n_train_genuine"] == sum(y[i] for i in train)
        assert fold["n_train_impostor"] == sum(1 - y[i] for i in train)
        assert fold["n_test_genuine"] == sum(y[i] for i in test)
        assert fold["n_test"] == len(test)
        out = set(range(len(y))) - set(train) - set(test)
        assert (fold["n_left_out"], fold["n_left_out_genuine"]) == (
            len(out),
            sum(y[i] for i in out),
        )
        assert fold["n_train_people"] == len(known)
        assert fold["n_test_people"] == len(strangers)
        assert fold["n_seen_people"] == len(known & strangers)
        assert fold["n_seen_test"] == sum(bool(known & set(people[i])) for i in test)
        tested |= set(test)
    assert report.n_never_tested == len(y) - len(tested)
    assert report.n_never_tested_impostor == sum(1 - y[i] for i in set(range(len(y))) - tested)
    assert pd.DataFrame(report.folds)["n_test"].sum() == sum(len(test) for _, test in splits)


def test_described_folds_print():
    people, y = dense_pairs()
    text = str(describe_folds(IdentityKFold(3), y, y, people))
    assert text.splitlines()[-1] == "No test row shows anybody who is in training too."
    assert "test: same  different" in text
    assert max(map(len, text.splitlines())) <= 100
    leaky = str(describe_folds(KFold(3), y, y, people))
    assert leaky.endswith("900 of 900 test rows show somebody who is in training too.")
    faces = describe_folds(IdentityKFold(3), people[:, 0], groups=people[:, 0])
    assert "n_test_genuine" not in faces.folds[0]
    assert "900 faces of 30 people. In no test set: 0." in str(faces)
    with pytest.raises(ValueError, match="describe_folds counts people"):
        describe_folds(KFold(3), y, y)


def test_folds_of_lfw_come_from_its_file(tmp_path):
    home = tmp_path / "lfw_home"
    lines = ["3\t2"]
    for a, b in (("Ann", "Bob"), ("Cy", "Dee"), ("Eve", "Fay")):
        lines += [f"{a}\t1\t2", f"{b}\t1\t2", f"{a}\t1\t{b}\t1", f"{a}\t2\t{b}\t2"]
        for name in (a, b):
            (home / "lfw_funneled" / name).mkdir(parents=True)
            for number in (1, 2):
                (home / "lfw_funneled" / name / f"{name}_{number:04d}.jpg").touch()
    (home / "pairs.txt").write_text("\n".join(lines))
    lfw = load_lfw_pairs(home, "10_folds")
    report = describe_folds(PredefinedSplit(lfw.folds), lfw.data, lfw.target, lfw.identities)
    for fold in report.folds:
        assert (fold["n_test_genuine"], fold["n_test_impostor"], fold["n_train"]) == (2, 2, 8)
        assert fold["n_seen_people"] == fold["n_left_out"] == 0


# audit_leakage -------------------------------------------------------------------------------

FACES = make_faces(12, 4, 64, random_state=0)


def jpeg(pixels, quality=60):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def resized(pixels, size):
    return np.asarray(PIL.Image.fromarray(pixels).resize((size, size)))


def test_people_are_counted_in_faces_and_pairs():
    train, test = ["ann", "bob", "bob", "cy"], [["bob", "dee"], ["eve", "eve"], ["fay", "cy"]]
    report = audit_leakage(None, None, train_identities=train, test_identities=test)
    assert report.photos is None
    assert report.people.shared.tolist() == ["bob", "cy"]
    assert report.people.n_test == 5
    assert report.people.train_rows.tolist() == [1, 2, 3]
    assert report.people.test_rows.tolist() == [0, 2]
    assert str(report) == "shared people: 2 of 5 in test, in 2 of 3 test rows (bob, cy)"


def test_strangers_are_strangers():
    report = audit_leakage(
        FACES.data[:24],
        FACES.data[24:],
        train_identities=FACES.target[:24],
        test_identities=FACES.target[24:],
    )
    assert len(report.people.shared) == len(report.photos.matches) == 0
    assert str(report) == "shared people: 0 of 6 in test\nshared photos: 0 of 24 in test"


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: jpeg(pixels, 60),
        lambda pixels: jpeg(pixels, 30),
        lambda pixels: resized(pixels, 32),
        lambda pixels: resized(pixels, 150),
        lambda pixels: jpeg(resized(pixels, 48)),
        lambda pixels: pixels // 2,
        lambda pixels: (pixels / 255).astype(np.float32),
        lambda pixels: np.asarray(PIL.Image.fromarray(pixels).convert("L")),
    ],
    ids=["q60", "q30", "half", "larger", "smaller q60", "darker", "float", "grey"],
)
def test_changed_copies_are_found_and_nothing_else(change):
    copies = np.stack([change(pixels) for pixels in FACES.data[10:20]])
    report = audit_leakage(FACES.data[:18], copies)
    found = [(match["train_row"], match["test_row"]) for match in report.photos.matches]
    assert sorted(found) == [(10 + i, i) for i in range(8)]
    assert (report.photos.n_identical, report.photos.n_near_identical) == (0, 8)
    assert report.photos.train_rows.tolist() == list(range(10, 18))
    assert report.photos.test_rows.tolist() == list(range(8))


def test_rows_of_pairs_and_of_any_form_are_matched(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path, pixels in zip(paths, FACES.data, strict=False):
        PIL.Image.fromarray(pixels).save(path)
    train = np.array([[paths[0], paths[1]], [paths[2], paths[0]]], dtype=object)
    test = [
        PIL.Image.fromarray(FACES.data[0]),  # the very pixels
        PIL.Image.fromarray(jpeg(FACES.data[2])),
        PIL.Image.fromarray(FACES.data[40]),
        PIL.Image.fromarray(FACES.data[0]),
    ]
    report = audit_leakage(train, test)
    assert (report.photos.n_identical, report.photos.n_near_identical) == (1, 1)
    assert report.photos.n_test == 3
    assert report.photos.train_rows.tolist() == [0, 1]
    assert report.photos.test_rows.tolist() == [0, 1, 3]
    first, second = report.photos.matches
    assert first == {"train_row": 0, "test_row": 0, "distance": 0, "identical": True}
    assert (second["train_row"], second["test_row"], second["identical"]) == (1, 1, False)
    frame = pd.DataFrame(train, columns=["left", "right"])
    assert audit_leakage(frame, test).photos.matches == report.photos.matches


def test_distances_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 24, 3), dtype=np.uint8)
    images[10:] = images[:10] + rng.integers(-20, 20, (10, 32, 24, 3))

    def bits(pixels):
        grey = pixels @ np.array([0.299, 0.587, 0.114])
        waves = [np.cos(np.pi * np.outer(range(16), np.arange(n) + 0.5) / n) for n in grey.shape]
        return (waves[0] @ grey @ waves[1].T > 1e-5 * grey.sum()).ravel()

    expected = {
        (i, j): int(np.sum(bits(images[i]) != bits(images[10 + j])))
        for i in range(10)
        for j in range(10)
    }
    report = audit_leakage(images[:10], images[10:], max_distance=256)
    found = {
        (match["train_row"], match["test_row"]): match["distance"]
        for match in report.photos.matches
    }
    assert found == expected
    assert list(found.values()) == sorted(found.values())


def test_missing_faces_match_nothing():
    faces = (FACES.data[:6] / 255).astype(np.float32)
    faces[[1, 4]] = np.nan
    report = audit_leakage(faces, faces[[0, 1, 2]])
    assert report.photos.n_test == 2
    assert report.photos.n_identical == 2
    assert report.photos.test_rows.tolist() == [0, 2]


def test_no_false_alarm_among_photos_of_lfw(shared_data):
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    several = [folder for folder in folders if len(list(folder.iterdir())) >= 8][:40]
    photos = [sorted(map(str, folder.iterdir()))[:8] for folder in several]
    train = np.array([path for paths in photos for path in paths[:4]], dtype=object)
    test = np.array([path for paths in photos for path in paths[4:]], dtype=object)
    assert audit_leakage(train, test).photos.matches == []
    again = [PIL.Image.fromarray(jpeg(np.asarray(PIL.Image.open(path)))) for path in train[:50]]
    small = [image.resize((112, 112)) for image in again]
    for copies in (again, small):
        report = audit_leakage(train, copies)
        found = [(match["train_row"], match["test_row"]) for match in report.photos.matches]
        assert sorted(found) == [(i, i) for i in range(50)]


@pytest.mark.parametrize(
    ("args", "identities", "words"),
    [
        ((None, None), (["a"], None), "nothing to compare"),
        ((FACES.data, None), (None, None), "nothing to compare"),
        ((None, None), (["a"], [1]), "train_identities holds strings and test_identities numbers"),
        ((FACES.data, None), (["a"], ["a"]), "train_identities has 1 rows, but train has 48"),
        ((None, None), (["a", None], ["a"]), "train_identities lacks a label in row 1"),
    ],
)
def test_what_cannot_be_audited_is_refused(args, identities, words):
    with pytest.raises(ValueError, match=words):
        audit_leakage(*args, train_identities=identities[0], test_identities=identities[1])
    with pytest.raises(ValueError, match="max_distance"):
        audit_leakage(FACES.data, FACES.data, max_distance=-1)
