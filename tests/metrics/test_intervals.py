"""Intervals against scipy, against the exact bootstrap, and by simulating people."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score

from skface.metrics import bootstrap_interval, d_prime, equal_error_rate, rate_interval, tar_at_far


def make_people(rng, n_people, person_effect, n_photos=4):
    """All pairs of people, and of photos of one; people differ in how alike they score."""
    alike, unlike = rng.normal(0, person_effect, (2, n_people))
    left, right = np.triu_indices(n_people, 1)
    twice = np.repeat(np.arange(n_people), n_photos)
    scores = np.r_[alike[left] + alike[right], 2 + 1.4 * unlike[twice]]
    identities = np.c_[np.r_[left, twice], np.r_[right, twice]]
    same = np.repeat([0, 1], [len(left), len(twice)])
    return same, scores + rng.normal(size=len(scores)), identities


def far_and_frr_at(threshold):
    """Make a metric of the two rates at a fixed threshold."""

    def metric(y, s, sample_weight):
        same, accepted = y == 1, s >= threshold
        far = np.average(accepted[~same], weights=sample_weight[~same])
        return far, np.average(~accepted[same], weights=sample_weight[same])

    return metric


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (1, 3000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_is_clopper_pearson(k, n, confidence):
    expected = binomtest(k, n).proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(rate_interval(k, n, confidence), expected, rtol=1e-8)


def test_interval_of_nothing_is_everything():
    assert rate_interval(0, 0) == (0.0, 1.0)


def test_interval_over_people_covers_where_clopper_pearson_does_not():
    n_people, effect, threshold, n_runs = 40, 0.7, 1.5, 120
    truth = (
        norm.sf(threshold / np.sqrt(1 + 2 * effect**2)),
        norm.cdf((threshold - 2) / np.sqrt(1 + (1.4 * effect) ** 2)),
    )
    rng = np.random.default_rng(0)
    covered = {"people": np.zeros(2), "pairs": np.zeros(2)}
    for run in range(n_runs):
        y, s, identities = make_people(rng, n_people, effect)
        metric = far_and_frr_at(threshold)
        over_people = bootstrap_interval(
            metric, y, s, identities, n_resamples=150, random_state=run
        )
        over_pairs = np.transpose(
            [
                rate_interval(np.sum(errors), len(errors))
                for errors in (s[y == 0] >= threshold, s[y == 1] < threshold)
            ]
        )
        for name, (low, high) in (("people", over_people), ("pairs", over_pairs)):
            covered[name] += (low <= truth) & (truth <= high)
    people, pairs = covered["people"] / n_runs, covered["pairs"] / n_runs
    assert np.all(people > 0.88)
    assert pairs[0] < 0.65  # of impostor pairs, each person is in 39
    assert pairs[1] < 0.9


def test_interval_over_people_is_not_too_narrow_without_a_person_effect():
    y, s, identities = make_people(np.random.default_rng(0), 60, 0.0)
    low, high = bootstrap_interval(far_and_frr_at(1.5), y, s, identities, random_state=0)
    errors = s[y == 0] >= 1.5
    exact = np.subtract(*rate_interval(errors.sum(), len(errors))[::-1])
    assert exact < high[0] - low[0] < 2 * exact


def test_ends_are_those_of_the_exact_bootstrap():
    # One pair of photos per person: the number of errors of a resample is binomial.
    n_people, n_errors = 200, 50
    twice = np.arange(n_people)
    identities = np.r_[np.c_[twice, twice], np.c_[twice, np.roll(twice, 1)]]
    y = np.repeat([1, 0], n_people)
    s = np.r_[np.zeros(n_errors), np.ones(n_people - n_errors), np.zeros(n_people)]

    def frr(y, s, sample_weight):
        return far_and_frr_at(0.5)(y, s, sample_weight)[1]

    interval = bootstrap_interval(frr, y, s, identities, n_resamples=4000, random_state=0)
    expected = binom.ppf([0.025, 0.975], n_people, n_errors / n_people) / n_people
    np.testing.assert_allclose(interval, expected, atol=0.0051)
    narrower = bootstrap_interval(
        frr, y, s, identities, confidence=0.5, n_resamples=4000, random_state=0
    )
    expected = binom.ppf([0.25, 0.75], n_people, n_errors / n_people) / n_people
    np.testing.assert_allclose(narrower, expected, atol=0.0051)


def test_weights_are_those_of_people():
    y, s, identities = make_people(np.random.default_rng(0), 8, 1.0, n_photos=1)
    seen = []

    def spy(y_true, y_score, sample_weight):
        seen.append(sample_weight)
        return 0.0

    bootstrap_interval(spy, y, s, identities, n_resamples=20, random_state=0)
    for weight in seen:
        times = weight[y == 1]  # one pair of photos per person, in order
        assert times.sum() == 8
        left, right = identities[y == 0].T
        np.testing.assert_array_equal(weight[y == 0], times[left] * times[right])
    assert len({tuple(weight) for weight in seen}) == 20


def test_any_metric_with_weights():
    y, s, identities = make_people(np.random.default_rng(1), 30, 0.5)
    names = np.array([f"person {i:02}" for i in range(30)])[identities]
    metrics = (roc_auc_score, d_prime, lambda *args, **kw: tar_at_far(*args, 0.1, **kw))
    for metric in metrics:
        low, high = bootstrap_interval(metric, y, s, names, n_resamples=100, random_state=0)
        assert isinstance(low, float)
        assert low < metric(y, s) < high
    ends = bootstrap_interval(equal_error_rate, y, s, names, n_resamples=100, random_state=0)
    assert [len(end) for end in ends] == [4, 4]  # rate, threshold, far, frr
    assert np.all(ends[0] <= ends[1])


def test_labels_of_any_kind_and_failures():
    y, s, identities = make_people(np.random.default_rng(1), 30, 0.5)
    s[::7] = np.nan
    expected = bootstrap_interval(d_prime, y, s, identities, n_resamples=50, random_state=0)
    labels = np.array(["different", "same"])[y]
    assert expected == bootstrap_interval(
        d_prime, labels, s, identities, n_resamples=50, random_state=0
    )
    assert expected != bootstrap_interval(d_prime, y, s, identities, n_resamples=50, random_state=1)


def test_resamples_without_a_class_are_left_out():
    # Only ann has two photos: without her a resample has no genuine pair.
    identities = [["ann", "ann"], ["ann", "bob"], ["bob", "cy"], ["ann", "cy"]]
    y, s = [1, 0, 0, 0], [0.9, 0.1, 0.4, 0.2]
    low, high = bootstrap_interval(equal_error_rate, y, s, identities, random_state=0)
    assert (low[0], high[0]) == (0, 0)
    low, high = bootstrap_interval(
        lambda y, s, sample_weight: np.nan, y, s, identities, random_state=0
    )
    assert np.isnan([low, high]).all()
    never_both = [["ann", "ann"], ["bob", "cy"]]
    low, high = bootstrap_interval(
        d_prime, [1, 0], [1.0, 0.0], never_both, n_resamples=1, random_state=0
    )
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rate_interval(3, 2), "k=3"),
        (lambda: rate_interval(1, 2, confidence=95), "confidence=95"),
    ],
)
def test_bad_rate_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identities": ["a", "a", "b"]}, r"identities has shape \(3,\): expected \(3, 2\)"),
        ({"identities": [["a", "a"], ["a", "b"]]}, "inconsistent"),
        ({"identities": [["a", "b"], ["a", "b"], ["a", "c"]]}, "contradicts y_true in row 0:"),
        ({"identities": [["a", "a"], ["b", "b"], ["a", "c"]]}, "contradicts y_true in row 1:"),
        ({"identities": [["a", "a"], ["a", None], ["a", "c"]]}, "identities lacks.* row 1"),
        ({"identities": [[1, 1], [1, np.nan], [1, 2]]}, "identities lacks.* row 1"),
        ({"identities": np.array([[1, 1], [1, "b"], [1, 2]], object)}, "identities mixes types"),
        ({"y_true": [0, 0, 0]}, "two classes"),
        ({"confidence": 0}, "confidence=0"),
        ({"n_resamples": 0}, "n_resamples=0"),
    ],
)
def test_bad_bootstrap_input_is_named(change, words):
    arguments = {
        "y_true": [1, 0, 0],
        "y_score": [0.9, 0.1, 0.2],
        "identities": [["a", "a"], ["a", "b"], ["a", "c"]],
    }
    with pytest.raises(ValueError, match=words):
        bootstrap_interval(d_prime, **(arguments | change))
