"""
Displays of a verifier
======================

Five Displays: histograms of the scores with the threshold, the DET curve, likelihood ratios, the
worst mistakes, and a map of the embeddings.
"""

# %%
# Fit a verifier
# --------------
#
# Fifty people train the embedding and the threshold, and thirty other people are the test.
# Principal components and linear discriminants are quick to fit; a network can take their place.
# Two test photos are all NaN, like faces that an aligner did not find.

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from skface import PairVerifier, PerFace, make_faces, make_pairs

faces = make_faces(n_identities=80, n_images_per_identity=8, image_size=48, random_state=0)
photos, people = faces.images / 255, np.char.add("person ", faces.target.astype(str))
train, test = faces.target < 50, faces.target >= 50
photos[[-1, -10]] = np.nan


def draw_pairs(group, random_state):
    """Return pairs of photos, whether they show the same person, and who is on them."""
    pairs = make_pairs(people[group], n_impostor=2000, random_state=random_state)
    return photos[group][pairs.indices], pairs.target, pairs.identities


train_pairs, train_same, _ = draw_pairs(train, random_state=1)
test_pairs, test_same, test_people = draw_pairs(test, random_state=2)

pipe = make_pipeline(
    PerFace(make_pipeline(PCA(80, random_state=0), LinearDiscriminantAnalysis(n_components=20))),
    PairVerifier(criterion="far", far=0.01),
)
pipe.fit(train_pairs, train_same)

# %%
# Distribution of the scores
# --------------------------
#
# The threshold is an edge of the bins, so the bins to its right hold the accepted pairs. Failed
# comparisons are not drawn; the legend counts them. On a logarithmic scale a single pair is
# visible.

from skface.plotting import ScoreDistributionDisplay

display = ScoreDistributionDisplay.from_estimator(pipe, test_pairs, test_same, log=True)
display.figure_.savefig("score_distribution.png", dpi=100)

# %%
# FMR against FNMR
# ----------------
#
# The square marks the threshold of the verifier. The diamond marks the smallest threshold with an
# FMR of at most 1 % on *this* set. With identities the band accounts for pairs that share people. A
# second curve on the same axes shows the same verifier without the discriminants.

from skface.plotting import ErrorTradeoffDisplay

display = ErrorTradeoffDisplay.from_estimator(
    pipe,
    test_pairs,
    test_same,
    far=0.01,
    identities=test_people,
    random_state=0,
    name="discriminants",
)
pixels = make_pipeline(PerFace(PCA(80, random_state=0)), PairVerifier())
pixels.fit(train_pairs, train_same)
ErrorTradeoffDisplay.from_estimator(
    pixels, test_pairs, test_same, confidence=None, name="components", ax=display.ax_
)
display.figure_.savefig("error_tradeoff.png", dpi=100)

# %%
# Likelihood ratios
# -----------------
#
# A likelihood ratio of 100 should be 100 times as frequent among genuine pairs as among impostor
# pairs. Cllr measures how well that holds: 0 is perfect, and 1 is as good as no evidence.

from skface.plotting import TippettDisplay

display = TippettDisplay.from_estimator(pipe, test_pairs, test_same)
display.figure_.savefig("tippett.png", dpi=100)

# %%
# The worst mistakes
# ------------------
#
# Look at the photos before you blame the threshold: real data have wrong labels and faces of
# bystanders.

from skface.plotting import MistakesDisplay

display = MistakesDisplay.from_estimator(pipe, test_pairs, test_same, identities=test_people)
display.figure_.savefig("mistakes.png", dpi=100)

# %%
# Embeddings in the plane
# -----------------------
#
# The steps before the verifier also embed single faces. Shapes and colors stand for people.

from skface.plotting import EmbeddingMapDisplay

some = np.flatnonzero(test)[:80]
display = EmbeddingMapDisplay.from_estimator(pipe[:-1], photos[some], people[some], n_thumbnails=8)
display.figure_.savefig("embedding_map.png", dpi=100)
