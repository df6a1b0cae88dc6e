"""Reports against plain loops; what their text says and how wide it is."""

import json

import numpy as np
import pandas as pd
import pytest
from oracles import make_scores, rates_by_loop

from skface.exceptions import FewImpostorsWarning
from skface.metrics import (
    bootstrap_interval,
    d_prime,
    equal_error_rate,
    far_frr_curve,
    group_report,
    rate_interval,
    threshold_at_far,
    verification_report,
)

RATES = ["far", "frr", "tar", "fmr", "fnmr"]


def make_pairs_of_people(n_people=30, n_pairs=400, n_failures=12, seed=0):
    """Labels, scores with failures, and the two people of each pair."""
    y, s = make_scores(seed, n_pairs, n_failures)
    rng = np.random.default_rng(seed)
    left = rng.integers(0, n_people, n_pairs)
    right = np.where(y, left, (left + rng.integers(1, n_people, n_pairs)) % n_people)
    return y, s, np.c_[left, right]


def compared(y, s):
    return y[~np.isnan(s)], s[~np.isnan(s)]


@pytest.mark.parametrize("n_failures", [0, 12])
def test_rates_equal_loops_and_intervals_are_clopper_pearson(n_failures):
    y, s, _ = make_pairs_of_people(n_failures=n_failures)
    report = verification_report(y, s, threshold=0.8, far=(0.1, 0.02), output_dict=True)
    eer = equal_error_rate(y, s)
    assert (report["eer"], report["eer_threshold"]) == (eer.rate, eer.threshold)
    assert report["d_prime"] == d_prime(y, s)
    assert report["n_people"] is report["eer_interval"] is report["d_prime_interval"] is None
    assert (report["n_genuine"], report["n_impostor"]) == (np.sum(y == 1), np.sum(y == 0))
    n_failed = report["n_failed_genuine"], report["n_failed_impostor"]
    assert n_failed == (np.isnan(s[y == 1]).sum(), np.isnan(s[y == 0]).sum())
    assert sum(n_failed) == n_failures

    points = report["operating_points"]
    assert [point["far_target"] for point in points] == [None, 0.1, 0.02]
    thresholds = [point["threshold"] for point in points]
    assert thresholds == [0.8, threshold_at_far(y, s, 0.1), threshold_at_far(y, s, 0.02)]
    for point in points:
        far, frr = rates_by_loop(y, s, point["threshold"])
        fmr, fnmr = rates_by_loop(*compared(y, s), point["threshold"])
        expected = dict(zip(RATES, (far, frr, 1 - frr, fmr, fnmr), strict=True))
        assert {rate: point[rate] for rate in RATES} == pytest.approx(expected)
        n_impostor, n_genuine = np.sum(y == 0), np.sum(y == 1)
        assert point["far_interval"] == rate_interval(round(far * n_impostor), n_impostor)
        low, high = rate_interval(round(frr * n_genuine), n_genuine)
        assert point["frr_interval"] == (low, high)
        assert point["tar_interval"] == (1 - high, 1 - low)
        n_compared = n_impostor - n_failed[1]
        assert point["fmr_interval"] == rate_interval(round(fmr * n_compared), n_compared)


def test_intervals_over_people():
    y, s, identities = make_pairs_of_people()
    names = np.array([f"person {i:02}" for i in range(30)])[identities]
    options = {"n_resamples": 60, "random_state": 3, "confidence": 0.9}
    report = verification_report(
        y, s, threshold=0.8, far=(), identities=names, output_dict=True, **options
    )
    assert report["n_people"] == 30

    def at_threshold(y, s, sample_weight):
        far, frr, thresholds = far_frr_curve(y, s, sample_weight=sample_weight)
        place = np.searchsorted(thresholds, 0.8)
        eer = equal_error_rate(y, s, sample_weight=sample_weight).rate
        return far[place], frr[place], eer, d_prime(y, s, sample_weight=sample_weight)

    low, high = bootstrap_interval(at_threshold, y, s, identities, **options)
    (point,) = report["operating_points"]
    for rate, label, i in (("far", 0, 0), ("frr", 1, 1)):
        n_pairs = np.sum(y == label)
        exact = rate_interval(round(point[rate] * n_pairs), n_pairs, 0.9)
        expected = min(low[i], exact[0]), max(high[i], exact[1])
        assert point[f"{rate}_interval"] == pytest.approx(expected)
    assert report["eer_interval"] == pytest.approx((low[2], high[2]))
    assert report["d_prime_interval"] == pytest.approx((low[3], high[3]))


def test_without_errors_the_interval_is_not_empty():
    y, s = np.repeat([0, 1], 50), np.repeat([0.1, 0.9], 50)
    people = np.r_[np.c_[range(50), np.roll(range(50), 1)], np.c_[range(50), range(50)]]
    report = verification_report(
        y, s, threshold=0.5, far=(), identities=people, n_resamples=20, output_dict=True
    )
    assert report["operating_points"][0]["far_interval"] == rate_interval(0, 50)


