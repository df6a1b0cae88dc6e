"""Splits in which no person of a test row is seen in training, and what tells whether it is so."""

from skface.model_selection._cross_validation import cross_validate_pairs
from skface.model_selection._folds import describe_folds
from skface.model_selection._leakage import audit_leakage
from skface.model_selection._lfw import evaluate_lfw
from skface.model_selection._splitters import (
    IdentityGroupKFold,
    IdentityKFold,
    IdentityShuffleSplit,
    StratifiedIdentityKFold,
)

__all__ = [
    "IdentityGroupKFold",
    "IdentityKFold",
    "IdentityShuffleSplit",
    "StratifiedIdentityKFold",
    "audit_leakage",
    "cross_validate_pairs",
    "describe_folds",
    "evaluate_lfw",
]
