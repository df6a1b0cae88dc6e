"""From two face embeddings, or two faces, to a decision: same person or different people.

:class:`PairVerifier` learns a threshold and calibrated probabilities for embeddings.
:class:`SiameseVerifier` trains a network on faces, end to end. Importing this module does not
import torch.
"""

from skface.verification._pair_verifier import PairVerifier
from skface.verification._siamese import SiameseVerifier

__all__ = ["PairVerifier", "SiameseVerifier"]
