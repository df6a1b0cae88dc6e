"""Rows of X, as faces or pairs, and decoding of their images; no torch."""

from skface._rows.batches import iter_batches
from skface._rows.checking import stat_signature
from skface._rows.collecting import check_images
from skface._rows.decoding import decode, formats
from skface._rows.pairs import check_pair_labels, distinct_indices, identities_from_pairs
from skface._rows.sequences import (
    FileSignature,
    ImageSequence,
    Rows,
    is_missing,
    to_bytes,
    vector_rows,
)
from skface._rows.transformer import RowTransformer

__all__ = [
    "FileSignature",
    "ImageSequence",
    "RowTransformer",
    "Rows",
    "check_images",
    "check_pair_labels",
    "decode",
    "distinct_indices",
    "formats",
    "identities_from_pairs",
    "is_missing",
    "iter_batches",
    "stat_signature",
    "to_bytes",
    "vector_rows",
]
