"""Normal use of skface, as a user with strict types writes it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import skface
from skface import (
    DistilledEmbedder,
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    IdentityKFold,
    OnnxEmbedder,
    PairVerifier,
    PerFace,
    SiameseEmbedder,
    SiameseVerifier,
    audit_leakage,
    blend_people,
    cross_validate_pairs,
    describe_folds,
    load_face_folder,
    load_face_verifier,
    load_lfw_pairs,
    make_face_verifier,
    make_faces,
    make_pairs,
)
from skface.exceptions import FaceNotFoundError, ImageError
from skface.metrics import (
    d_prime,
    equal_error_rate,
    far_frr_curve,
    get_scorer,
    rate_interval,
    tar_at_far,
    threshold_at_far,
    verification_report,
)
from skface.plotting import ErrorTradeoffDisplay, ScoreDistributionDisplay
from skface.weights import fetch_weights, list_weights, weights_info


def own_detector(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.zeros((0, 15))


def verify(folder: Path) -> float:
    photos = load_face_folder(folder, min_images_per_identity=2)
    drawn = make_pairs(photos.target, n_impostor=100, random_state=0)
    pairs, same, people = photos.data[drawn.indices], drawn.target, drawn.identities
    verifier = make_face_verifier("skface-mini", criterion="far", far=1e-2, cache=folder / "cache")
    verifier.fit(pairs, same)
    report = cross_validate_pairs(verifier, pairs, same, cv=IdentityKFold(3), groups=people)
    print(report, describe_folds(IdentityKFold(3), pairs, same, people))
    scores: NDArray[np.float64] = verifier.decision_function(pairs)
    far, frr, thresholds = far_frr_curve(same, scores)
    print(far.max(), frr.max(), thresholds[0], equal_error_rate(same, scores).rate)
    print(threshold_at_far(same, scores, 1e-2), tar_at_far(same, scores, 1e-2))
    low, high = rate_interval(3, 100)
    print(low + high, d_prime(same, scores), verification_report(same, scores), get_scorer("eer"))
    ErrorTradeoffDisplay.from_predictions(same, scores, name="mine")
    ScoreDistributionDisplay.from_estimator(verifier, pairs, same)
    return float(load_face_verifier(prior=0.01).predict_proba([["a.jpg", "b.jpg"]])[0, 1])


def train() -> NDArray[np.float32]:
    faces = make_faces(8, 4, 32, difficulty=0.2, random_state=np.random.RandomState(0))
    more = blend_people(faces.data, faces.target, n_blends=2)
    embedder = FaceNetEmbedder(weights=None, margin=0.3, max_epochs=2, device="cpu")
    vectors = embedder.fit(more.data, more.target).transform(faces.data)
    print(embedder.history_["loss"].mean(), embedder.embedding_dim_, embedder.best_epoch_)
    teacher = OnnxEmbedder(Path("arcface.onnx"), mean=127.5, std=127.5, input_size=(112, 112))
    DistilledEmbedder(teacher, "mobilefacenet", embedding_dim=128).fit(faces.data)
    SiameseEmbedder("small_resnet", None, trainable=2, checkpoint_dir=Path("runs"))
    siamese = SiameseVerifier(weights=None, threshold=0.7).fit(faces.data, faces.target)
    print(siamese.predict_proba(faces.data[:2][None])[:, 1], siamese.classes_[1])
    return np.asarray(vectors, dtype=np.float32)


def pieces() -> None:
    aligner = FaceAligner("arcface-112", detector=own_detector, face_policy="center", n_jobs=2)
    try:
        crops = aligner.fit(["a.jpg"]).transform(["a.jpg"])
        print(crops.shape, aligner.detect(["a.jpg"]).boxes, aligner.detector_name_)
    except (FaceNotFoundError, ImageError) as error:
        print(error)
    cache = EmbeddingCache("embeddings", max_bytes=10**9)
    per_face = PerFace(aligner, cache=cache, batch_size=32).fit(["a.jpg"])
    print(per_face.output_shape_, cache.info().hits)
    verifier = PairVerifier("euclidean", criterion="cost", cost=(1.0, 10.0, 0.1), threshold=None)
    verifier.fit(np.zeros((4, 2, 3)), [0, 1, 0, 1], sample_weight=np.ones(4))
    print(verifier.threshold_ + 1.0, verifier.score_pairs(np.zeros((1, 2, 3))))
    lfw = load_lfw_pairs(subset="test")
    print(audit_leakage(lfw.data, lfw.data), skface.__version__)
    print([weights_info(name).license for name in list_weights()], fetch_weights("yunet")[0].name)
