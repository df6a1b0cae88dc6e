"""Displays of face verification, beside those of scikit-learn.

They follow the conventions of scikit-learn: ``from_estimator`` and ``from_predictions`` compute and
draw, the display stores the numbers, and ``plot`` draws them again on other axes. They share these
conventions with :mod:`skface.metrics`:

- A pair is accepted if and only if ``score >= threshold``.
- The larger of the two labels marks genuine pairs (same person), the smaller one impostor pairs.
- A score of NaN marks a failed comparison. The curves and the rates FMR and FNMR leave failures
  out; the legend counts them. Rates that count failures as rejected are called FAR and FRR.

matplotlib (``pip install 'skface[plot]'``) is imported when something is drawn.
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
