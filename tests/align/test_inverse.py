"""`align.relative.inverse`: known answers, and what it does where there is no exact one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.relative import inverse, project
from registry.errors import BadVector, InvalidInput
from registry.transforms import Affine
from registry.vectors import normalize


def some(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def rotation(d, seed=1):
    return np.linalg.qr(some(d, d, seed))[0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 8), st.integers(0, 40), st.integers(1, 8), st.floats(0, 3), st.sampled_from([True, False, None]),
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_a_rotation_is_recovered(d, more, subsets, off_centre, center, dtype):
    """Whatever the number of anchors, as long as those of a subset span the space."""
    anchors, turn = (some(2 * d + 2 + more, d) + off_centre).astype(dtype), rotation(d)
    back = inverse(anchors, anchors @ turn, subsets=subsets, center=center)
    x = some(50, d, seed=2)
    condition = back.report["condition"]
    np.testing.assert_allclose(back.apply(x), normalize(x @ turn), atol=2e-5 * condition)
    assert isinstance(back, Affine)
    assert back.report["explained"] == pytest.approx(1, abs=1e-6)
    assert (back.report["rank"], back.report["anchors"]) == (d, len(anchors))


def test_anchors_just_enough_to_span():
    anchors, turn = some(5, 5), rotation(5)
    back = inverse(anchors, anchors @ turn)
    assert back.report["centered"] is False, "centring would lose a direction"
    np.testing.assert_allclose(back.apply(some(9, 5, 2)), normalize(some(9, 5, 2) @ turn), atol=1e-3)


def test_equals_the_formula_for_one_subset():
    """That is x A_X^T pinv(A_Y^T), by NumPy's own pseudo-inverse, also between widths that differ."""
    a, b, x = some(30, 7), some(30, 4, 1), some(20, 7, 2)
    back = inverse(a, b, subsets=1, size=30, center=False, cutoff=0)
    expected = project(x, a) @ np.linalg.pinv(normalize(b).T.astype(np.float64))
    np.testing.assert_allclose(back.apply(x), normalize(expected), atol=1e-5)
    assert not back.bias.any()


def test_subsets_are_averaged():
    a = some(40, 3)
    b = a @ rotation(3) + 0.3 * some(40, 3, 5)
    whole = [inverse(a, b, subsets=n, size=6, center=False, seed=3, cutoff=0).weight for n in (1, 8)]
    assert np.abs(whole[0] - whole[1]).max() > 1e-3
    singles = []
    for first in np.random.default_rng(3).permutation(40)[:8]:
        units, chosen = normalize(b).astype(np.float64), [int(first)]
        while len(chosen) < 6:
            chosen.append(int(np.argmin(np.max(np.abs(units @ units[chosen].T), axis=1) + np.isin(range(40), chosen))))
        singles.append(normalize(a)[chosen].T.astype(np.float64) @ np.linalg.pinv(units[chosen].T))
    np.testing.assert_allclose(whole[1], np.mean(singles, axis=0), atol=1e-5)


def test_the_seed_picks_the_subsets():
    a, b = some(60, 4), some(60, 4, 1)
    same = [inverse(a, b, size=10, seed=2).digest() for _ in range(2)]
    assert same[0] == same[1] != inverse(a, b, size=10, seed=3).digest()


def test_anchors_that_do_not_span_warn():
    with pytest.warns(UserWarning, match="span 3 of the target's 6 dimensions"):
        back = inverse(some(3, 6), some(3, 6, 1))
    assert np.isfinite(back.apply(some(5, 6))).all()


def test_the_default_cutoff_is_the_noise():
    a, turn = some(40, 4), rotation(4)
    assert inverse(a, a @ turn).report["cutoff"] < 1e-5
    cutoffs = [inverse(a, (a + noise * some(40, 4, 3)) @ turn).report["cutoff"] for noise in (1e-3, 1e-2, 1)]
    units = normalize(a) - normalize(a).mean(0), normalize(a + 1e-2 * some(40, 4, 3))
    units = units[0], units[1] - units[1].mean(0)
    wanted = np.linalg.norm(units[0] @ units[0].T - units[1] @ units[1].T) / np.linalg.norm(units[1] @ units[1].T)
    assert cutoffs[1] == pytest.approx(wanted, rel=1e-3)
    assert cutoffs[0] < cutoffs[1] < cutoffs[2] == 0.05


@pytest.mark.filterwarnings("ignore:the anchors span")
def test_as_many_anchors_as_dimensions_do_not_blow_noise_up():
    a, turn, x = some(30, 30), rotation(30), some(200, 30, 2)
    noisy = (a + 0.2 * some(30, 30, 3)) @ turn
    default, bare = (
        np.einsum("ij,ij->i", inverse(a, noisy, **o).apply(x), normalize(x @ turn)).mean() for o in ({}, {"cutoff": 0})
    )
    assert default > bare + 0.05


def test_cutoff_drops_directions_that_hardly_vary():
    a = some(50, 4) * [1, 1, 1, 1e-3]
    assert inverse(a, a, cutoff=1e-6).report["rank"] == 4
    with pytest.warns(UserWarning, match="span 3 of"):
        assert inverse(a, a, cutoff=0.05).report["rank"] == 3


X = some(12, 3)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: inverse(X, X[:9]), InvalidInput, "12 source anchors and 9 target anchors"),
        (lambda: inverse(X, X, subsets=0), InvalidInput, "subsets must be"),
        (lambda: inverse(X, X, size=13), InvalidInput, "size must be a whole number from 1 to 12"),
        (lambda: inverse(X, X, cutoff=1), InvalidInput, "cutoff must be"),
        (lambda: inverse(X, X, cutoff=np.nan), InvalidInput, "cutoff must be"),
        (lambda: inverse(X, X, seed=-1), InvalidInput, "seed must be"),
        (lambda: inverse(X, np.ones((12, 3))), InvalidInput, "do not vary"),
        (lambda: inverse(np.ones((12, 3)), X), InvalidInput, "do not vary"),
        (lambda: inverse(X[:0], X[:0]), InvalidInput, "an anchor or more"),
        (lambda: inverse(X, np.zeros((12, 3))), BadVector, "target anchors row 0"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(0, 1))
def test_rows_that_cannot_be_are_refused(broken_rows, data, place):
    given = [X, X]
    given[place] = data.draw(broken_rows(12, 3))
    with pytest.raises(InvalidInput) as caught:
        inverse(*given)
    assert "\n" not in str(caught.value)
