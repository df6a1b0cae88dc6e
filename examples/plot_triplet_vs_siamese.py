"""
Do triplets separate better than pairs?
=======================================

FaceNet is said to separate people better than a Siamese network, because a triplet shows the same
person and a different one at once. Here one network is trained in three ways, on the same batches
of the same faces, and judged by people whom it has never seen.
"""

# %%
# Faces
# -----
#
# Cartoon faces by default, new people for each repetition. A folder with one folder of aligned
# faces per person takes their place; each repetition then draws who trains and who tests.

import argparse
from pathlib import Path

import numpy as np

from skface import load_face_folder, make_faces

parser = argparse.ArgumentParser(description="Compare triplet loss with Siamese networks.")
parser.add_argument("folder", nargs="?", help="one folder of faces per person; default: cartoons")
parser.add_argument("--image-shape", nargs=2, type=int, help="height and width to resize faces to")
parser.add_argument("--n-photos", type=int, default=60, help="most photos of a person")
parser.add_argument("--n-test", type=int, default=16, help="people to test on")
parser.add_argument("--seeds", type=int, default=3, help="repetitions, two or more")
parser.add_argument("--epochs", type=int, default=18, help="passes over the training faces")
parser.add_argument("--jobs", type=int, default=-1, help="networks that train side by side")
options = parser.parse_args()

if options.folder:
    faces = load_face_folder(options.folder, min_images_per_identity=2)
    place = np.arange(len(faces.target)) - np.searchsorted(faces.target, faces.target)
    used = place < options.n_photos
    photos, people = faces.data[used], faces.target_names[faces.target[used]].astype(str)
    groups, source = [np.unique(people)] * options.seeds, Path(options.folder).name
else:
    faces = make_faces(48 * options.seeds, 8, 32, difficulty=0.3, random_state=0)
    photos, people = faces.data, np.array([f"person {i}" for i in faces.target])
    groups, source = np.split(people[::8], options.seeds), "cartoon faces"
print(f"{source}: {len(groups[0])} people a repetition, of whom {options.n_test} are the test")


def split(everyone, n_out, seed):
    """Return the photos of all but `n_out` people, and those of these people."""
    out = np.random.default_rng(seed).permutation(everyone)[:n_out]
    tested = np.isin(people, out)
    return np.flatnonzero(np.isin(people, everyone) & ~tested), np.flatnonzero(tested)


# %%
# Three ways to train the network
# -------------------------------
#
# Given faces with identities, all three see the same batches of P people times K photos: the first
# takes triplets from them, the others pairs. Each may choose among as many settings.

from skface import FaceNetEmbedder, SiameseEmbedder, SiameseVerifier

COMMON = {
    "backbone": "small_resnet",
    "weights": None,
    "image_shape": options.image_shape,
    "max_epochs": options.epochs,
    "device": "cpu",
}
SETTINGS = {
    "triplet": [
        FaceNetEmbedder(**COMMON, learning_rate=rate, margin=margin)
        for rate, margin in ((1e-3, 0.2), (3e-3, 0.2), (1e-3, 0.5))
    ],
    "contrastive": [
        SiameseEmbedder(**COMMON, learning_rate=rate, margin=margin)
        for rate, margin in ((1e-3, 1.0), (3e-3, 1.0), (1e-3, 1.4))
    ],
    "classifier": [SiameseVerifier(**COMMON, learning_rate=rate) for rate in (5e-4, 1e-3, 3e-3)],
}


def scores_of(model, rows):
    """Return all pairs of some photos: whether they show one person, and how alike they are."""
    left, right = np.triu_indices(len(rows), 1)
    same = people[rows][left] == people[rows][right]
    if hasattr(model, "decision_function"):
        return same, model.decision_function(photos[rows][np.column_stack([left, right])])
    vectors = model.transform(photos[rows])
    return same, np.einsum("ij,ij->i", vectors[left], vectors[right])  # cosines


# %%
# Choose settings, train, test
# ----------------------------
#
# In every repetition a quarter of the training people chooses each method's setting. Then the
# chosen one is trained on all of them, and the test people, who had no say in anything, judge it.

from joblib import Parallel, delayed
from sklearn.base import clone

from skface.metrics import d_prime, equal_error_rate, tar_at_far

METRICS = {
    "EER (%)": lambda same, score: 100 * equal_error_rate(same, score).rate,
    "TAR@FAR=1e-2 (%)": lambda same, score: 100 * tar_at_far(same, score, far=1e-2),
    "d'": d_prime,
}


def train_and_score(model, train, test, seed):
    """Train a copy of a model; return it with the scores of the test people."""
    model = clone(model).set_params(random_state=seed).fit(photos[train], people[train])
    return model, scores_of(model, test)


