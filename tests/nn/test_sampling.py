"""Properties of P x K batches and of batches of pairs."""

from collections import Counter

import numpy as np
import pytest
import torch

from skface.nn.sampling import IdentitySampler, PairSampler


def epoch_rows(sampler, epoch):
    return np.concatenate([batch.rows for batch in sampler.batches(epoch)])


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
        for rows, _ in batches:
            assert len(set(rows.tolist())) == len(rows) <= n_identities * n_images
            shown = Counter(labels[rows].tolist())
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
    assert [len(batch.rows) for batch in sampler.batches(0)] == [12, 12]


def test_an_epoch_shows_every_image_once_where_sizes_divide():
    sampler = IdentitySampler(make_labels([6] * 8), 4, 3, seed=0)
    rows = epoch_rows(sampler, 0)
    assert sorted(rows.tolist()) == list(range(48))


def test_targets_number_the_sorted_identities_singletons_included():
    labels = make_labels([4] * 6 + [1] * 5)
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    names = sorted(set(labels.tolist()))
    assert sampler.n_identities == len(names) == 11
    seen = set()
    for rows, targets in sampler.batches(0):
        assert targets.dtype == torch.int64
        assert [names[code] for code in targets.tolist()] == labels[rows].tolist()
        seen.update(targets.tolist())
    assert seen == set(range(11))


def test_singletons_take_turns_as_negatives():
    labels = make_labels([4] * 12 + [1] * 16)
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    rows = epoch_rows(sampler, 0)
    counts = Counter(labels.tolist())
    singles = [row for row in rows.tolist() if counts[labels[row]] == 1]
    assert len(singles) == len(set(singles)) == 16


def test_images_are_drawn_anew_each_epoch_until_all_are_seen():
    labels = make_labels([20, 20])
    sampler = IdentitySampler(labels, 2, 4, seed=0)
    seen = {int(row) for epoch in range(60) for row in epoch_rows(sampler, epoch)}
    assert seen == set(range(40))


def test_an_epoch_depends_on_seed_and_number_alone():
    labels = make_labels([5] * 10 + [1] * 5)

    def rows(seed, epoch):
        return epoch_rows(IdentitySampler(labels, 4, 3, seed), epoch).tolist()

    sampler = IdentitySampler(labels, 4, 3, seed=3)
    for _ in range(3):
        assert epoch_rows(sampler, 7).tolist() == rows(3, 7)
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


@pytest.mark.parametrize("name", ["n_identities_per_batch", "n_images_per_identity"])
def test_sizes_below_two_are_refused(name):
    sizes = {"n_identities_per_batch": 4, "n_images_per_identity": 4, name: 1}
    with pytest.raises(ValueError, match=f"{name}=1 must be at least 2"):
        IdentitySampler(make_labels([3, 3]), **sizes, seed=0)


def make_pairs(n_genuine, n_impostor, n_faces=30, seed=0):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(n_faces, size=(2, n_genuine + n_impostor))
    same = rng.permutation(np.repeat([True, False], [n_genuine, n_impostor]))
    return left, right, same


def dealt_pairs(sampler, epoch):
    """Batches of (left, right, same) as faces, looked up position by position."""
    return [
        [
            (int(rows[i]), int(rows[j]), same)
            for i, j, same in zip(*(part.tolist() for part in pairs), strict=True)
        ]
        for rows, pairs in sampler.batches(epoch)
    ]


@pytest.mark.parametrize(
    ("n_genuine", "n_impostor", "n_pairs"),
    [(20, 20, 8), (20, 21, 8), (100, 7, 16), (7, 100, 16), (2, 90, 10), (1, 1, 2), (5, 5, 100)],
)
def test_pairs_come_once_per_epoch_in_even_batches_of_both_kinds(n_genuine, n_impostor, n_pairs):
    given = make_pairs(n_genuine, n_impostor)
    sampler = PairSampler(*given, n_pairs, seed=1)
    for epoch in range(3):
        batches = dealt_pairs(sampler, epoch)
        assert len(batches) == len(sampler) == int(np.ceil((n_genuine + n_impostor) / n_pairs))
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= n_pairs
        assert max(sizes) - min(sizes) <= 1
        counts = [sum(same for *_, same in batch) for batch in batches]
        assert max(counts) - min(counts) <= 1
        if min(n_genuine, n_impostor) >= len(sampler):
            assert all(0 < n < size for n, size in zip(counts, sizes, strict=True))
        everything = [pair for batch in batches for pair in batch]
        assert Counter(everything) == Counter(zip(*(part.tolist() for part in given), strict=True))


def test_a_batch_of_pairs_asks_for_each_of_its_faces_once():
    sampler = PairSampler(*make_pairs(40, 40, n_faces=12), 16, seed=0)
    for rows, pairs in sampler.batches(0):
        assert len(set(rows.tolist())) == len(rows) <= 12
        assert set(pairs.left.tolist()) | set(pairs.right.tolist()) == set(range(len(rows)))


def test_batches_with_the_rare_kind_come_anywhere_in_an_epoch():
    sampler = PairSampler(*make_pairs(1, 39), 10, seed=0)
    places = set()
    for epoch in range(40):
        batches = dealt_pairs(sampler, epoch)
        places.add([any(same for *_, same in batch) for batch in batches].index(True))
    assert places == {0, 1, 2, 3}


def test_an_epoch_of_pairs_depends_on_seed_and_number_alone():
    pairs = make_pairs(30, 30)
    sampler = PairSampler(*pairs, 8, seed=3)
    for _ in range(2):
        assert dealt_pairs(sampler, 7) == dealt_pairs(PairSampler(*pairs, 8, seed=3), 7)
    assert dealt_pairs(sampler, 7) != dealt_pairs(sampler, 8)
    assert dealt_pairs(sampler, 7) != dealt_pairs(PairSampler(*pairs, 8, seed=4), 7)


@pytest.mark.parametrize(
    ("same", "message"),
    [
        ([True] * 3, r"of the 3 pairs given 3 show one person"),
        ([0] * 3, r"of the 3 pairs given 0 show one person and the others two\. Add pairs"),
    ],
)
def test_pairs_of_one_kind_are_refused_with_counts_and_a_way_out(same, message):
    with pytest.raises(ValueError, match=message):
        PairSampler([0, 1, 2], [3, 4, 5], same, 4, seed=0)


def test_pairs_of_differing_length_are_refused():
    with pytest.raises(ValueError, match="left, right and same hold 2, 2 and 3 values"):
        PairSampler([0, 1], [2, 3], [True, False, True], 4, seed=0)


def test_batches_of_one_pair_are_refused():
    with pytest.raises(ValueError, match="n_pairs=1 must be at least 2"):
        PairSampler([0, 1], [2, 3], [True, False], 1, seed=0)