def test_dicts_are_plain():
    y, s, identities = make_pairs_of_people()
    for people in (None, identities):
        report = verification_report(
            y, s, far=0.1, identities=people, n_resamples=20, output_dict=True
        )
        assert json.loads(json.dumps(report))["n_impostor"] == np.sum(y == 0)
        assert list(pd.DataFrame(report["operating_points"])["far_target"]) == [0.1]
        groups = group_report(
            y, s, identities % 3, threshold=0.8, identities=people, n_resamples=20, output_dict=True
        )
        assert len(json.loads(json.dumps(groups))["between_groups"]) == 3


def test_text_says_what_the_dict_holds():
    y, s, identities = make_pairs_of_people()
    options = {"threshold": 0.8, "far": [0.1], "identities": identities, "random_state": 0}
    text = verification_report(y, s, **options)
    report = verification_report(y, s, output_dict=True, **options)
    lines = text.splitlines()
    assert lines[0].split() == ["pairs", "of", "30", "people", "all", "failed"]
    assert lines[1].split() == [
        "genuine",
        f"{report['n_genuine']}",
        f"{report['n_failed_genuine']}",
    ]
    assert f"equal error rate {100 * report['eer']:.2f} % [" in text
    names = "given threshold", "FAR <= 0.1"
    for point, name in zip(report["operating_points"], names, strict=True):
        with_failures, compared_only = [line for line in lines if line.startswith(name)]
        for rate in ("far", "frr", "tar"):
            low, high = point[f"{rate}_interval"]
            cell = f"{100 * point[rate]:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
            assert cell in with_failures
        assert f"{100 * point['fnmr']:.2f} [" in compared_only
    assert "95 % intervals over people" in text
    assert "95 % Clopper-Pearson" in verification_report(y, s, threshold=0.8, far=())
    assert "90 % Clopper-Pearson" in verification_report(y, s, far=0.1, confidence=0.9)


def test_text_without_failures_says_so():
    y, s, _ = make_pairs_of_people(n_failures=0)
    text = verification_report(y, s, far=0.1)
    assert "No comparison failed, so FMR = FAR and FNMR = FRR." in text
    assert len([line for line in text.splitlines() if line.startswith("FAR <=")]) == 1


def test_text_fits_into_a_hundred_columns():
    rng = np.random.default_rng(0)
    n = 300_000
    y = np.r_[np.zeros(n - 200, int), np.ones(200, int)]
    s = rng.normal(1e-3 * y, 1e-4)
    s[::50] = np.nan
    text = verification_report(y, s, threshold=-1.234567e-7, far=[0.5, 0.1, 1e-4, 1.5e-5])
    assert max(map(len, text.splitlines())) <= 100


def test_too_small_a_far_warns_and_is_marked():
    y, s, _ = make_pairs_of_people()
    with pytest.warns(FewImpostorsWarning, match="far=1e-05") as record:
        text = verification_report(y, s, far=(0.1, 1e-4, 1e-5))
    assert len(record) == 1
    assert record[0].filename == __file__
    marked = [line[:13].strip() for line in text.splitlines() if line.startswith("FAR <=")]
    assert marked[:3] == ["FAR <= 0.1", "FAR <= 0.0001", "FAR <= 1e-05"]
    assert text.count("FAR <= 0.0001 *") == text.count("FAR <= 1e-05 *") == 2
    assert "* At least 1 / FAR impostor pairs are needed" in text


@pytest.mark.parametrize("as_names", [False, True])
def test_groups_of_photos(as_names):
    y, s, identities = make_pairs_of_people()
    labels = np.array(["a", "b", "c"]) if as_names else np.arange(3)
    groups = labels[identities % 3]
    report = group_report(y, s, groups, threshold=0.8, output_dict=True)
    assert [group["name"] for group in report["groups"]] == labels.tolist()
    kinds = {(group["name"],) * 2: group for group in report["groups"]}
    kinds |= {group["name"]: group for group in report["between_groups"]}
    assert sum(kind["n_impostor"] for kind in kinds.values()) == np.sum(y == 0)
    assert sum(group["n_genuine"] for group in report["groups"]) == np.sum(y == 1)
    for (first, second), kind in kinds.items():
        rows = np.all(np.sort(groups, axis=1) == sorted((first, second)), axis=1)
        impostor, genuine = rows & (y == 0), rows & (y == 1)
        assert kind["n_impostor"] == impostor.sum()
        assert kind["n_failed_impostor"] == np.isnan(s[impostor]).sum()
        n_compared = impostor.sum() - kind["n_failed_impostor"]
        n_errors = np.sum(s[impostor] >= 0.8)
        assert kind["fmr"] == n_errors / n_compared
        assert kind["fmr_interval"] == rate_interval(n_errors, n_compared)
        if first == second:
            assert kind["n_failed_genuine"] == np.isnan(s[genuine]).sum()
            n_compared = genuine.sum() - kind["n_failed_genuine"]
            assert kind["fnmr"] == np.sum(s[genuine] < 0.8) / n_compared
        else:
            assert (kind["n_genuine"], kind["fnmr_interval"]) == (0, (0.0, 1.0))
            assert np.isnan(kind["fnmr"])
    fmr, fnmr = rates_by_loop(*compared(y, s), 0.8)
    assert report["overall"]["fmr"] == pytest.approx(fmr)
    assert report["overall"]["fnmr"] == pytest.approx(fnmr)
    for rate in ("fmr", "fnmr"):
        by_name = {group["name"]: group[rate] for group in report["groups"]}
        differential = report[f"{rate}_differential"]
        highest, lowest = by_name[differential["highest"]], by_name[differential["lowest"]]
        assert (lowest, highest) == (min(by_name.values()), max(by_name.values()))
        assert differential["ratio"] == highest / lowest
        assert differential["highest_to_overall"] == highest / report["overall"][rate]


