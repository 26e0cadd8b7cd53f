"""The learned methods by way of `align.fit`: options reach them, held-out pairs do not, iterators are spooled."""

from __future__ import annotations

import inspect
import json
import warnings

import numpy as np
import pytest

import align
from align.bridges import learned, slerp
from align.bridges.methods import OPTIONS
from registry.errors import BadVector, InvalidInput

QUICK = {
    "mlp": {"epochs": 3, "hidden": 16},
    "fct": {"epochs": 3, "hidden": 16},
    "lambda-orthogonal": {"epochs": 3},
    "slerp": {},
}
KINDS = {"mlp": "mlp", "fct": "mlp", "lambda-orthogonal": "affine", "slerp": "slerp"}


def spaces(n=700, d=12, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 7, n)
    x = rng.standard_normal((7, d))[label] + rng.standard_normal((n, d))
    y = np.tanh(x @ np.linalg.qr(rng.standard_normal((d, d)))[0]) + 0.2 * rng.standard_normal((n, d))
    return x.astype(np.float32), y.astype(np.float32), label


def fitted(method, source, target=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return align.fit(source, target, method, seed=1, **{"device": "cpu", **QUICK[method], **options})


@pytest.mark.parametrize("method", QUICK)
def test_a_learned_map_is_measured_on_pairs_that_it_never_saw(method):
    x, y, label = spaces()
    found = fitted(method, x, y, holdout=0.2, labels=label)
    report = found.report
    assert report["holdout"]["item"]["recall@10"] > 0.5
    assert {"recall", "cmc@1", "map"} <= set(report["holdout"])
    assert report["calibration"]["native"] == ("target" if method == "fct" else "source")
    json.dumps(dict(report), allow_nan=False)
    from align.bridges.pairs import Split

    split = Split(0.2, seed=1)
    list(split.stream(x, y))
    poisoned = y.copy()
    poisoned[split.held.at] = np.random.default_rng(5).standard_normal((len(split.held), 12)) * 50
    again = fitted(method, x, poisoned, holdout=0.2, labels=label)
    for name, a in found.arrays().items():
        np.testing.assert_array_equal(a, again.arrays()[name])


@pytest.mark.parametrize("method", QUICK)
def test_an_iterator_is_read_once_and_spooled(method):
    x, y, _ = spaces()
    chunks = ((x[i : i + 150], y[i : i + 150]) for i in range(0, 700, 150))
    found, whole = fitted(method, chunks, holdout=0.2), fitted(method, x, y, holdout=0.2)
    for name, a in whole.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], a, atol=1e-5)


@pytest.mark.parametrize("method", QUICK)
def test_a_bad_row_of_an_iterator_is_named(method):
    x, y, _ = spaces()
    x[431] = np.nan
    chunks = ((x[i : i + 150], y[i : i + 150]) for i in range(0, 700, 150))
    with pytest.raises(BadVector, match="row 431 "):
        fitted(method, chunks, holdout=0.2)


def test_side_information_stays_with_its_pairs():
    x, y, _ = spaces()
    side = np.random.default_rng(3).standard_normal((700, 4)).astype(np.float32)
    found = fitted("fct", x, y, side=side, holdout=0.2)
    assert found.side_dim == 4 and "holdout" in found.report
    with pytest.raises(InvalidInput, match="side"):
        fitted("fct", x, y, side=side[:-1], holdout=0.2)


def test_auto_may_choose_among_learned_ones():
    x, y, _ = spaces()
    found = align.fit(x, y, "auto", candidates=("mlp", "orthogonal"), holdout=0.2, device="cpu")
    assert list(found.report["candidates"]) == ["orthogonal", "mlp"], "the simplest first, whatever the order asked for"


@pytest.mark.parametrize(
    ("method", "call"),
    [("mlp", "mlp"), ("fct", "fct"), ("lambda-orthogonal", "lambda_orthogonal"), ("slerp", "fit_slerp")],
)
def test_every_option_of_the_table_is_taken(method, call):
    taken = inspect.signature(getattr(slerp if method == "slerp" else learned, call)).parameters
    assert set(OPTIONS[method]) <= set(taken)


@pytest.mark.parametrize("method", QUICK)
def test_fewer_pairs_than_dimensions_and_too_few_pairs(method):
    rng = np.random.default_rng(0)
    found = fitted(method, *rng.standard_normal((2, 30, 40)).astype(np.float32))
    assert np.isfinite(found.arrays()["weight"]).all()
    with pytest.raises(InvalidInput):
        fitted(method, *rng.standard_normal((2, 1, 4)).astype(np.float32))
    with pytest.raises(InvalidInput):
        fitted(method, np.ones((50, 4), np.float32), rng.standard_normal((50, 4)).astype(np.float32))
