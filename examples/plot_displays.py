"""
See what a verifier does
========================

Five pictures that scikit-learn lacks: the scores with the threshold, the trade-off between both
errors, the strength of the evidence, the worst mistakes, and a map of the embeddings.
"""

# %%
# A verifier to look at
# ---------------------
#
# Half of the people train the embedding and the threshold, the other half, whom neither has seen,
# is the test. Principal components and linear discriminants are quick to learn; a network goes
# into the same place. Two of the test photos are all NaN: that is how a face which an aligner did
# not find comes along.

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
# Where the scores lie
# --------------------
#
# The threshold is an edge of the bars, so what stands to its right is what it accepts. Nothing is
# drawn for failed comparisons, but they are counted: they are rejections too. On a logarithmic
# scale a single pair can be seen.

from skface.plotting import ScoreDistributionDisplay

display = ScoreDistributionDisplay.from_estimator(pipe, test_pairs, test_same, log=True)
display.figure_.savefig("score_distribution.png", dpi=100)

# %%
# Which error buys which
# ----------------------
#
# The square marks the threshold of the verifier, the diamond the loosest one that accepts at most
# 1 in 100 pairs of different people of *this* set. Given who is on the photos, the band allows for
# pairs that share people. A second curve on the same axes shows what the discriminants are worth.

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
# How strong the evidence is
# --------------------------
#
# A likelihood ratio of 100 is to be 100 times as frequent among pairs of the same person. Cllr sums
# up how far that can be relied on: 0 is perfect, and 1 is worth nothing.

from skface.plotting import TippettDisplay

display = TippettDisplay.from_estimator(pipe, test_pairs, test_same)
display.figure_.savefig("tippett.png", dpi=100)

# %%
# What goes wrong
# ---------------
#
# Look at the photos before you blame the threshold: among real ones there are wrong labels, and
# faces of bystanders.

from skface.plotting import MistakesDisplay

display = MistakesDisplay.from_estimator(pipe, test_pairs, test_same, identities=test_people)
display.figure_.savefig("mistakes.png", dpi=100)

# %%
# Who is close to whom
# --------------------
#
# The part of the pipeline before the verifier embeds single faces, too. Shapes and colours stand
# for people.

from skface.plotting import EmbeddingMapDisplay

some = np.flatnonzero(test)[:80]
display = EmbeddingMapDisplay.from_estimator(pipe[:-1], photos[some], people[some], n_thumbnails=8)
display.figure_.savefig("embedding_map.png", dpi=100)
