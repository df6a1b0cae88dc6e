"""Properties of P x K batches."""

from collections import Counter

import numpy as np
import pytest

from skface.nn.sampling import IdentitySampler


def make_labels(counts):
    labels = np.repeat([f"person {i}" for i in range(len(counts))], counts)
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize(
    "counts",
    [
        [5] * 10,
        [5] * 11,
        [2, 2],
        [2, 1],
        [3] + [1] * 30,
        [2, 3, 9, 1, 1, 1, 2, 40],
        [1] * 50 + [2] * 9,
    ],
)
@pytest.mark.parametrize(("n_identities", "n_images"), [(2, 2), (3, 4), (16, 4)])
def test_every_batch_can_train_and_keeps_to_its_size(counts, n_identities, n_images):
    labels = make_labels(counts)
    sampler = IdentitySampler(labels, n_identities, n_images, seed=1)
    per_identity = Counter(labels.tolist())
    for epoch in range(5):
        batches = list(sampler.batches(epoch))
        assert len(batches) == len(sampler)
        visits = Counter()
        for batch in batches:
            assert len(set(batch.tolist())) == len(batch) <= n_identities * n_images
            shown = Counter(labels[batch].tolist())
            assert len(shown) >= 2
            repeated = {name: n for name, n in shown.items() if per_identity[name] > 1}
            assert repeated
            assert len(repeated) <= n_identities
            assert all(n == min(n_images, per_identity[name]) for name, n in repeated.items())
            visits.update(repeated.keys())
        assert set(visits) == {name for name, n in per_identity.items() if n > 1}
        # Only the last batch of a round may show an identity for the second time.
        sizes = [n for n in counts if n > 1]
        n_rounds = max(1, round(sum(sizes) / (len(sizes) * n_images)))
        assert max(visits.values()) <= 2 * n_rounds
        assert sum(n - n_rounds for n in visits.values()) < n_rounds * n_identities


def test_full_identities_make_batches_of_p_times_k():
    sampler = IdentitySampler(make_labels([3] * 8), 4, 3, seed=0)
    assert [len(batch) for batch in sampler.batches(0)] == [12, 12]


def test_an_epoch_shows_every_image_once_where_sizes_divide():
    sampler = IdentitySampler(make_labels([6] * 8), 4, 3, seed=0)
    rows = np.concatenate(list(sampler.batches(0)))
    assert sorted(rows.tolist()) == list(range(48))


def test_singletons_take_turns_as_negatives():
    labels = make_labels([4] * 12 + [1] * 16)
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    rows = np.concatenate(list(sampler.batches(0)))
    counts = Counter(labels.tolist())
    singles = [row for row in rows.tolist() if counts[labels[row]] == 1]
    assert len(singles) == len(set(singles)) == 16


def test_images_are_drawn_anew_each_epoch_until_all_are_seen():
    labels = make_labels([20, 20])
    sampler = IdentitySampler(labels, 2, 4, seed=0)
    seen = {int(row) for epoch in range(60) for batch in sampler.batches(epoch) for row in batch}
    assert seen == set(range(40))


def test_an_epoch_depends_on_seed_and_number_alone():
    labels = make_labels([5] * 10 + [1] * 5)

    def rows(seed, epoch):
        return np.concatenate(list(IdentitySampler(labels, 4, 3, seed).batches(epoch))).tolist()

    sampler = IdentitySampler(labels, 4, 3, seed=3)
    for _ in range(3):
        assert np.concatenate(list(sampler.batches(7))).tolist() == rows(3, 7)
    assert rows(3, 7) != rows(3, 8)
    assert rows(3, 7) != rows(4, 7)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"at least two identities.*0 image"),
        (["ann"] * 7, r"the 7 image\(s\) given show 1\. Add images of other people"),
        (range(12), r"the 12 images given show 12 identities with one image each"),
    ],
)
def test_labels_without_triplets_are_refused_with_counts_and_a_way_out(labels, message):
    with pytest.raises(ValueError, match=message):
        IdentitySampler(list(labels), 4, 4, seed=0)


@pytest.mark.parametrize("name", ["n_identities", "n_images"])
def test_sizes_below_two_are_refused(name):
    sizes = {"n_identities": 4, "n_images": 4, name: 1}
    with pytest.raises(ValueError, match=f"{name}=1 must be at least 2"):
        IdentitySampler(make_labels([3, 3]), **sizes, seed=0)
