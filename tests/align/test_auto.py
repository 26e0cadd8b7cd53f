"""`auto` and `fit_closed`: which candidates are tried, which is taken, and when none is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align.bridges import METHODS, fit_closed
from align.bridges.auto import candidates_for, choose
from align.bridges.methods import CANDIDATES, OPTIONS
from align.bridges.pairs import Split
from registry.errors import InvalidInput, NotWorthIt, SamespaceError, from_code


def spaces(n=800, d=16, *, stretch=False, noise=0.1, seed=0):
    """A new model of a latent space, and an old one that sees it rotated, or through any linear map, and with noise."""
    rng = np.random.default_rng(seed)
    new = rng.standard_normal((n, 12)) @ rng.standard_normal((12, d)) / 3
    turn = rng.standard_normal((d, d)) / 3 if stretch else np.linalg.qr(rng.standard_normal((d, d)))[0]
    old = new @ turn + noise * rng.standard_normal((n, d))
    return new.astype(np.float32), old.astype(np.float32)


def stretched(n=3000, d=16, seed=0):
    """The old model stretches the space: a map that reproduces the stretch of its vectors in the queries doubles it."""
    rng = np.random.default_rng(seed)
    new = rng.standard_normal((n, d)).astype(np.float32)
    return new, (new @ rng.standard_normal((d, d)) + 0.3 * rng.standard_normal((n, d))).astype(np.float32)


def half_noise(n=3000, seed=0):
    """Half of what the old model stores has nothing to do with the items: only a map that is no rotation leaves it out."""
    rng = np.random.default_rng(seed)
    new = rng.standard_normal((n, 16)) * np.repeat([1, 0.7], 8)
    old = np.column_stack([new[:, :8], 2 * rng.standard_normal((n, 8))])
    return new.astype(np.float32), old.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_pass_gives_what_each_method_gives_alone(dtype):
    x, y = (v.astype(dtype) for v in stretched(800))
    seen: list[int] = []
    chunks = ((x[i : i + 300], y[i : i + 300]) for i in range(0, 800, 300))
    found = fit_closed(chunks, holdout=0.1, device="cpu", progress=lambda done, _: seen.append(done))
    assert list(found) == ["orthogonal", "affine", "lowrank"]
    assert seen == sorted(set(seen)), "every pair is read once"
    for method, bridge in found.items():
        alone = align.fit(x, y, method, holdout=0.1, device="cpu")
        assert bridge.kind == alone.kind == method
        np.testing.assert_allclose(bridge.apply(x), alone.apply(x), atol=1e-3)
        measured, expected = (b.report["holdout"]["recall"]["bridged"]["value"] for b in (bridge, alone))
        assert measured == pytest.approx(expected, abs=0.005)


def test_options_of_the_closed_forms_go_to_those_that_take_them():
    x, y = spaces(stretch=True)
    found = fit_closed(x, y, ridge=0.5, rank=3, device="cpu")
    assert found["affine"].report["ridge"] == found["lowrank"].report["ridge"] == 0.5
    assert found["lowrank"].report["rank"] == 3


@pytest.mark.parametrize(("pairs", "wanted"), [(stretched(), "orthogonal"), (half_noise(), "affine")])
def test_the_candidate_that_finds_the_most_is_taken(pairs, wanted):
    x, y = pairs
    found = align.fit(x, y, "auto", device="cpu")
    recalls = {name: c["recall"]["bridged"]["value"] for name, c in found.report["candidates"].items()}
    assert set(recalls) == {"orthogonal", "affine", "lowrank"}
    assert recalls[found.kind] == max(recalls.values())
    assert found.report["holdout"] == found.report["candidates"][found.kind]
    assert recalls[wanted] > min(recalls.values()) + 0.05
    assert recalls[wanted] >= max(recalls.values()) - 0.01
    assert 0.05 * len(x) < found.report["holdout"]["pairs"] <= 0.15 * len(x), "a tenth, though nobody named a share"
    json.dumps(dict(found.report), allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**7), st.integers(1, 4096), st.integers(1, 4096))
def test_more_pairs_never_allow_less(n, ds, dt):
    tried = candidates_for(n, ds, dt)
    assert tried == candidates_for(n, dt, ds)
    assert tried == ("orthogonal", "affine", "lowrank")[: len(tried)]
    assert len(tried) <= len(candidates_for(n + 1, ds, dt))
    assert (len(tried) == 1) == (n < max(ds, dt) / 2)


def test_few_pairs_are_for_stiff_maps():
    x, y = spaces(n=110, d=300, noise=1.5)
    with pytest.warns(UserWarning, match="few"):
        found = align.fit(x, y, "auto", holdout=0.2, device="cpu")
    assert list(found.report["candidates"]) == ["orthogonal"]
    assert found.report["confidence"] == "low"
    with pytest.warns(UserWarning, match="too few to hold any out"):
        found = align.fit(x[:40], y[:40], "auto", device="cpu")
    assert found.kind == "orthogonal" and "candidates" not in found.report


def measured(gain=0.0, low=0.0, high=0.0, *, recall=0.5, **labels):
    def interval(value, low, high):
        return {
            "bridged": {"value": value},
            "stay": {"value": value - gain},
            "gain": {"value": gain, "low": low, "high": high},
        }

    found = {"pairs": 100, "k": 10, "recall": interval(recall, low, high)}
    return found | {name: interval(0.3, *ends) for name, ends in labels.items()}


def test_ties_go_to_the_simpler():
    assert choose({"orthogonal": measured(), "affine": measured()}) == "orthogonal"
    assert choose({"orthogonal": measured(), "affine": measured(recall=0.51)}) == "affine"


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        (measured(-0.1, -0.2, -0.01), True),
        (measured(-0.1, -0.2, 0.01), False),
        (measured(0.1, 0.05, 0.2), False),
        (measured(-0.1, -0.2, -0.01, **{"cmc@1": (0.01, 0.2), "map": (-0.1, 0.1)}), False),
        (measured(0.1, 0.05, 0.2, **{"cmc@1": (0.01, 0.2), "map": (-0.2, -0.1)}), True),
        (measured(0.1, 0.05, 0.2, **{"cmc@1": (-0.2, -0.1), "map": (-0.2, 0.1)}), True),
    ],
)
def test_none_is_worth_it_when_the_best_surely_loses(found, refused):
    if not refused:
        assert choose({"orthogonal": found}) == "orthogonal"
        return
    with pytest.raises(NotWorthIt) as caught:
        choose({"orthogonal": found})
    assert caught.value.report["candidates"] == {"orthogonal": found}


def test_staying_is_an_answer():
    """The old model is nearly as good as the new one; a bridge fitted to pairs in the wrong order can only do harm."""
    new, old = spaces()
    split = Split(0.1, seed=0)
    fitted_to = np.concatenate([at for at, _, _ in split.stream(new, old)])
    old[fitted_to] = old[np.random.default_rng(1).permutation(fitted_to)]
    with pytest.raises(NotWorthIt, match="none of orthogonal, affine, lowrank is worth it: recall@10") as caught:
        align.fit(new, old, "auto", device="cpu")
    said, report = str(caught.value), caught.value.report
    assert "\n" not in said and "stay with the old version" in said
    assert report["best"] in report["candidates"] and set(report["candidates"]) == {"orthogonal", "affine", "lowrank"}
    json.dumps(report, allow_nan=False)
    assert from_code("not_worth_it") is NotWorthIt and issubclass(NotWorthIt, SamespaceError)


def test_labels_may_say_so_too():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 8, 900)
    old = (3 * np.eye(8, 24)[label] + rng.standard_normal((900, 24))).astype(np.float32)
    new = rng.standard_normal((900, 24)).astype(np.float32)
    with pytest.raises(NotWorthIt, match=r"CMC@1 is .* across the best map, .* without one \(gain -.*; mAP is"):
        align.fit(new, old, "auto", labels=label, device="cpu")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: align.fit(x, x, "auto", candidates=["orthogonal", "fct"]), "auto cannot choose 'fct'"),
        (lambda x: align.fit(x, x, "auto", candidates=[]), "candidates must list one method or more"),
        (lambda x: align.fit(x, x, "auto", candidates="mlp"), "candidates must list|cannot choose"),
        (lambda x: align.fit(x, x, "auto", ridge=1.0), "ridge belongs to the affine method and the lowrank method"),
        (lambda x: align.fit(x, x, "affine", candidates=["mlp"]), "candidates belongs to the auto method"),
        (lambda x: fit_closed(x, x, methods=["mlp"]), "methods must be among orthogonal, affine, lowrank"),
        (lambda x: fit_closed(x, x, methods="affine"), "methods must be among"),
        (lambda x: fit_closed(x, x, methods=()), "methods must be among"),
        (lambda x: fit_closed(x, x, methods=["affine"], rank=2), "none of affine takes rank"),
        (lambda x: fit_closed(x, x, ridge=-1.0), "ridge must be"),
        (lambda x: fit_closed(x, x, rank=99), "rank must be"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says):
        call(spaces(100)[0])


def test_the_tables_of_methods_agree():
    assert set(OPTIONS) == set(METHODS)
    assert set(CANDIDATES) < set(METHODS)
