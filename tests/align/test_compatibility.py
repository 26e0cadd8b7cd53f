"""Chains of versions, updates and flips: published values, plain loops, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from align import metrics
from registry.errors import InvalidInput

# ImageNet-1k top-1 of four successive models (rows: query version), as the BT2 repository prints them.
BCT = [[46.6, 0, 0, 0], [54.4, 58.4, 0, 0], [46.0, 48.9, 64.3, 0], [54.9, 57.5, 70.3, 73.9]]
BT2 = [[46.6, 0, 0, 0], [56.5, 61.0, 0, 0], [56.7, 61.5, 66.6, 0], [57.9, 62.5, 72.0, 75.6]]


def test_average_compatibility_of_published_chains():
    """Which pairs pass stands in the BT2 repository's table: three of six for BCT, all six for BT2."""
    assert metrics.average_compatibility(BCT) == metrics.average_compatibility(BCT, ties="pass") == 0.5
    assert metrics.average_compatibility(BT2) == metrics.average_compatibility(BT2, ties="pass") == 1.0


def test_ties_have_a_name():
    m = [[0.5, 0], [0.5, 0.5]]
    assert metrics.average_compatibility(m) == metrics.average_compatibility(m, ties="fail") == 0
    assert metrics.average_compatibility(m, ties="pass") == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6).flatmap(lambda t: arrays(np.float64, (t, t), elements=st.floats(0, 1))))
def test_chain_metrics_equal_plain_loops(m):
    t = len(m)
    pairs = [(i, j) for i in range(t) for j in range(i)]
    assert metrics.average_compatibility(m) == pytest.approx(sum(m[i, j] > m[j, j] for i, j in pairs) / len(pairs))
    assert metrics.average_accuracy(m) == pytest.approx(np.mean([m[i, j] for i in range(t) for j in range(i + 1)]))
    assert metrics.backward_gain(m) == pytest.approx(np.mean([m[-1, j] - m[j, j] for j in range(t - 1)]))
    assert metrics.forward_gain(m) == pytest.approx(np.mean([m[i, i - 1] - m[i, i] for i in range(1, t)]))


@pytest.mark.parametrize("metric", ["average_compatibility", "average_accuracy", "backward_gain", "forward_gain"])
def test_the_upper_triangle_is_not_read(metric):
    whole, lower = np.asarray(BT2), np.asarray(BT2)
    lower[np.triu_indices(4, 1)] = np.nan
    assert getattr(metrics, metric)(lower) == getattr(metrics, metric)(whole)


def test_update_gain_and_tax():
    assert metrics.update_gain(0.4, 0.4, 0.6) == 0
    assert metrics.update_gain(0.4, 0.6, 0.6) == 1
    assert metrics.update_gain(0.4, 0.3, 0.6) == pytest.approx(-0.5)
    assert metrics.compatibility_tax(new_new=0.62, reference=0.6) == pytest.approx(-0.02)


# --- P scores: AdvBCT, CVPR 2023, the table of results; mAP in percent on RParis, ROxford and GLDv2-test ------------
#
# (self, cross, P_up, P_comp, P_1) of BCT, LCE, UniBCT, Hot-refresh and AdvBCT in the two blocks whose values are known:
# more data, and more classes. The two blocks with another backbone are known by their scores alone, so they cannot be
# recomputed. All rows reproduce to 0.01 but for one number: LCE's P_1 with more data, printed 53.34, comes out as 53.23.

REFERENCE = [81.15, 63.85, 16.48]
BLOCKS = {
    "data": (
        [75.45, 49.15, 10.03],
        {
            "BCT": ([80.58, 56.34, 14.61], [77.37, 49.66, 11.30], 48.02, 54.71, 51.13),
            "LCE": ([81.57, 60.85, 16.48], [77.83, 51.35, 12.17], 49.65, 57.41, None),
            "UniBCT": ([80.93, 57.24, 16.06], [78.30, 50.97, 13.25], 48.90, 59.19, 53.52),
            "Hot-refresh": ([79.57, 58.15, 13.88], [76.53, 50.05, 10.35], 47.78, 52.50, 50.03),
            "AdvBCT": ([82.78, 62.13, 15.71], [78.55, 52.31, 11.49], 49.55, 58.09, 53.45),
        },
    ),
    "class": (
        [74.29, 54.34, 11.43],
        {
            "BCT": ([79.45, 58.94, 14.79], [76.13, 53.43, 12.26], 48.33, 52.79, 50.41),
            "LCE": ([81.26, 60.49, 16.07], [76.78, 54.29, 12.04], 49.37, 53.95, 51.51),
            "UniBCT": ([76.92, 59.07, 14.80], [74.55, 57.82, 12.31], 48.09, 54.78, 51.17),
            "Hot-refresh": ([78.93, 60.31, 14.00], [75.33, 51.68, 10.41], 48.06, 47.26, 47.57),
            "AdvBCT": ([82.05, 64.51, 16.44], [77.16, 54.82, 12.05], 50.16, 54.87, 52.35),
        },
    ),
}


