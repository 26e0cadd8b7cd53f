"""Pairs held out of a fit: which they are, that nothing learns from them, and that what is reported of them is true."""

from __future__ import annotations

import doctest
import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align.bridges.holdout import HeldOut
from align.bridges.pairs import Split, spool
from align.metrics import reembedding_recall, retrieval
from registry.errors import BadVector, InvalidInput, Unavailable
from registry.vectors import normalize

RNG = np.random.default_rng


@pytest.mark.parametrize("module", ["auto", "calibration", "fitting", "gpa", "solver"])
def test_doctests(module):
    result = doctest.testmod(importlib.import_module(f"align.bridges.{module}"), extraglobs={"np": np})
    assert result.failed == 0


def upgrade(n=600, d=16, noise=0.4, seed=0):
    """An old model that is a noisy rotation of the new one, on clustered items: new (n, d), old (n, d), labels (n,)."""
    rng = RNG(seed)
    label = rng.integers(0, 12, n)
    new = rng.standard_normal((12, d))[label] + 0.7 * rng.standard_normal((n, d))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    old = new @ rotation + noise * rng.standard_normal((n, d))
    return new.astype(np.float32), old.astype(np.float32), label


def cut(x, y, size):
    return ((x[i : i + size], y[i : i + size]) for i in range(0, len(x), size))


def streamed(split, source, target=None):
    blocks = list(split.stream(source, target))
    return [np.concatenate([b[i] for b in blocks]) for i in range(3)]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 3000), share=st.floats(0.01, 0.5), seed=st.integers(0, 99), size=st.integers(1, 700),
    most=st.integers(5, 60),
)  # fmt: skip
def test_a_split_is_by_seed_and_position_alone_and_loses_no_pair(n, share, seed, size, most):
    x = np.arange(1, n + 1, dtype=np.float32)[:, None]
    whole, cuts = (Split(share, seed=seed, most=most, fewest=3) for _ in range(2))
    at, left, right = streamed(whole, x, 2 * x)
    streamed(cuts, cut(x, 2 * x, size))
    held = whole.held
    if held is None:
        assert cuts.held is None
        assert sorted(at.tolist()) == list(range(n))
        return
    assert 3 <= len(held) <= most
    assert sorted([*at.tolist(), *held.at.tolist()]) == list(range(n))
    for rows in (held, cuts.held):
        np.testing.assert_array_equal(rows.at, held.at)
        np.testing.assert_array_equal(rows.x[:, 0], held.at + 1)
        np.testing.assert_array_equal(rows.y[:, 0], 2 * (held.at + 1))
    np.testing.assert_array_equal(left[:, 0], at + 1)
    np.testing.assert_array_equal(right[:, 0], 2 * (at + 1))


def test_beyond_the_most_every_pair_has_the_same_chance():
    x = np.ones((20_000, 1), np.float32)
    places = []
    for seed in range(20):
        split = Split(0.1, seed=seed, most=200)
        streamed(split, cut(x, x, 300))
        assert len(split.held) == 200
        places.append(split.held.at)
    mean, spread = 10_000, 20_000 / np.sqrt(12) / np.sqrt(4000)
    assert abs(np.concatenate(places).mean() - mean) < 4 * spread


def test_spooled_rows_are_the_rows():
    x, y, _ = upgrade(500)
    rows = spool(Split(0.0, seed=0).stream(cut(x.astype(np.float64), y.astype(np.float16), 130), None))
    assert isinstance(rows.x, np.memmap) and rows.x.dtype == rows.y.dtype == np.float32
    np.testing.assert_array_equal(rows.x, x)
    np.testing.assert_array_equal(rows.y, y.astype(np.float16))
    np.testing.assert_array_equal(rows.at, np.arange(500))


