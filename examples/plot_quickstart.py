"""
Verify people that the network has never seen
=============================================

Two photographs are verified with the network that comes with skface. Then a small FaceNet is
trained on synthetic faces of some people. Pairs of a second group of people set the threshold. A
third group, new to both, is the test.
"""

# %%
# Photographs of two people
# -------------------------
#
# An aligner finds the face, an embedder maps it to a vector of length 1, and a verifier turns the
# similarity of two vectors into a probability. All three come with skface.

from pathlib import Path

from PIL import Image

from skface import load_face_verifier

folder = Path(__file__).parents[1] / "tests" / "data"  # see the README there
hopper = Image.open(folder / "grace_hopper.jpg")
photos = {
    "Grace Hopper": hopper,
    "the same photo, turned and dark": hopper.rotate(12).point(lambda value: value // 2),
    "Eileen Collins": Image.open(folder / "eileen_collins.jpg"),
}

verifier = load_face_verifier()
print(f"P(Grace Hopper), with faces found by {verifier[0].detector_name_}")
for name, photo in photos.items():
    pair = [[hopper, photo]]
    verdict = "the same" if verifier.predict(pair)[0] else "different"
    print(f"{verifier.predict_proba(pair)[0, 1]:6.3f}  {verdict:10}{name}")

# %%
# The threshold of this verifier was learned on photos of LFW. Learn it on pairs of your own where
# you can: ``make_face_verifier().fit(pairs, same)``. The rest of this example uses synthetic
# people, and trains a network for them, since the packaged one knows photographs only.

# %%
# Three groups of people
# ----------------------
#
# No person is in two groups. On people of the training set, the error rates of a network are too
# low, and so are those of a threshold on the pairs that chose it.

import numpy as np

from skface import make_faces, make_pairs

faces = make_faces(n_identities=210, n_images_per_identity=10, image_size=48, random_state=0)
train = faces.target < 150
calibration = (faces.target >= 150) & (faces.target < 190)
test = faces.target >= 190


def draw_pairs(group, random_state):
    """Return pairs of faces, (n, 2, H, W, 3), and whether they show the same person."""
    pairs = make_pairs(faces.target[group], n_impostor=2000, random_state=random_state)
    return faces.images[group][pairs.indices], pairs.target


calibration_pairs, calibration_same = draw_pairs(calibration, random_state=1)
test_pairs, test_same = draw_pairs(test, random_state=2)

# %%
# Train the network, then learn the threshold
# -------------------------------------------
#
# The network is frozen in the pipeline, so that ``fit`` learns only the threshold from the pairs.

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skface import FaceNetEmbedder, PairVerifier

embedder = FaceNetEmbedder(backbone="small_resnet", weights=None, max_epochs=36, random_state=0)
embedder.fit(faces.images[train], faces.target[train])

pipe = make_pipeline(FrozenEstimator(embedder), PairVerifier())
pipe.fit(calibration_pairs, calibration_same)

# %%
# Verify strangers
# ----------------
#
# The cosine of raw pixels is the baseline.

from sklearn.preprocessing import FunctionTransformer

from skface.metrics import equal_error_rate, tar_at_far


def flatten(pairs):
    """Take the pixels of each face as its vector."""
    return pairs.reshape(len(pairs), 2, -1)


pixels = make_pipeline(FunctionTransformer(flatten), PairVerifier())
pixels.fit(calibration_pairs, calibration_same)

n_genuine = test_same.sum()
print(f"{n_genuine} genuine and {len(test_same) - n_genuine} impostor pairs of 20 unseen people")
print(f"{'':12}{'accuracy':>10}{'EER':>8}{'TAR@FAR=1e-2':>15}")
for name, verifier in (("raw pixels", pixels), ("FaceNet", pipe)):
    score = verifier.decision_function(test_pairs)
    print(
        f"{name:12}{verifier.score(test_pairs, test_same):10.3f}"
        f"{equal_error_rate(test_same, score).rate:8.3f}"
        f"{tar_at_far(test_same, score, far=1e-2):15.3f}"
    )

# %%
# Look at the decisions
# ---------------------
#
# A typical genuine and a typical impostor pair, the hardest of each, and a histogram of all scores.

import matplotlib.pyplot as plt

threshold = pipe[-1].threshold_
similarity = pipe[-1].score_pairs(pipe[:-1].transform(test_pairs))
accepted = pipe.predict(test_pairs)


def pair_at(label, quantile):
    """Return the row of the pair at a quantile of the scores of its label."""
    rows = np.flatnonzero(test_same == label)
    return rows[np.argsort(similarity[rows])[round(quantile * (len(rows) - 1))]]


examples = {
    "genuine, typical": pair_at(1, 0.5),
    "genuine, least alike": pair_at(1, 0),
    "impostor, typical": pair_at(0, 0.5),
    "impostor, most alike": pair_at(0, 1),
}
figure = plt.figure(figsize=(10, 6.5), layout="constrained")
axes = figure.subplot_mosaic([list(examples), ["scores"] * 4], height_ratios=[1, 1.6])

for title, row in examples.items():
    left, right = test_pairs[row]
    axes[title].imshow(np.hstack([left, np.ones_like(left[:, :3]) * left.max(), right]))
    axes[title].set_title(title)
    verdict = "accepted" if accepted[row] else "rejected"
    mark = "right" if accepted[row] == test_same[row] else "wrong"
    axes[title].set_xlabel(f"score {similarity[row]:.2f}: {verdict}, {mark}")
    axes[title].set(xticks=[], yticks=[])
    axes[title].spines[:].set_visible(False)

bins = np.linspace(similarity.min(), 1, 60)
for label, name, style in (
    (0, "impostor pairs", {"color": "#E69F00", "alpha": 0.7}),
    (1, "genuine pairs", {"color": "#00436B", "histtype": "step", "linewidth": 2}),
):
    values = similarity[test_same == label]
    percent = np.full(len(values), 100 / len(values))
    axes["scores"].hist(values, bins, weights=percent, label=name, **style)
axes["scores"].axvline(
    threshold, color="black", linestyle="--", label=f"learned threshold, {threshold:.2f}"
)
axes["scores"].set(
    title="Pairs of the 20 test people",
    xlabel="similarity of the two faces (cosine of their embeddings)",
    ylabel="genuine or impostor pairs (%)",
)
axes["scores"].spines[["top", "right"]].set_visible(False)
axes["scores"].legend(loc="upper left", frameon=False)
figure.savefig("quickstart.png", dpi=120)
print("The decisions are drawn in quickstart.png")