def choose(models, train, seed):
    """Return the setting that is best on a quarter of the training people."""
    everyone = np.unique(people[train])
    learn, check = split(everyone, max(2, len(everyone) // 4), seed)
    errors = [
        equal_error_rate(*train_and_score(model, learn, check, seed)[1]).rate for model in models
    ]
    return models[np.argmin(errors)]


def repeat(method, seed):
    """Return the model of a method in a repetition, and its test scores."""
    train, test = split(groups[seed], options.n_test, seed)
    return train_and_score(choose(SETTINGS[method], train, seed), train, test, seed)


tasks = [(method, seed) for seed in range(options.seeds) for method in SETTINGS]
outcomes = dict(
    zip(tasks, Parallel(options.jobs)(delayed(repeat)(*task) for task in tasks), strict=True)
)
for (method, seed), (model, _) in outcomes.items():
    margin = "" if method == "classifier" else f", margin {model.margin:g}"
    print(f"repetition {seed}, {method}: learning rate {model.learning_rate:g}{margin}")
results = {
    (method, name): np.array([metric(*outcomes[method, seed][1]) for seed in range(options.seeds)])
    for method in SETTINGS
    for name, metric in METRICS.items()
}

# %%
# What came out
# -------------
#
# The methods share the people of a repetition, so their differences are more certain than their
# values. Repetitions on one folder share people as well, for which the intervals are widened [1]_.
#
# .. [1] C. Nadeau, Y. Bengio. Inference for the Generalization Error. Machine Learning 52, 2003.

from scipy.stats import t

n_train = len(groups[0]) - options.n_test
overlap = options.n_test / n_train if options.folder else 0


def mean_and_margin(values):
    """Return the mean over repetitions and half its 95 % interval."""
    error = np.sqrt((1 / len(values) + overlap) * np.var(values, ddof=1))
    return np.mean(values), t.ppf(0.975, len(values) - 1) * error


def cell(values, sign=""):
    """Write a mean with half its interval."""
    mean, margin = mean_and_margin(values)
    return f"{mean:{sign}.2f} +- {margin:.2f}"


print(f"\nmeans of {options.seeds} repetitions +- half the 95 % interval, on people never seen\n")
print(f"{'':24}" + "".join(f"{name:>20}" for name in METRICS))
for method in SETTINGS:
    print(f"{method:24}" + "".join(f"{cell(results[method, name]):>20}" for name in METRICS))

verdicts = []
for rival in ("contrastive", "classifier"):
    found = {"better": [], "worse": [], "not told apart": []}
    cells = []
    for name in METRICS:
        difference = results["triplet", name] - results[rival, name]
        cells.append(cell(difference, "+"))
        mean, margin = mean_and_margin(-difference if name == "EER (%)" else difference)
        outcome = "better" if mean > margin else "worse" if mean < -margin else "not told apart"
        found[outcome].append(name)
    print(f"{f'triplet - {rival}':24}" + "".join(f"{text:>20}" for text in cells))
    if found["not told apart"] == list(METRICS):
        verdict = "is neither confirmed nor refuted"
    elif found["better"] and not found["worse"]:
        verdict = "holds in part" if found["not told apart"] else "holds"
    else:
        verdict = "does not hold"
    listed = "; ".join(
        f"{outcome} by {', '.join(names)}" for outcome, names in found.items() if names
    )
    verdicts.append(f"Against {rival}, the claim {verdict} on these faces: triplet is {listed}.")
print("\n" + "\n".join(verdicts))

# %%
# How it looks
# ------------
#
# The first repetition: a map of some test people, and the scores of all pairs of test people. The
# classifier keeps its vectors to itself, so an embedder takes over its weights.

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
from sklearn.manifold import TSNE

from skface.plotting import EmbeddingMapDisplay, ScoreDistributionDisplay


def embed(model, rows):
    """Return the vectors that a trained model turns photos into."""
    if isinstance(model, SiameseVerifier):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "weights.pt"
            torch.save({name: torch.tensor(w) for name, w in model.weights_.items()}, file)
            settings = {**COMMON, "weights": file, "image_shape": model.input_shape_[1:]}
            model = FaceNetEmbedder(**settings).fit(photos[rows])
    return model.transform(photos[rows])


_, test = split(groups[0], options.n_test, seed=0)
shown = test[np.isin(people[test], np.unique(people[test])[:8])]
figure, axes = plt.subplots(2, 3, figsize=(15, 9), layout="constrained")
for method, (above, below) in zip(SETTINGS, axes.T, strict=True):
    model, (same, score) = outcomes[method, 0]
    EmbeddingMapDisplay.from_embeddings(
        embed(model, shown), people[shown], projection=TSNE(random_state=0), ax=above
    )
    ScoreDistributionDisplay.from_predictions(same, score, ax=below)
    above.set_title(f"{method}: EER {cell(results[method, 'EER (%)']).replace('+-', '±')} %")
    below.set_xlabel("log-odds of one person" if method == "classifier" else "cosine")
figure.suptitle(
    f"People never seen in training, {source}; EER: mean of "
    f"{options.seeds} repetitions ± half the 95 % interval"
)
figure.savefig("triplet_vs_siamese.png", dpi=100)