def test_groups_of_pairs():
    y, s, identities = make_pairs_of_people()
    groups = np.where(identities[:, 0] < 10, "few", "many")
    report = group_report(y, s, groups, threshold=0.8, output_dict=True)
    assert report["between_groups"] == []
    for group in report["groups"]:
        rows = groups == group["name"]
        fmr, fnmr = rates_by_loop(*compared(y[rows], s[rows]), 0.8)
        assert (group["fmr"], group["fnmr"]) == pytest.approx((fmr, fnmr))


def test_groups_over_people():
    y, s, identities = make_pairs_of_people()
    options = {"threshold": 0.8, "identities": identities, "random_state": 0, "n_resamples": 100}
    report = group_report(y, s, identities % 3, output_dict=True, **options)
    exact = group_report(y, s, identities % 3, threshold=0.8, output_dict=True)
    assert [group["n_people"] for group in report["groups"]] == [10, 10, 10]
    first_and_second = np.sort(identities % 3, axis=1) == (0, 1)
    assert report["between_groups"][0]["n_people"] == len(
        np.unique(identities[first_and_second.all(axis=1)])
    )
    for group, of_pairs in zip(report["groups"], exact["groups"], strict=True):
        for rate in ("fmr", "fnmr"):
            low, high = group[f"{rate}_interval"]
            exact_low, exact_high = of_pairs[f"{rate}_interval"]
            assert low <= exact_low < group[rate] < exact_high <= high
        assert group["fmr_interval"] != of_pairs["fmr_interval"]
    text = group_report(y, s, identities % 3, **options)
    assert text.splitlines()[1].split()[0] == "people"
    assert text.splitlines()[2].split()[:2] == ["0", "10"]
    assert "95 % intervals over people" in text


def test_differential_without_errors_in_a_group():
    y = [0, 0, 0, 0, 1, 1, 1, 1]
    groups = ["a", "a", "b", "b"] * 2
    s = [0.1, 0.2, 0.2, 0.9, 0.9, 0.8, 0.7, 0.9]
    report = group_report(y, s, groups, threshold=0.5, output_dict=True)
    assert report["fmr_differential"] == {
        "lowest": "a",
        "highest": "b",
        "ratio": np.inf,
        "highest_to_overall": 2.0,
    }
    assert np.isnan(report["fnmr_differential"]["ratio"])
    text = group_report(y, s, groups, threshold=0.5)
    assert "FMR: b has infinitely many times that of a, and 2.00 times that of all pairs." in text
    assert "FNMR: no group has an error." in text
    assert "FMR: the groups do not differ." in group_report(y, s, ["a"] * 8, threshold=0.2)
    apart = [["a", "b"]] * 4 + [["a", "a"]] * 4
    assert "FMR: no group was compared." in group_report(y, s, apart, threshold=0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda y, s: verification_report(y, s, far=(0.1, 2)), "far=2"),
        (lambda y, s: verification_report(y, s, threshold=np.nan), "threshold=nan"),
        (lambda y, s: verification_report(y, s, confidence=95), "confidence=95"),
        (
            lambda y, s: verification_report(y, s, far=0.5, identities=[1, 2, 3]),
            "identities has shape",
        ),
        (lambda y, s: group_report(y, s, [1, 2], threshold=0.1), r"groups has shape \(2,\)"),
        (lambda y, s: group_report(y, s, [1, 2, None], threshold=0.1), "groups lacks.* row 2"),
        (lambda y, s: group_report(y, s, [1, 2, 2], threshold=np.nan), "threshold=nan"),
        (lambda y, s: group_report([1, 1, 1], s, [1, 2, 2], threshold=0.1), "two classes"),
    ],
)
@pytest.mark.filterwarnings("ignore::skface.metrics.FewImpostorsWarning")
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call([0, 0, 1], [0.1, 0.2, 0.3])
