"""
Folds that leak people
======================

Ordinary splitters put people of the test pairs into training too. This experiment measures what
that does to the accuracy that cross-validation estimates, and to the model that it picks. The truth
is the accuracy on people who are in no fold.
"""

# %%
# Photos
# ------
#
# ``SKFACE_PHOTOS`` may name a folder with one folder per person, faces in the middle of the photos,
# as Labeled Faces in the Wild has them. Without photos the experiment runs on cartoon faces.

import os
from pathlib import Path

import numpy as np
from PIL import Image

from skface import load_face_folder, make_faces

N_PHOTOS = 6  # of each person


def middle_of(path):
    """Return the middle half of a photo, in gray, 32 x 32 pixels."""
    with Image.open(path) as photo:
        width, height = photo.size
        box = (width // 4, height // 4, width - width // 4, height - height // 4)
        return np.asarray(photo.convert("L").resize((32, 32), box=box, reducing_gap=3))


folder = Path(os.environ.get("SKFACE_PHOTOS", "../shared/data/lfw_home/lfw_funneled"))
if folder.is_dir():
    photos = load_face_folder(folder, min_images_per_identity=N_PHOTOS)
    of_person = [np.flatnonzero(photos.target == i)[:N_PHOTOS] for i in np.unique(photos.target)]
    faces = np.stack([middle_of(path) for path in photos.data[np.concatenate(of_person)]])
    source = f"photos of {folder.name}"
else:
    faces = make_faces(120, N_PHOTOS, 32, random_state=0).data.mean(axis=-1).astype(np.uint8)
    source = "cartoon faces"
people = np.repeat(np.arange(len(faces) // N_PHOTOS), N_PHOTOS)
print(f"{len(faces)} {source}, {people[-1] + 1} people\n")

# %%
# A learner that remembers people
# -------------------------------
#
# Fisherfaces: a PCA of the pixels, then linear discriminants between the people of the training
# pairs. :class:`skface.PerFace` recovers the identities from the genuine pairs. With more
# components the learner remembers those people better, which does not help with others.

from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from skface import PairVerifier, PerFace


def fisherfaces(n_components):
    """Build the learner."""
    return make_pipeline(
        PerFace(make_pipeline(PCA(n_components, random_state=0), LinearDiscriminantAnalysis())),
        PairVerifier(criterion="balanced_accuracy"),
    )


# %%
# Two splitters
# -------------
#
# Each draw takes 40 people for cross-validation and 40 others, the strangers, for the truth.

from sklearn.model_selection import KFold

from skface import IdentityKFold, cross_validate_pairs, describe_folds, make_pairs

N_PEOPLE = min(40, (people[-1] + 1) // 2)
CUTS = {"KFold": KFold(5), "IdentityKFold": IdentityKFold(5)}


def draw(seed):
    """Return pairs, labels and identities of some people, and pairs and labels of others."""
    order = np.random.default_rng(seed).permutation(people[-1] + 1)
    drawn = []
    for group in (order[:N_PEOPLE], order[N_PEOPLE : 2 * N_PEOPLE]):
        rows = np.flatnonzero(np.isin(people, group))
        pairs = make_pairs(people[rows], n_impostor=1500, random_state=seed)
        drawn.append((faces[rows][pairs.indices], pairs.target, pairs.identities))
    return drawn


(pairs, same, identities), _ = draw(seed=0)
for name, cv in CUTS.items():
    print(f"{name}\n{describe_folds(cv, pairs, same, identities)}\n")

# %%
# Estimates and truth
# -------------------
#
# Balanced accuracy: the mean of the shares of genuine and of impostor pairs that are decided right.
# 50 % is chance.

from joblib import Parallel, delayed
from scipy.stats import t
from sklearn.metrics import balanced_accuracy_score

N_DRAWS = 8
N_COMPONENTS = [n for n in (5, 10, 20, 40, 80, 160) if n < 0.7 * N_PEOPLE * N_PHOTOS]


def measure(seed):
    """Return balanced accuracies: by each cut and on strangers, for each number of components."""
    (pairs, same, identities), (new_pairs, new_same, _) = draw(seed)
    accuracies = []
    for n_components in N_COMPONENTS:
        learner = fisherfaces(n_components)
        for cv in CUTS.values():
            report = cross_validate_pairs(learner, pairs, same, cv=cv, groups=identities)
            accuracies.append(1 - (report.mean["far"] + report.mean["frr"]) / 2)
        learner.fit(pairs, same)
        accuracies.append(balanced_accuracy_score(new_same, learner.predict(new_pairs)))
    return np.reshape(accuracies, (len(N_COMPONENTS), 3))


def mean_and_margin(values):
    """Return the mean over draws and half its 95 % interval."""
    error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    return np.mean(values, axis=0), t.ppf(0.975, len(values) - 1) * error


results = 100 * np.array(Parallel(n_jobs=-1)(delayed(measure)(seed) for seed in range(N_DRAWS)))
means, margins = mean_and_margin(results)

print(f"balanced accuracy in %, mean of {N_DRAWS} draws of people +- half the 95 % interval")
print(f"{'components':10}{'KFold':>14}{'IdentityKFold':>16}{'strangers':>14}{'KFold - truth':>16}")
for i, n_components in enumerate(N_COMPONENTS):
    excess, margin = mean_and_margin(results[:, i, 0] - results[:, i, 2])
    cells = [f"{mean:.1f} +- {half:.1f}" for mean, half in zip(means[i], margins[i], strict=True)]
    cells.append(f"{excess:+.1f} +- {margin:.1f}")
    print(f"{n_components:<10}{cells[0]:>14}{cells[1]:>16}{cells[2]:>14}{cells[3]:>16}")

for place, name in enumerate(CUTS):
    picked = results[:, :, place].argmax(axis=1)
    estimated = results[np.arange(N_DRAWS), picked, place]
    kept = results[np.arange(N_DRAWS), picked, 2]
    print(
        f"{name} picks {np.median(np.take(N_COMPONENTS, picked)):g} components (median), estimates "
        f"{estimated.mean():.1f} % and gets {kept.mean():.1f} % on strangers."
    )

# %%
# The picture
# -----------
#
# IdentityKFold follows the truth. With many components it is below, because each fold trains on
# four fifths of the people. KFold rates the learner best that is worst with new people.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
for place, (label, style) in enumerate(
    (
        ("KFold: test people are in training", {"color": "#E69F00", "marker": "o"}),
        ("IdentityKFold: they are not", {"color": "#00436B", "marker": "s"}),
        ("truth: people in no fold", {"color": "black", "marker": "D", "linestyle": "--"}),
    )
):
    mean, margin = means[:, place], margins[:, place]
    axes.plot(N_COMPONENTS, mean, label=label, linewidth=2, **style)
    axes.fill_between(
        N_COMPONENTS, mean - margin, mean + margin, color=style["color"], alpha=0.2, linewidth=0
    )
last = N_COMPONENTS[-1]
axes.annotate("", (last, means[-1, 2]), (last, means[-1, 0]), arrowprops={"arrowstyle": "<->"})
axes.annotate(
    f"{means[-1, 0] - means[-1, 2]:.0f} points\ntoo good",
    (last, means[-1, ::2].mean()),
    xytext=(-8, 0),
    textcoords="offset points",
    ha="right",
    va="center",
)
axes.set(
    title=f"Cross-validation and the truth: {N_PEOPLE} people, {source}",
    xlabel="components that the learner keeps (more: it remembers people better)",
    ylabel="balanced accuracy (%)",
    xscale="log",
    xticks=N_COMPONENTS,
    xticklabels=N_COMPONENTS,
    ylim=(48, 102),
)
axes.text(N_COMPONENTS[0], 50, f"bands: 95 % intervals over {N_DRAWS} draws of people", va="center")
axes.minorticks_off()
axes.spines[["top", "right"]].set_visible(False)
axes.legend(loc="upper left", frameon=False)
figure.savefig("leaking_folds.png", dpi=120)
