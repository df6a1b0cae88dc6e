"""Histograms against plain loops."""

import numpy as np
import pytest
from drawing import assert_readable, rates_by_loop, scores, words

from skface.plotting import ScoreDistributionDisplay


@pytest.mark.parametrize("threshold", [None, 0.7, -40.0])
@pytest.mark.parametrize("n_failures", [0, 13])
def test_histograms_equal_a_loop(threshold, n_failures):
    y, s = scores(n_failures=n_failures)
    display = ScoreDistributionDisplay.from_predictions(y, s, threshold=threshold, n_bins=20)
    edges = display.bin_edges
    for label, counts in ((0, display.impostor), (1, display.genuine)):
        expected = np.zeros(len(edges) - 1, dtype=int)
        for score in s[(y == label) & ~np.isnan(s)]:
            place = max(i for i in range(len(edges) - 1) if edges[i] <= score)
            expected[place] += 1
        np.testing.assert_array_equal(counts, expected)
        assert counts.sum() + display.n_failures[1 - label] == np.sum(y == label)
    drawn = [display.impostor_.get_data().values.sum(), display.genuine_.get_data().values.sum()]
    assert drawn == pytest.approx([100, 100])


def test_what_lies_beyond_the_threshold_is_what_it_accepts():
    y, s = scores(n_failures=5)
    for threshold in np.unique(s[~np.isnan(s)])[5:-5:7]:
        display = ScoreDistributionDisplay.from_predictions(y, s, threshold=threshold)
        assert threshold in display.bin_edges
        beyond = display.bin_edges[:-1] >= threshold
        assert display.impostor[beyond].sum() == np.sum((y == 0) & (s >= threshold))
        assert display.genuine[~beyond].sum() == np.sum((y == 1) & (s < threshold))
        assert (display.fmr, display.fnmr) == rates_by_loop(y, s, threshold)


def test_failures_are_counted_as_rejections_too():
    y = np.repeat([0, 1], [10, 20])
    s = np.r_[np.full(5, 0.2), 0.8, np.full(4, np.nan), np.full(8, 0.3), np.full(12, 0.9)]
    s[10] = np.nan
    text = words(ScoreDistributionDisplay.from_predictions(y, s, threshold=0.5))
    assert "FMR 16.7 %, FNMR 36.8 %" in text  # 1 of 6 and 7 of 19
    assert "5 failures left out (1 genuine, 4 impostor)" in text
    assert "FAR 10 %, FRR 40 %" in text  # 1 of 10 and 8 of 20


def test_all_pairs_of_a_kind_failed():
    y, s = scores()
    display = ScoreDistributionDisplay.from_predictions(
        y, np.where(y == 1, np.nan, s), threshold=0.5
    )
    assert np.isnan(display.fnmr) and display.fmr == rates_by_loop(y, s, 0.5)[0]
    assert "nan" not in words(display)
    with pytest.raises(ValueError, match="NaN for all 400 pairs"):
        ScoreDistributionDisplay.from_predictions(y, np.full(400, np.nan))


@pytest.mark.parametrize("values", [np.zeros(6), np.float32([1, 2, 3, 4, 5, 6])])
def test_extreme_histograms(values):
    display = ScoreDistributionDisplay.from_predictions([0, 1] * 3, values, threshold=values[0])
    assert display.genuine.sum() == display.impostor.sum() == 3


def test_logarithmic_heights_show_a_single_pair():
    y = np.repeat([0, 1], [1000, 10])
    s = np.r_[np.zeros(999), 5.0, np.full(10, 9.0)]
    display = ScoreDistributionDisplay.from_predictions(y, s, log=True)
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_ylim()[0] < 100 / 1000
    assert_readable(display)
