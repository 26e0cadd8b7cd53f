"""`align.metrics`: published values, plain loops, invariances; the torch path against the NumPy one."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import align
from align import metrics
from align.moments import accumulate
from registry.errors import BadVector, InvalidInput
from registry.retrieval import prepare
from registry.retrieval import retrieval as retrieval_numpy

# ImageNet-1k top-1 of four successive models (rows: query version), as the BT2 repository prints them.
BCT = [[46.6, 0, 0, 0], [54.4, 58.4, 0, 0], [46.0, 48.9, 64.3, 0], [54.9, 57.5, 70.3, 73.9]]
BT2 = [[46.6, 0, 0, 0], [56.5, 61.0, 0, 0], [56.7, 61.5, 66.6, 0], [57.9, 62.5, 72.0, 75.6]]


@pytest.mark.parametrize("module", ["metrics", "bridges", "anchors", "relative"])
def test_doctests(module):
    result = doctest.testmod(importlib.import_module(f"align.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_align_brings_no_torch():
    code = "import align, sys; dir(align); print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_align_offers_fit_and_its_modules():
    from align.bridges import fit

    assert align.fit is fit
    assert align.metrics is metrics
    assert align.anchors.select
    assert align.relative.project
    assert align.moments.accumulate
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        align.fitt  # noqa: B018


# --- retrieval ------------------------------------------------------------------------------------------------------


def by_torch(queries, gallery, *, block=None, **arguments):
    task = prepare(queries, gallery, block=block, **arguments)
    return metrics._retrieval_torch(task, "cpu", block)


cases = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, (n, 2), elements=st.integers(1, 4)),
        arrays(np.int8, n, elements=st.integers(0, 2)),
        st.booleans(),
        st.sampled_from(["dot", "l2"]),
        st.sampled_from([None, 1, 7]),
    )
)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_torch_equals_numpy_also_on_ties(case):
    x, labels, same_items, metric, block = case
    arguments = {
        "query_labels": labels,
        "gallery_labels": labels,
        "ks": (1, 3),
        "same_items": same_items,
        "metric": metric,
    }
    try:
        expected = retrieval_numpy(x, x, **arguments)
    except InvalidInput:
        return
    found = by_torch(x, x, block=block, **arguments)
    assert (found.queries, found.skipped) == (expected.queries, expected.skipped)
    for name, values in expected.per_query.items():
        np.testing.assert_allclose(found.per_query[name], values, atol=1e-12)


def test_torch_equals_numpy_on_cosine():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((300, 8)), rng.integers(0, 9, 300)
    arguments = {
        "query_labels": labels[:99],
        "gallery_labels": labels,
        "ks": (1, 5),
        "same_items": False,
        "metric": "cosine",
    }
    expected, found = retrieval_numpy(x[:99], x, **arguments), by_torch(x[:99], x, block=10, **arguments)
    assert found.values() == pytest.approx(expected.values(), abs=1e-5)


def test_retrieval_on_the_cpu_is_numpy():
    x = np.eye(3)[[0, 0, 1, 1]]
    found = metrics.retrieval(
        x, x, query_labels=[0, 0, 1, 1], gallery_labels=[0, 0, 1, 1], same_items=True, device="cpu"
    )
    assert found.map == 1


# --- chains of versions ---------------------------------------------------------------------------------------------


def test_average_compatibility_of_published_chains():
    assert metrics.average_compatibility(BCT) == 0.5
    assert metrics.average_compatibility(BT2) == 1.0


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


def test_the_upper_triangle_is_not_read():
    assert metrics.average_accuracy([[0.4, np.nan], [0.5, 0.6]]) == pytest.approx(0.5)


def test_update_gain_and_p_scores():
    assert metrics.update_gain(0.4, 0.4, 0.6) == 0
    assert metrics.update_gain(0.4, 0.3, 0.6) == pytest.approx(-0.5)
    parity = metrics.p_scores([0.4, 0.5], [0.4, 0.5], [0.6, 0.7], [0.6, 0.7])
    assert parity == {"p_comp": 0.5, "p_up": 0.5, "p_1": 0.5}


def test_negative_flip_rate_counts_only_lost_items():
    assert metrics.negative_flip_rate([1, 1, 0, 0], [1, 0, 1, 0]) == 0.25
    assert metrics.negative_flip_rate([0.0, 0.0], [1.0, 1.0]) == 0


# --- likeness of spaces ---------------------------------------------------------------------------------------------


def spaces(seed=0, n=200):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0.2] + 1
    return x, x @ rng.standard_normal((6, 4)) + rng.standard_normal((n, 4))


def test_cka_and_procrustes_equal_the_whole_matrix_formulas():
    x, y = spaces()
    a, b = x - x.mean(0), y - y.mean(0)
    gram = [v @ v.T for v in (a, b)]
    cka = (gram[0] * gram[1]).sum() / np.sqrt(np.square(gram[0]).sum() * np.square(gram[1]).sum())
    assert metrics.linear_cka(x, y, device="cpu") == pytest.approx(cka, abs=1e-5)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    distance = np.sqrt(2 - 2 * np.linalg.norm(a.T @ b, "nuc"))
    assert metrics.procrustes_distance(x, y, device="cpu") == pytest.approx(distance, abs=1e-4)
    assert metrics.linear_cka(accumulate(x, y, device="cpu")) == pytest.approx(cka, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-20, 20))
def test_likeness_is_invariant_under_rotation_scale_shift_and_order(seed, scale, shift):
    x, y = spaces()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    turned = scale * (x @ np.linalg.qr(rng.standard_normal((6, 6)))[0]) + shift
    for measure in (metrics.linear_cka, metrics.procrustes_distance):
        expected = measure(x, y, device="cpu")
        assert measure(turned[order], y[order], device="cpu") == pytest.approx(expected, abs=1e-3)
    assert metrics.linear_cka(x, turned, device="cpu") == pytest.approx(1, abs=1e-4)
    assert metrics.procrustes_distance(x, turned, device="cpu") < 1e-2


@pytest.mark.parametrize("block", [None, 7])
def test_neighbour_overlap_equals_a_plain_loop(block):
    x, y = spaces(n=60)
    near = []
    for v in (x, y):
        v = v / np.linalg.norm(v, axis=1, keepdims=True)
        s = v @ v.T
        np.fill_diagonal(s, -np.inf)
        near.append([set(np.argsort(-row)[:5]) for row in s])
    expected = np.mean([len(a & b) / 5 for a, b in zip(*near, strict=True)])
    assert metrics.neighbour_overlap(x, y, 5, block=block) == pytest.approx(expected)


def test_neighbour_overlap_on_ties_is_whole():
    x = np.ones((10, 2))
    assert metrics.neighbour_overlap(x, 2 * x, 3) == 1


X = np.arange(1, 13.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.average_compatibility([[1, 2, 3]]), "shape"),
        (lambda: metrics.average_compatibility([[0.5]]), "t >= 2"),
        (lambda: metrics.average_compatibility([[0.5, 0], [np.nan, 0.5]]), "gaps"),
        (lambda: metrics.average_compatibility(BCT, ties="maybe"), "ties must be"),
        (lambda: metrics.update_gain(0.5, 0.6, 0.5), "no gain"),
        (lambda: metrics.update_gain(0.5, np.nan, 0.6), "new_old must be a finite"),
        (lambda: metrics.p_scores(0.5, 0.5, 0.5, 0.5), "reference"),
        (lambda: metrics.backfill_auc([0, 0.5], [1, 1]), "rise from 0 to 1"),
        (lambda: metrics.backfill_auc([0, 1], [1, 1, 1]), "one length"),
        (lambda: metrics.negative_flip_rate([True], [True, False]), "same items"),
        (lambda: metrics.negative_flip_rate([1, np.nan], [1, 1]), "only true and false"),
        (lambda: metrics.linear_cka(X), "two matrices"),
        (lambda: metrics.linear_cka(X, np.ones((6, 2)), device="cpu"), "all rows of one side are equal"),
        (lambda: metrics.linear_cka(accumulate(X, X, parts=("xy",), device="cpu")), "hold no xx"),
        (lambda: metrics.procrustes_distance(X, X[:3], device="cpu"), "6 rows and target 3"),
        (lambda: metrics.neighbour_overlap(X, X[:3], 1), "same items"),
        (lambda: metrics.neighbour_overlap(X, X, 6), "k must be from 1 to 5"),
        (lambda: metrics.neighbour_overlap(X, X, 0), "k must be"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_bad_vectors_are_named():
    bad = X.copy()
    bad[4] = 0
    with pytest.raises(BadVector, match="y row 4"):
        metrics.neighbour_overlap(X, bad, 2)
