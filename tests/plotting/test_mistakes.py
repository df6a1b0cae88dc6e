"""The gallery of mistakes: the worst first, and readable."""

import numpy as np
import PIL.Image
import pytest
from drawing import assert_readable, files_opened, words
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import PairVerifier, make_faces, make_pairs
from skface.plotting import MistakesDisplay


@pytest.fixture
def photos(tmp_path):
    """Paths of ten photos of different sizes, the rows of twelve pairs, labels and scores."""
    paths = []
    for i in range(10):
        size = (40 + 10 * i, 60) if i % 2 else (30, 90)
        paths.append(str(tmp_path / f"photo_{i}.png"))
        PIL.Image.new("RGB", size, (20 * i, 90, 90)).save(paths[-1])
    rng = np.random.default_rng(0)
    rows = np.array([rng.choice(10, 2, replace=False) for _ in range(12)])
    X = np.array(paths, dtype=object)[rows]
    y = np.array([0, 1] * 6)
    #             accepted: rows 0, 2, 4, 8; rejected: rows 1, 7, 9; failed: row 5
    s = np.array([0.6, 0.1, 0.9, 0.8, 0.7, np.nan, 0.2, 0.3, 0.95, 0.05, 0.0, 0.5])
    return X, y, s


def test_worst_mistakes_equal_a_loop(photos):
    X, y, s = photos
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=3)
    assert display.false_accepts.rows.tolist() == [8, 2, 4]
    assert display.false_rejects.rows.tolist() == [9, 1, 7]
    assert display.failures.rows.tolist() == [5]
    np.testing.assert_array_equal(display.false_accepts.scores, s[[8, 2, 4]])
    assert display.false_accepts.n_found == 4
    assert (display.false_rejects.n_found, display.failures.n_found) == (3, 1)
    text = words(display)
    assert "the worst 3 of 4 among 6 pairs" in text
    assert "all 3 among 6 pairs" in text
    assert "row 8: 0.95" in text and "row 5: genuine" in text


def test_ties_are_shown_by_row():
    faces = make_faces(n_identities=2, n_images_per_identity=2, image_size=16, random_state=0)
    X = faces.images[[[0, 2], [1, 3], [0, 3], [0, 1]]]
    display = MistakesDisplay.from_predictions([0, 0, 0, 1], [1, 1, 1, 1], X, threshold=1)
    assert display.false_accepts.rows.tolist() == [0, 1, 2]
    assert "none among 1 pair" in words(display)


def test_no_mistakes_at_all(photos):
    X, y, _ = photos
    display = MistakesDisplay.from_predictions(y, y, X, threshold=0.5)
    assert words(display).count("none among 6 pairs") == 2
    assert "Failures" not in words(display)
    assert not display.ax_.images
    assert_readable(display)


def test_only_what_is_shown_is_decoded(photos, monkeypatch):
    X, y, s = photos
    opened = files_opened(monkeypatch)
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=1)
    assert sorted(opened) == sorted(X[[8, 9, 5]].ravel())
    display.plot()
    assert len(opened) == 6


def test_photos_keep_their_shape_and_are_small(tmp_path):
    PIL.Image.new("RGB", (1200, 600)).save(tmp_path / "wide.png")
    X = [[str(tmp_path / "wide.png"), np.zeros((50, 100, 3), dtype=np.uint8)]] * 2
    display = MistakesDisplay.from_predictions([0, 1], [1, 1], X, threshold=0)
    left, right = display.false_accepts.photos[0]
    assert left.shape == (128, 256, 3) and right.shape == (50, 100, 3)
    for image in display.ax_.images:
        x0, x1, y0, y1 = image.get_extent()
        assert (x1 - x0) / (y1 - y0) == pytest.approx(2)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_pixels_are_shown_as_they_are(kind):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (2, 2, 20, 20, 3)).astype(np.uint8)
    given = X if kind is np.uint8 else X / 255
    display = MistakesDisplay.from_predictions([0, 1], [1, 1], given, threshold=0)
    np.testing.assert_array_equal(display.false_accepts.photos[0][1], X[0, 1])


def test_photos_that_cannot_be_shown(photos, tmp_path):
    X, y, s = photos
    X = X.tolist()
    broken = tmp_path / "broken $1$.png"
    broken.write_text("no photo")
    X[8] = [str(broken), str(tmp_path / "a_photo_that_does_not_exist_anywhere.png")]
    X[5] = [np.full((30, 30, 3), np.nan), X[5][1]]
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5)
    assert display.false_accepts.photos[0][0] == "cannot be read: broken $1$.png"
    assert display.failures.photos[0][0] == "no face was found"
    text = words(display).replace("\n", "").replace(" ", "")
    assert "broken$1$.png" in text and "does_not_exist" in text
    assert_readable(display)


def test_people_are_named_and_texts_do_not_collide(photos):
    X, y, s = photos
    names = np.array(["Ann", "A name that is too long for its place in the gallery", "Cy"])
    identities = np.column_stack([names[np.arange(12) % 3], names[(np.arange(12) + 1 - y) % 3]])
    display = MistakesDisplay.from_predictions(
        y, s, X, threshold=0.5, identities=identities, n_mistakes=6
    )
    text = words(display)
    assert "Ann" in text and "Cy" in text and "…" in text
    assert_readable(display)
    boxes = [artist.get_window_extent() for artist in display.ax_.texts]
    boxes += [image.get_window_extent() for image in display.ax_.images]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_gallery_of_a_pipeline():
    faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    pairs = make_pairs(faces.target, n_impostor=100, random_state=0)
    X = faces.images[pairs.indices]
    pixels = FunctionTransformer(lambda X: X.reshape(len(X), 2, -1) / 255)
    pipe = make_pipeline(pixels, PairVerifier()).fit(X, pairs.target)
    display = MistakesDisplay.from_estimator(pipe, X, pairs.target)
    wrong = pipe.predict(X) != pairs.target
    assert display.false_accepts.n_found == np.sum(wrong & (pairs.target == 0))
    assert display.false_rejects.n_found == np.sum(wrong & (pairs.target == 1))
    flat = MistakesDisplay.from_predictions(
        pairs.target,
        pipe.decision_function(X),
        X.reshape(len(X), 2, -1),
        threshold=0.0,
        image_shape=(32, 32, 3),
    )
    np.testing.assert_array_equal(flat.false_accepts.rows, display.false_accepts.rows)


def test_arguments_of_the_gallery(photos):
    X, y, s = photos
    with pytest.raises(ValueError, match="X holds 11 pairs, but there are 12 scores"):
        MistakesDisplay.from_predictions(y, s, X[:11], threshold=0.5)
    with pytest.raises(ValueError, match="X holds 12 faces"):
        MistakesDisplay.from_predictions(y, s, X[:, 0], threshold=0.5)
    with pytest.raises(ValueError, match=r"identities has shape \(12,\)"):
        MistakesDisplay.from_predictions(y, s, X, threshold=0.5, identities=y)
    with pytest.raises(ValueError, match="n_mistakes"):
        MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=0)
