"""The empirical criterion: its interval against a plain bootstrap, its verdict against chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.metrics import empirical_criterion
from registry.errors import InvalidInput


def test_equals_a_plain_paired_bootstrap():
    rng = np.random.default_rng(0)
    old = rng.random(80)
    new = old + 0.05 + 0.2 * rng.standard_normal(80)
    picks = rng.integers(80, size=(20_000, 80))
    low, high = np.quantile((new - old)[picks].mean(axis=1), [0.05, 0.95])
    found = empirical_criterion(new, old, confidence=0.9, draws=20_000)
    assert found.gain.value == pytest.approx(np.mean(new - old))
    assert (found.gain.low, found.gain.high) == pytest.approx((low, high), abs=2e-3)
    assert found.new.value - found.old.value == pytest.approx(found.gain.value)
    assert (found.queries, found.skipped) == (80, 0)


def test_the_interval_is_that_of_the_differences():
    """New is always a little better: obvious when paired, invisible when not."""
    old = np.random.default_rng(0).random(50)
    found = empirical_criterion(old + 0.01, old)
    assert found.verdict == "compatible"
    assert found.gain.high - found.gain.low < 1e-6 < found.new.high - found.new.low
    assert empirical_criterion(old, old + 0.01).verdict == "incompatible"


def test_no_difference_is_inconclusive():
    """Of 200 fair comparisons, 95 % intervals leave out 0 about ten times."""
    rng = np.random.default_rng(1)
    verdicts = [empirical_criterion(*rng.random((2, 60)), draws=400).verdict for _ in range(200)]
    assert 2 <= sum(v != "inconclusive" for v in verdicts) <= 25
    x = rng.random(60)
    assert empirical_criterion(x, x).verdict == "inconclusive"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000), st.booleans())
def test_properties(n, seed, gaps):
    new, old = np.random.default_rng(seed).random((2, n))
    if gaps:
        new = np.append(new, np.nan)
        old = np.append(old, np.nan)
    found = empirical_criterion(new, old, seed=seed, draws=200)
    assert found == empirical_criterion(new, old, seed=seed, draws=200)
    assert (found.queries, found.skipped) == (n, int(gaps))
    for interval in (found.new, found.old, found.gain):
        assert interval.low <= interval.value <= interval.high
    back = empirical_criterion(old, new, seed=seed, draws=200)
    assert back.gain.low == pytest.approx(-found.gain.high, abs=1e-6)


@pytest.mark.parametrize(
    ("new", "old", "options", "says"),
    [
        ([1, 0], [1], {}, "same queries"),
        ([[1, 0]], [[1, 0]], {}, "same queries"),
        ([], [], {}, "got 0 values"),
        ([np.nan], [np.nan], {}, "got 0 values"),
        ([np.inf, 1], [1, 1], {}, "finite"),
        ([1, np.nan], [1, 1], {}, "query 1 has a value in one"),
        (["a"], ["b"], {}, "real numbers"),
        ([1], [1], {"draws": 0}, "draws must be"),
        ([1], [1], {"seed": -1}, "seed must be"),
        ([1], [1], {"seed": 1.5}, "seed must be"),
        ([1], [1], {"confidence": 95}, "confidence must be"),
        ([1], [1], {"confidence": 1.0}, "confidence must be"),
    ],
)
def test_bad_input(new, old, options, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        empirical_criterion(new, old, **options)
    assert "\n" not in str(caught.value)