def test_a_full_temporary_folder_is_said_to_be_full(monkeypatch):
    x, y, _ = upgrade(300)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: Path("/dev/full").open("r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(Unavailable, match="set TMPDIR to a folder with more room"):
        spool(Split(0.0, seed=0).stream(x, y))


@pytest.mark.parametrize("method", ["orthogonal", "affine", "lowrank"])
@pytest.mark.parametrize("chunks", [False, True])
def test_nothing_is_learned_from_the_pairs_held_out(method, chunks):
    x, y, _ = upgrade()
    split = Split(0.2, seed=3)
    streamed(split, x, y)
    held = split.held.at
    poisoned = y.copy()
    poisoned[held] = RNG(1).standard_normal((len(held), 16)) * 100
    weights = [
        align.fit(*(([*cut(x, t, 90)], None) if chunks else (x, t)), method, holdout=0.2, seed=3, device="cpu").apply(x)
        for t in (y, poisoned)
    ]
    np.testing.assert_array_equal(*weights)
    alone = align.fit(np.delete(x, held, 0), np.delete(y, held, 0), method, device="cpu")
    np.testing.assert_allclose(weights[0], alone.apply(x), atol=1e-4)
    assert alone.report["pairs"] == 600 - len(held)


def naive(queries, gallery, k):
    """Each row's own rank, ties last, and its k best others, by loops over cosines."""
    q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries.astype(float), gallery.astype(float)))
    ranks, best = [], []
    for i, row in enumerate(q):
        scores = [float(row @ other) for other in g]
        ranks.append(sum(s >= scores[i] for s in scores))
        others = [j for j in range(len(g)) if j != i]
        best.append(set(sorted(others, key=lambda j, s=scores: -s[j])[:k]))
    return np.array(ranks), best


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_reported_is_what_loops_count(dtype):
    x, y, label = (v.astype(dtype) if v.dtype.kind == "f" else v for v in upgrade())
    fitted = align.fit(x, y, "affine", holdout=0.2, labels=label, seed=1, device="cpu")
    split = Split(0.2, seed=1)
    streamed(split, x, y)
    at, mapped = split.held.at, fitted.apply(split.held.x)
    found = fitted.report["holdout"]
    assert (found["pairs"], found["k"], found["seed"]) == (len(at), 10, 1)
    ranks, bridged = naive(mapped, y[at], 10)
    assert found["item"] == pytest.approx(
        {"recall@1": (ranks <= 1).mean(), "recall@10": (ranks <= 10).mean(), "mrr": (1 / ranks).mean()}
    )
    truth, stay = naive(x[at], x[at], 10)[1], naive(y[at], y[at], 10)[1]
    for name, sets in (("bridged", bridged), ("stay", stay)):
        expected = np.mean([len(a & b) / 10 for a, b in zip(sets, truth, strict=True)])
        assert found["recall"][name]["value"] == pytest.approx(expected, abs=1e-6)
    for name, metric in (("cmc@1", lambda r: r.cmc[1]), ("map", lambda r: r.map)):
        labels = {"query_labels": label[at], "gallery_labels": label[at], "same_items": True, "device": "cpu"}
        bridged_value = metric(retrieval(mapped, y[at], **labels))
        stay_value = metric(retrieval(y[at], y[at], **labels))
        assert found[name]["bridged"]["value"] == pytest.approx(bridged_value, abs=1e-6)
        assert found[name]["gain"]["value"] == pytest.approx(bridged_value - stay_value, abs=1e-6)
    for name in ("recall", "cmc@1", "map"):
        for side in found[name].values():
            assert side["low"] <= side["value"] <= side["high"]
        assert found[name]["gain"]["high"] - found[name]["gain"]["low"] < 0.5
    json.dumps(dict(fitted.report), allow_nan=False)


