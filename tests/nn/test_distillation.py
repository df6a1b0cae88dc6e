"""Distillation: its loss, its sampler, and the images that teacher and network embed."""

import numpy as np
import pytest
import torch
from torch import nn

from skface.nn.augment import Augmentation
from skface.nn.distillation import DistillationTargets
from skface.nn.objectives import DistillationLoss
from skface.nn.options import Options
from skface.nn.sampling import FaceSampler
from skface.nn.training import Trainer


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_loss_is_what_a_plain_loop_says():
    rng = np.random.default_rng(0)
    z, t = unit(rng.normal(size=(7, 5))), unit(rng.normal(size=(7, 5)))
    cosines, squares = [], []
    for i in range(7):
        cosines.append(sum(z[i, k] * t[i, k] for k in range(5)))
        for j in range(7):
            ours = sum(z[i, k] * z[j, k] for k in range(5))
            theirs = sum(t[i, k] * t[j, k] for k in range(5))
            squares.append((ours - theirs) ** 2)
    loss, measures = DistillationLoss(2.5)(torch.tensor(z), torch.tensor(t), torch.Generator())
    assert loss.item() == pytest.approx(1 - np.mean(cosines) + 2.5 * np.mean(squares))
    assert measures["cosine"].item() == pytest.approx(np.mean(cosines))


def test_sampler_deals_every_face_once_with_its_target():
    targets = np.arange(22.0).reshape(11, 2)
    sampler = FaceSampler(11, 4, seed=3, targets=targets)
    batches = list(sampler.batches(epoch=0))
    assert [len(batch.rows) for batch in batches] == [4, 4, 3]
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows) == list(range(11))
    np.testing.assert_array_equal(torch.cat([b.targets for b in batches]), targets[rows])
    again, other = (np.concatenate([b.rows for b in sampler.batches(e)]) for e in (0, 1))
    assert (again == rows).all()
    assert not (other == rows).all()


@pytest.mark.parametrize(
    "given", [{"n_faces": 1, "batch_size": 4}, {"n_faces": 5, "batch_size": 3}]
)
def test_sampler_refuses_batches_of_one(given):
    with pytest.raises(ValueError, match="must be at least"):
        FaceSampler(**given, seed=0)


def test_teacher_and_network_embed_the_same_blends():
    """The trainer blends neighbors in the batch."""
    rows = torch.arange(8.0)[:, None, None, None].expand(8, 1, 2, 2) / 8
    augmentation = Augmentation(
        flip=0, shift=0, zoom=0, rotation=0, brightness=0, contrast=0, blur=0, erase=0, blend=1
    )
    seen, inputs = [], []

    def targets(images):
        seen.append(images.clone())
        return torch.nn.functional.normalize(images.flatten(1) + 1, dim=1)

    def network_input(images):
        inputs.append(images.clone())
        return images

    trainer = Trainer(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4)),
        DistillationLoss(),
        FaceSampler(8, 8, seed=0),
        lambda chosen: rows[chosen],
        Options(max_epochs=1, augmentation=augmentation),
        distillation=DistillationTargets(targets, network_input),
    )
    trainer.run()
    assert torch.equal(seen[0], inputs[0])
    [batch] = FaceSampler(8, 8, seed=0).batches(0)
    for blended, row, partner in zip(seen[0], batch.rows, np.roll(batch.rows, 1), strict=True):
        low, high = sorted([row / 8, partner / 8])
        assert low - 1e-6 <= blended.mean() <= high + 1e-6
    assert not torch.allclose(seen[0], rows[batch.rows])
