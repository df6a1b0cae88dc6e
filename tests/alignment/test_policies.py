"""Which of several faces is chosen."""

import numpy as np
import pytest
from photographs import likeness, pasted, resized
from toy_faces import ARCFACE, BOXES, PHOTO, align, detecting, in_box, reported

from skface import FaceAligner
from skface.exceptions import FaceNotFoundError


@pytest.mark.parametrize(
    ("policy", "expected"), [("largest", "left"), ("center", "middle"), ("best_score", "right")]
)
def test_policies_choose_different_faces(policy, expected):
    photo = np.zeros((100, 200, 3), dtype=np.uint8)
    for value, (x, y, width, height) in enumerate(BOXES.values(), start=1):
        photo[y : y + height, x : x + width] = value * 50
    crop = align([photo], detecting(*map(in_box, BOXES)), face_policy=policy)[0]
    assert crop[56, 56, 0] == 50 * (1 + list(BOXES).index(expected))


def test_center_prefers_a_large_face_near_the_middle_to_a_speck_in_it():
    photo = np.zeros((100, 100, 3), dtype=np.uint8)
    photo[20:90, 15:85] = 100
    photo[48:52, 48:52] = 200
    large = reported(ARCFACE / 112 * 70 + (15, 20), (15, 20, 70, 70))
    speck = reported(ARCFACE / 112 * 4 + 48, (48, 48, 4, 4), 0.99)
    crop = align([photo], detecting(large, speck), face_policy="center")[0]
    assert crop[80, 20, 0] == 100


def test_single_takes_several_faces_for_a_failure():
    two, one = detecting(in_box("left"), in_box("right")), detecting(in_box("left"))
    with pytest.raises(FaceNotFoundError, match="row 0: 2 faces .* another face_policy") as error:
        align([PHOTO], two, face_policy="single")
    assert "min_score" not in str(error.value)  # with a lower one there are no fewer faces
    assert align([PHOTO], one, face_policy="single").shape == (1, 112, 112, 3)
    # those below the least score do not count
    assert align([PHOTO], two, face_policy="single", min_score=0.9).shape == (1, 112, 112, 3)


def test_faces_below_the_least_score_are_none():
    with pytest.raises(FaceNotFoundError, match="row 0: no face .* lower min_score") as error:
        align([PHOTO], detecting(in_box("left")), min_score=0.71)
    assert "face_policy" not in str(error.value)


# ------------------------------------------------------------------------------ real photographs


def test_policies_on_photos_pasted_side_by_side(photos, detector):
    near, far = resized(photos[1], 500), photos[0]
    canvas = pasted((1250, 500), (near, (0, 0)), (far, (497, 100)))
    crops = {"near": align([near], detector), "far": align([far], detector)}
    aligner = FaceAligner("arcface-112", detector=detector).fit([canvas])
    found = aligner.detect([canvas])
    assert found.boxes[0].shape == (2, 4)
    best = "near" if found.landmarks[0][0, :, 0].mean() < 500 else "far"
    for policy, who in (("largest", "near"), ("center", "far"), ("best_score", best)):
        crop = aligner.set_params(face_policy=policy).transform([canvas])
        other = crops["far" if who == "near" else "near"]
        assert likeness(crop, crops[who]) > likeness(crop, other) + 0.2
    with pytest.raises(FaceNotFoundError, match="2 faces"):
        aligner.set_params(face_policy="single").transform([canvas])