def test_recall_is_that_of_the_metrics_module():
    x, y, _ = upgrade()
    held = HeldOut(x, y, metrics=("cosine", "cosine"))
    fitted = align.fit(x, y, device="cpu")
    expected = reembedding_recall(x, x, bridged=(fitted.apply(x), y), k=10, same_items=True).value
    assert held.measure(fitted)["recall"]["bridged"]["value"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_other_metrics_are_compared_as_search_compares_them(metric):
    x, y, _ = upgrade()
    fitted = align.fit(x, y, holdout=0.2, normalize=False, metrics=(metric, metric), device="cpu")
    split = Split(0.2, seed=0)
    streamed(split, x, y)
    mapped, gallery = fitted.apply(split.held.x), split.held.y
    scores = mapped @ gallery.T if metric == "dot" else -np.square(mapped[:, None] - gallery[None]).sum(-1)
    ranks = (scores >= np.diag(scores)[:, None]).sum(1)
    assert fitted.report["holdout"]["item"]["mrr"] == pytest.approx((1 / ranks).mean(), abs=1e-6)
    low, high = fitted.report["calibration"]["y"][0], fitted.report["calibration"]["y"][-1]
    assert low < high <= (1e-3 if metric == "l2" else np.square(split.held.x).sum(1).max())


def test_an_identity_keeps_everything_and_a_collapse_nothing():
    x = RNG(0).standard_normal((400, 8)).astype(np.float32)
    whole = align.fit(x, x, holdout=0.3, device="cpu").report["holdout"]
    assert whole["item"] == {"recall@1": 1.0, "recall@10": 1.0, "mrr": 1.0}
    assert whole["recall"]["bridged"]["value"] == whole["recall"]["stay"]["value"] == 1
    lost = HeldOut(x, x, metrics=("cosine", "cosine")).measure(
        align.bridges.fit(x, RNG(1).standard_normal((400, 8)).astype(np.float32), device="cpu")
    )
    assert lost["recall"]["gain"]["high"] < -0.5, "a map of unrelated rows finds less than staying does"


def test_few_pairs_are_said_to_be_few():
    x, y, _ = upgrade(300, 16)
    cases = [(90, 60, "few for 16 -> 60 dimensions: give 120 or more$"), (50, 60, "trust the map little")]
    for n, wide, said in cases:
        with pytest.warns(UserWarning, match=said):
            align.fit(x[:n], np.tile(y[:n], (1, 4))[:, :wide], device="cpu")
    with pytest.warns(UserWarning, match="maps often improve up to some 160"):
        found = align.fit(x[:150], y[:150], holdout=0.2, device="cpu")
    assert found.report["confidence"] == "fair"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        align.fit(x[:150], y[:150], device="cpu")
        assert align.fit(x, y, holdout=0.2, device="cpu").report["confidence"] == "good"


def test_too_few_to_hold_out_are_all_fitted_to():
    x, y, _ = upgrade(60)
    with warnings.catch_warnings(record=True) as said:
        found = align.fit(x, y, holdout=0.05, device="cpu")
    assert any("60 pairs are too few to hold any out" in str(warning.message) for warning in said)
    assert found.report["pairs"] == 60
    assert not {"holdout", "calibration"} & set(found.report)


def test_labels_that_nobody_shares_are_left_out_with_a_warning():
    x, y, _ = upgrade()
    with pytest.warns(UserWarning, match="share a label"):
        found = align.fit(x, y, holdout=0.2, labels=np.arange(600), device="cpu")
    assert "cmc@1" not in found.report["holdout"]
    one = align.fit(x, y, holdout=0.2, labels=["a"] * 600, device="cpu").report["holdout"]
    assert one["map"]["bridged"]["value"] == one["map"]["stay"]["value"] == 1


def test_duplicates_and_constant_dimensions_are_measured():
    x, y, _ = upgrade(200)
    x, y = (np.repeat(np.column_stack([v[:20], np.full(20, 3.0)]), 30, axis=0) for v in (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = align.fit(x, y, "affine", holdout=0.2, device="cpu").report
    assert found["holdout"]["item"]["recall@1"] < 0.2, "of equal scores the own item is last"
    json.dumps(dict(found), allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(row=st.integers(0, 299), side=st.sampled_from(["source", "target"]), bad=st.sampled_from([np.nan, np.inf, 0]))
def test_a_bad_row_is_named_by_its_place_among_all_pairs(row, side, bad):
    x, y, _ = upgrade(300)
    (x if side == "source" else y)[row] = bad
    for source, target in ((x, y), (cut(x, y, 70), None)):
        with pytest.raises(BadVector, match=f"{side} row {row} ") as caught:
            align.fit(source, target, holdout=0.3, device="cpu")
        assert caught.value.row == row


X, Y, LABEL = upgrade(300)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: align.fit(X, Y, holdout=0.6), "holdout must be a share of the pairs from 0 to 0.5"),
        (lambda: align.fit(X, Y, holdout=True), "holdout must be a share"),
        (lambda: align.fit(X, Y, holdout=np.nan), "holdout must be a share"),
        (lambda: align.fit(X, Y, labels=LABEL), "give holdout=0.1"),
        (lambda: align.fit(X, Y, holdout=0.1, labels=LABEL[:-1]), "labels has 299 entries for 300 pairs"),
        (lambda: align.fit(X, Y, holdout=0.1, labels=LABEL[:, None]), "labels must be"),
        (lambda: align.fit(X, Y, holdout=0.1, labels=LABEL * 0.5), "labels must be integers or strings"),
        (lambda: align.fit(X, Y, holdout=0.1, metrics=("cosine", "dot")), "metrics are those of source and target"),
        (lambda: align.fit(X, Y, holdout=0.1, normalize=False, metrics=("dot", "no")), "metrics are those"),
        (lambda: align.fit(X, Y[:200], holdout=0.1), "source has 300 rows and target 200"),
        (lambda: align.fit(X[:0], Y[:0], holdout=0.1), "no rows"),
        (lambda: align.fit(X, Y.astype(complex), holdout=0.1), "floating-point"),
        (lambda: align.fit(np.ones_like(X), Y, holdout=0.1), "are equal"),
        (lambda: align.fit(X, Y, "slerp", rank=3), "rank belongs to the lowrank method, got it for 'slerp'"),
        (lambda: align.fit(X, Y, "mlp", alpha=0.3), "alpha belongs to the slerp method"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_lengths_are_kept_where_directions_do_not_count():
    x, y, _ = upgrade()
    found = align.fit(3 * x, y, holdout=0.2, normalize=False, device="cpu")
    assert not found.normalize and found.report["holdout"]["recall"]["bridged"]["value"] > 0.3
    assert np.abs(np.linalg.norm(found.apply(3 * x), axis=1) - 1).max() > 0.1
    assert normalize(x).shape == x.shape
