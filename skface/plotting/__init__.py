"""Displays of face verification that scikit-learn lacks.

They follow its conventions: ``from_estimator`` and ``from_predictions`` compute and draw, the
display stores the numbers, ``plot`` draws them again on other axes. A pair is accepted if and only
if its score reaches the threshold, the larger of the two labels means "same person", and a score of
NaN is a failed comparison, which is counted and named. matplotlib (``pip install 'skface[plot]'``)
is imported when something is drawn.
"""

from skface.plotting._embedding_map import EmbeddingMapDisplay
from skface.plotting._error_tradeoff import ErrorTradeoffDisplay
from skface.plotting._mistakes import MistakesDisplay
from skface.plotting._score_distribution import ScoreDistributionDisplay
from skface.plotting._tippett import TippettDisplay

__all__ = [
    "EmbeddingMapDisplay",
    "ErrorTradeoffDisplay",
    "MistakesDisplay",
    "ScoreDistributionDisplay",
    "TippettDisplay",
]
