"""The map of embeddings: positions, names and thumbnails."""

import numpy as np
import PIL.Image
import pytest
from drawing import assert_readable, files_opened, words
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skface.plotting import EmbeddingMapDisplay

plt = pytest.importorskip("matplotlib.pyplot")


def clusters(n_people=4, n_faces=10, seed=0):
    rng = np.random.default_rng(seed)
    people = np.repeat([f"person {i:02}" for i in range(n_people)], n_faces)
    centers = np.repeat(rng.normal(size=(n_people, 8)), n_faces, axis=0)
    return centers + rng.normal(0, 0.1, centers.shape), people


def test_positions_are_the_projection():
    embeddings, people = clusters()
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    expected = PCA(2, random_state=0).fit_transform(embeddings)
    np.testing.assert_allclose(display.positions, expected)
    for line, person in zip(display.lines_, np.unique(people), strict=True):
        assert line.get_label() == person
        np.testing.assert_array_equal(line.get_xydata(), display.positions[people == person])
    assert "of the variance" in words(display)


def test_any_transformer_projects_and_is_not_fitted_itself():
    embeddings, people = clusters()
    projection = TSNE(perplexity=5, max_iter=250, random_state=0)
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=projection)
    assert not hasattr(projection, "embedding_")
    assert "TSNE, first coordinate" in words(display)
    chain = make_pipeline(StandardScaler(), PCA(2))
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=chain)
    assert "PCA, second component" in words(display)
    with pytest.raises(ValueError, match="two columns"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=PCA(3))


@pytest.mark.parametrize("n_people", [1, 10, 11, 14])
def test_up_to_ten_people_are_told_apart_without_color(n_people):
    embeddings, people = clusters(n_people)
    embeddings, people = np.vstack([embeddings, embeddings[-1:]]), np.append(people, people[-1])
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    labels = [line.get_label() for line in display.lines_]
    assert len({line.get_marker() for line in display.lines_}) == len(labels)
    assert people[-1] in labels  # has the most faces
    assert len(labels) == min(n_people, 11)
    if n_people > 10:
        n_others = n_people - 10
        assert labels[0] == ("1 other person" if n_others == 1 else f"{n_others} other people")
    assert sum(len(line.get_xdata()) for line in display.lines_) == len(people)
    assert_readable(display)


@pytest.mark.parametrize("figsize", [(6.4, 4.8), (4, 6), (9, 3)])
def test_the_legend_covers_no_face(figsize):
    embeddings, people = clusters(10)
    people = np.char.add(people, " with a name that is too long")
    _, ax = plt.subplots(figsize=figsize, layout="constrained")
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, ax=ax)
    display.figure_.canvas.draw()
    at = ax.transData.transform(display.positions)
    box = ax.get_legend().get_window_extent()
    assert not np.any((at >= box.min).all(axis=1) & (at <= box.max).all(axis=1))
    assert np.all((at >= ax.bbox.min) & (at <= ax.bbox.max))


def test_faces_that_were_not_found_are_left_out_and_counted():
    embeddings, people = clusters()
    embeddings[[0, 17], 3] = np.nan
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    assert len(display.positions) == len(display.people) == 38
    assert "2 faces not found" in words(display)
    with pytest.raises(ValueError, match="NaN in all 40 rows"):
        EmbeddingMapDisplay.from_embeddings(np.full((40, 8), np.nan), people)


def test_thumbnails_do_not_overlap_and_only_they_are_decoded(tmp_path, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(40, 3))
    embeddings[0] = np.nan
    people = np.repeat(list("abcde"), 8)
    paths = []
    for i in range(40):
        paths.append(str(tmp_path / f"{i}.png"))
        if i != 9:
            PIL.Image.new("RGB", (40, 20 + i)).save(paths[-1])
    opened = files_opened(monkeypatch)
    display = EmbeddingMapDisplay.from_embeddings(
        embeddings, people, images=paths, n_thumbnails=1000
    )
    assert 5 <= len(display.thumbnails) < 39
    display.figure_.canvas.draw()
    boxes = [image.get_window_extent() for image in display.images_]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    rows = display.thumbnail_faces + 1  # row 0 has no embedding
    readable = [path for path in opened if path != paths[9]]
    assert readable == [paths[row] for row in rows]
    for row, pixels in zip(rows, display.thumbnails, strict=True):
        assert pixels.shape == (20 + row, 40, 3)
    assert len(set(display.people[display.thumbnail_faces[:3]])) == 3  # one of each at first
    assert_readable(display)


def test_map_of_an_estimator(faces):
    pixels = FunctionTransformer(lambda X: X.reshape(len(X), -1) / 255)
    embedder = make_pipeline(pixels, PCA(5, random_state=0)).fit(faces.images)
    display = EmbeddingMapDisplay.from_estimator(
        embedder, faces.images, faces.target, n_thumbnails=2
    )
    assert display.positions.shape == (24, 2) and len(display.images_) == 2
    with pytest.raises(TypeError, match=r"pass pipe\[:-1\]"):
        EmbeddingMapDisplay.from_estimator(LogisticRegression(), faces.images, faces.target)


def test_arguments_of_the_map(faces):
    embeddings, people = clusters()
    with pytest.raises(ValueError, match="which is pairs. Pass faces"):
        EmbeddingMapDisplay.from_embeddings(embeddings.reshape(20, 2, 8), people[:20])
    with pytest.raises(ValueError, match="images=None"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, n_thumbnails=3)
    with pytest.raises(ValueError, match="images holds 24 faces, but there are 40"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, images=faces.images, n_thumbnails=3)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people[1:])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # no variance to share
def test_map_of_a_collapsed_network(faces):
    display = EmbeddingMapDisplay.from_embeddings(
        np.ones((24, 3)), faces.target, images=faces.images, n_thumbnails=2
    )
    assert len(display.images_) == 1 and "nan" not in words(display)
    assert_readable(display)


def test_names_are_no_formulas():
    embeddings, _ = clusters(2)
    display = EmbeddingMapDisplay.from_embeddings(embeddings, np.repeat([r"$\bad", "b$"], 10))
    display.figure_.canvas.draw()
