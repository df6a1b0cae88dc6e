"""
Shrink an embedder
==================

A small network learns to give the embeddings that a large one gives. It needs no labels, so any
photos of faces can be used, and blends of two faces too. Here a network of a 27th of the size
learns from a teacher and, for comparison, from labels.
"""

# %%
# Faces
# -----
#
# Cartoon faces of three groups of people. The first group trains the teacher. The second is our
# own; only 10 of its 48 people are labeled. The third is the test.

import numpy as np

from skface import make_faces

faces = make_faces(128, 8, 32, difficulty=0.3, random_state=0)
theirs, ours, test = (
    (first <= faces.target) & (faces.target < last)
    for first, last in ((0, 64), (64, 112), (112, 128))
)
labeled = ours & (faces.target < 74)

# %%
# The teacher
# -----------
#
# For real photos, take a pretrained network, such as
# ``FaceNetEmbedder(weights="face-reidentification-retail-0095")``. It needs no fitting.

from skface import FaceNetEmbedder

teacher = FaceNetEmbedder("small_resnet", None, max_epochs=18, random_state=0)
teacher.fit(faces.data[theirs], faces.target[theirs])

# %%
# The student
# -----------
#
# A ``FrozenEstimator`` keeps the teacher fitted when the student is cloned, as cross-validation
# does.

from sklearn.frozen import FrozenEstimator
from torch import nn

from skface import DistilledEmbedder
from skface.nn.augment import Augmentation


def small_network():
    """Build a network of 20 thousand parameters."""
    layers, n_in = [], 3
    for n_out in (12, 24, 48):
        layers += [
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.PReLU(n_out),
        ]
        n_in = n_out
    pool = [nn.Conv2d(48, 48, 4, groups=48, bias=False), nn.Flatten(), nn.BatchNorm1d(48)]
    return nn.Sequential(*layers, *pool, nn.Linear(48, 128, bias=False))


student = DistilledEmbedder(
    FrozenEstimator(teacher),
    small_network,
    augment=Augmentation(blend=0.5, erase=0),
    max_epochs=60,
    learning_rate=3e-3,
    random_state=0,
)
student.fit(faces.data[ours])  # without labels
alone = FaceNetEmbedder(small_network, None, max_epochs=60, learning_rate=3e-3, random_state=0)
alone.fit(faces.data[labeled], faces.target[labeled])

# %%
# Results
# -------
#
# All pairs of the test people, whom no network was trained on.

import time

from skface.metrics import equal_error_rate

left, right = np.triu_indices(test.sum(), 1)
same = faces.target[test][left] == faces.target[test][right]


def describe(embedder):
    """Return equal error rate, number of parameters and faces per second of an embedder."""
    vectors = embedder.transform(faces.data[test])
    start = time.perf_counter()
    embedder.transform(faces.data)
    speed = len(faces.data) / (time.perf_counter() - start)
    scores = np.einsum("ij,ij->i", vectors[left], vectors[right])
    size = sum(weights.size for weights in embedder.weights_.values())
    return 100 * equal_error_rate(same, scores).rate, size, speed


embedders = {"teacher": teacher, "student": student, "the same, from labels": alone}
results = {name: describe(embedder) for name, embedder in embedders.items()}
print(f"{'':24}{'EER (%)':>10}{'weights':>12}{'faces/s':>10}")
for name, (error, size, speed) in results.items():
    print(f"{name:24}{error:10.2f}{size:12,}{speed:10.0f}")

# %%
# Training
# --------
#
# ``history_`` has the mean cosine between student and teacher in every epoch, on augmented faces.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
axes[0].plot(student.history_["epoch"], student.history_["cosine"])
axes[0].set(xlabel="epoch", ylabel="cosine to the teacher", title="Training")
for name, (error, size, _) in results.items():
    axes[1].plot(size, error, "o", label=name)
axes[1].set(xscale="log", xlabel="number of weights", ylabel="EER (%)", title="Test people")
axes[1].set(xlim=(1e4, 1e6), ylim=(0, None))
axes[1].legend()
figure.savefig("distillation.png", dpi=100)
