"""Splitters that put no person into both training and test, cross-validation, leakage checks.

The splitters take identities as `groups`. :func:`describe_folds` and :func:`audit_leakage` count
the people and photos that training and test share. :func:`cross_validate_pairs` and
:func:`evaluate_lfw` evaluate a verifier fold by fold.
"""

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
