"""Files of weights and detectors are read once per process."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skface import (
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    PerFace,
)


def test_given_weights_and_detectors_are_read_once_while_they_are_unchanged(tmp_path):
    photos = np.zeros((2, 112, 112, 3), dtype=np.uint8)
    source = FaceNetEmbedder().fit(photos)
    path = tmp_path / "own.pt"
    torch.save({name: torch.tensor(w) for name, w in source.weights_.items()}, path)
    embedder = FaceNetEmbedder("iresnet_mini", path).fit(photos)
    name = next(iter(embedder.weights_))
    again = clone(embedder).fit(photos)
    assert again.weights_[name] is embedder.weights_[name]
    assert not again.weights_[name].flags.writeable
    again.weights_.clear()
    assert embedder.weights_
    changed = {name: torch.tensor(w) * 1.5 for name, w in source.weights_.items()}
    torch.save(changed, path)
    other = clone(embedder).fit(photos)
    np.testing.assert_array_equal(other.weights_[name], changed[name])
    assert other.weights_digest_ != embedder.weights_digest_ == source.weights_digest_
    path.unlink()
    with pytest.raises(FileNotFoundError):
        clone(embedder).fit(photos)
    aligner = FaceAligner(detector="skface-detector").fit(photos)
    assert clone(aligner).fit(photos).detector_ is aligner.detector_
    assert not aligner.detector_.flags.writeable


def test_auto_detectors_are_loaded_again_when_another_is_available(
    portraits, no_yunet, shared_weights, tmp_path, monkeypatch
):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(FaceAligner(), cache=cache)
    packaged = clone(per_face).fit(portraits).transformer_
    assert packaged.detector_name_ == "skface-detector"
    assert clone(per_face).fit(portraits).transformer_.detector_ is packaged.detector_
    monkeypatch.setenv("SKFACE_HOME", str(shared_weights))
    yunet = clone(per_face).fit(portraits).transformer_
    assert yunet.detector_name_ == "yunet"
    monkeypatch.setenv("SKFACE_HOME", str(no_yunet))
    again = clone(per_face).fit(portraits)
    assert again.transformer_.detector_name_ == "skface-detector"
    named = PerFace(FaceAligner(detector="skface-detector"), cache=cache).fit(portraits)
    np.testing.assert_array_equal(named.transform(portraits), again.transform(portraits))
    info = cache.info()  # crops depend on the detector, not on the name by which it was chosen
    assert (info.n_transformers, info.misses) == (1, 2)