@pytest.mark.parametrize(("block", "method"), [(b, m) for b, (_, rows) in BLOCKS.items() for m in rows])
def test_published_p_scores(block, method):
    old, rows = BLOCKS[block]
    own, cross, up, comp, p_1 = rows[method]
    found = metrics.p_scores(old, cross, own, REFERENCE)
    assert 100 * found["p_up"] == pytest.approx(up, abs=0.0101)
    assert 100 * found["p_comp"] == pytest.approx(comp, abs=0.0101)
    assert 100 * found["p_1"] == pytest.approx(53.23 if p_1 is None else p_1, abs=0.0101)


def test_p_scores_at_parity_and_far_from_it():
    parity = metrics.p_scores([0.4, 0.5], [0.4, 0.5], [0.6, 0.7], [0.6, 0.7])
    assert parity == {"p_comp": 0.5, "p_up": 0.5, "p_1": 0.5}
    assert metrics.p_scores(0.5, -1e9, 0.6, 0.500001)["p_comp"] == 0


# --- flips ----------------------------------------------------------------------------------------------------------


def test_negative_flip_rate_counts_only_lost_items():
    assert metrics.negative_flip_rate([1, 1, 0, 0], [1, 0, 1, 0]) == 0.25
    assert metrics.negative_flip_rate([0.0, 0.0], [1.0, 1.0]) == 0


@settings(max_examples=50, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.just(2))))
def test_relative_negative_flip_rate_equals_its_definition(flags):
    old, new = flags.T
    flips = sum(bool(a) and not b for a, b in zip(old, new, strict=True)) / len(old)
    chance = (1 - np.mean(~old)) * np.mean(~new)
    found = metrics.relative_negative_flip_rate(old, new)
    assert found == (pytest.approx(flips / chance) if chance else 0)


def test_independent_mistakes_have_a_relative_rate_of_one():
    old, new = np.meshgrid(np.arange(10) < 7, np.arange(10) < 9)
    assert metrics.relative_negative_flip_rate(old.ravel(), new.ravel()) == pytest.approx(1)


# --- bad input ------------------------------------------------------------------------------------------------------

CHAIN = (metrics.average_compatibility, metrics.average_accuracy, metrics.backward_gain, metrics.forward_gain)
FLIPS = (metrics.negative_flip_rate, metrics.relative_negative_flip_rate)


@pytest.mark.parametrize("call", CHAIN)
@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[1, 2, 3]], "shape"),
        ([[0.5]], "t >= 2"),
        ([], "shape"),
        (0.5, "shape"),
        ([[0.5, 0], [np.nan, 0.5]], "gaps"),
        ([[0.5, 0], [np.inf, 0.5]], "gaps"),
        ([[0.5], [0.5, 0.5]], "must be an array of numbers"),
        ([["a", "b"], ["c", "d"]], "real numbers"),
        ([[0.5, None], [0.5, 0.5]], "real numbers"),
        (np.ma.masked_invalid([[0.5, np.nan], [0.5, 0.5]]), "masked"),
    ],
)
def test_bad_chains(call, matrix, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call(matrix)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", FLIPS)
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ([True], [True, False], "same items"),
        ([], [], "same items"),
        ([[True]], [[True]], "same items"),
        ([1, np.nan], [1, 1], "only true and false"),
        ([1, 2], [1, 1], "only true and false"),
        (["yes"], ["no"], "real numbers"),
        ([None], [True], "real numbers"),
    ],
)
def test_bad_flips(call, old, new, says):
    with pytest.raises(InvalidInput, match=says):
        call(old, new)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.average_compatibility(BCT, ties="maybe"), "ties must be"),
        (lambda: metrics.update_gain(0.5, 0.6, 0.5), "no gain"),
        (lambda: metrics.update_gain(0.5, np.nan, 0.6), "new_old must be finite"),
        (lambda: metrics.update_gain(0.5, [0.5, 0.6], 0.6), "new_old must be one number"),
        (lambda: metrics.compatibility_tax("0.5", 0.6), "new_new must be real"),
        (lambda: metrics.p_scores(0.5, 0.5, 0.5, 0.5), "reference"),
        (lambda: metrics.p_scores(0.5, 0.5, 0.5, 0), "reference"),
        (lambda: metrics.p_scores([0.5, 0.4], [0.5, 0.5, 0.5], 0.5, 0.6), "all four"),
        (lambda: metrics.p_scores([], [], [], []), "all four"),
        (lambda: metrics.p_scores([[0.5]], 0.5, 0.5, 0.6), "all four"),
        (lambda: metrics.p_scores(0.5, np.inf, 0.5, 0.6), "new_old must be finite"),
    ],
)
def test_bad_values(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
