"""Cartoon faces: repeatable, and harder with difficulty."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import PairVerifier, PerFace, make_faces, make_pairs


def test_same_seed_draws_the_same_faces():
    faces = make_faces(6, 3, 32, random_state=0)
    assert faces.data.shape == (18, 32, 32, 3)
    assert faces.data.dtype == np.uint8
    np.testing.assert_array_equal(faces.target, np.repeat(np.arange(6), 3))
    np.testing.assert_array_equal(make_faces(6, 3, 32, random_state=0).data, faces.data)
    assert not np.array_equal(make_faces(6, 3, 32, random_state=1).data, faces.data)


def test_drawing_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    make_faces(2, 2, 16, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def accuracy_of_pixels(difficulty):
    faces = make_faces(40, 10, 32, difficulty=difficulty, random_state=0)
    drawn = make_pairs(faces.target, random_state=0)
    pixels = make_pipeline(PerFace(FunctionTransformer()), PairVerifier())
    X = faces.data[drawn.indices]
    return pixels.fit(X, drawn.target).score(X, drawn.target)


def test_raw_pixels_do_not_tell_people_apart_and_less_so_the_harder_it_is():
    easy, default, hard = map(accuracy_of_pixels, (0, 0.5, 1))
    assert 0.8 > easy > default + 0.05
    assert default > hard + 0.03


def test_pictures_of_one_person_are_more_alike_than_those_of_two():
    faces = make_faces(30, 6, 48, difficulty=0.2, random_state=0)
    # the middle of the face, where the background does not reach
    middle = faces.data[:, 16:32, 16:32].reshape(len(faces.data), -1).astype(float)
    distance = np.linalg.norm(middle[:, None] - middle[None], axis=-1)
    same = faces.target[:, None] == faces.target
    assert distance[same & ~np.eye(len(same), dtype=bool)].mean() < 0.7 * distance[~same].mean()


@pytest.mark.parametrize(
    "params",
    [{"n_identities": 0}, {"n_images_per_identity": 0}, {"image_size": 8}, {"difficulty": 1.1}],
)
def test_impossible_faces_are_refused_by_name(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make_faces(**params)
