"""The hub of three versions or more: exact where it can be, near the pairwise maps where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import align
from align.bridges import Hub, fit_gpa
from align.bridges.correction import correction
from align.bridges.pairs import Split
from registry import connect, transforms
from registry.errors import BadVector, InvalidInput
from registry.vectors import normalize


def turned(d, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def versions(n=700, widths=(20, 32, 26), noise=0.3, seed=0):
    """Versions of one latent space of 16 dimensions, each turned its own way, bent a little and with noise of its own."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 16)) * np.linspace(1.5, 0.5, 16)
    found = []
    for i, d in enumerate(widths):
        x = np.tanh(z @ turned(max(d, 16), 100 + i)[:16, :d] / 3) * 3
        found.append((x + noise * rng.standard_normal((n, d)) + 0.2 * i).astype(np.float32))
    return found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.integers(0, 2), st.sampled_from([np.float32, np.float64]))
def test_exact_rotations_are_recovered_whatever_the_reference(seed, unit, reference, dtype):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((300, 10)) * np.logspace(0, -1, 10) + 0.2
    x = normalize(x) if unit else x
    spaces = [x, x @ turned(10, seed), x @ turned(10, seed + 1)]
    if not unit:
        spaces = [spaces[0], 3 * spaces[1] + 1, spaces[2] / 2]
    hub = fit_gpa([s.astype(dtype) for s in spaces], normalize=unit, reference=reference, device="cpu")
    assert hub.misfit < 1e-5 and hub.reference == reference
    for space, bridge in zip(spaces, hub.maps, strict=True):
        scale = np.abs(spaces[reference]).max()
        np.testing.assert_allclose(bridge.apply(space), spaces[reference], atol=1e-3 * scale)


def test_different_widths_meet_in_the_widest_and_its_own_map_is_the_identity():
    spaces = versions()
    hub = fit_gpa(spaces, device="cpu")
    assert [(m.source_dim, m.target_dim) for m in hub.maps] == [(20, 32), (32, 32), (26, 32)]
    np.testing.assert_allclose(hub.maps[1].apply(spaces[1]), normalize(spaces[1]), atol=1e-5)
    for bridge in hub.maps:
        q = bridge.weight / bridge.report["scale"]
        np.testing.assert_allclose(q @ q.T, np.eye(len(q)), atol=1e-5)
    narrow = fit_gpa(spaces, reference=0, device="cpu")
    q = narrow.maps[1].weight / narrow.maps[1].report["scale"]
    np.testing.assert_allclose(q.T @ q, np.eye(20), atol=1e-5)


def test_two_versions_are_plain_procrustes():
    x, y, _ = versions()
    hub = fit_gpa([x, y], device="cpu")
    np.testing.assert_allclose(hub.maps[0].weight, align.fit(x, y, device="cpu").weight, atol=1e-4)
    assert hub.maps[0].report["residual"] == pytest.approx(align.fit(x, y, device="cpu").report["residual"], abs=1e-4)


def misfit(spaces, maps):
    """Gower's loss by its definition, on rows: what is left around the mean of all, of variances scaled to 1."""
    centred = [x - x.mean(0) for x in (normalize(s).astype(np.float64) for s in spaces)]
    mapped = [x / np.sqrt(np.square(x).sum()) @ m for x, m in zip(centred, maps, strict=True)]
    mean = sum(mapped) / len(mapped)
    return sum(np.square(x - mean).sum() for x in mapped) / len(mapped)


def test_the_misfit_is_gowers_and_below_that_of_pairwise_maps():
    spaces = versions()
    hub = fit_gpa(spaces, device="cpu")
    rotations = [m.weight.astype(np.float64) / m.report["scale"] for m in hub.maps]
    assert hub.misfit == pytest.approx(misfit(spaces, rotations), abs=1e-5)
    pairwise = [align.fit(x, spaces[1], device="cpu") for x in spaces]
    assert hub.misfit < misfit(spaces, [m.weight / m.report["scale"] for m in pairwise])
    assert 2 < hub.iterations < 100
    assert fit_gpa(spaces, iterations=1, device="cpu").misfit > hub.misfit


def test_any_two_versions_meet_in_the_hub():
    a, _, c = versions()
    hub = fit_gpa(versions(), device="cpu")
    scores = hub.maps[0].apply(a) @ hub.maps[2].apply(c).T
    assert (scores.argmax(1) == np.arange(len(a))).mean() > 0.9


def test_chunks_are_arrays():
    spaces = versions()
    parts = ([x[i : i + 150] for x in spaces] for i in range(0, 700, 150))
    whole, cut = fit_gpa(spaces, holdout=0.1, device="cpu"), fit_gpa(parts, holdout=0.1, device="cpu")
    for a, b in zip(whole.maps, cut.maps, strict=True):
        np.testing.assert_allclose(a.weight, b.weight, atol=1e-4)
        assert a.report.get("holdout", {}).get("item") == b.report.get("holdout", {}).get("item")


def test_each_map_is_measured_on_items_held_out():
    hub = align.fit(versions(), method="gpa", holdout=0.2, reference=1, device="cpu")
    assert isinstance(hub, Hub)
    assert "holdout" not in hub.maps[1].report
    older, newer = hub.maps[0].report, hub.maps[2].report
    assert older["calibration"]["native"] == "target", "queries of the reference search what the older one stored"
    assert newer["calibration"]["native"] == "source", "its own queries search what the reference stored"
    for report in (older, newer):
        assert report["holdout"]["item"]["recall@1"] > 0.9
        assert report["pairs"] + report["holdout"]["pairs"] == 700
        json.dumps(dict(report), allow_nan=False)


def test_a_version_is_added_by_one_map():
    first, second, third = versions()
    hub = fit_gpa([first, second], device="cpu")
    grown = hub.add(third, [first, second], device="cpu")
    assert grown.maps[:2] == hub.maps and len(grown.maps) == 3
    refitted = fit_gpa([first, second, third], device="cpu")
    near = [
        np.vecdot(h.maps[2].apply(third), refitted.consensus([first, second, third])).mean() for h in (grown, refitted)
    ]
    assert near[0] > near[1] - 0.02, "nearly as good as fitting all anew"
    half = hub.add(third, [first, None], device="cpu")
    assert half.maps[2].report["residual"] < 0.5
    with pytest.raises(InvalidInput, match="added by items that the hub knows"):
        hub.add(third, [None, None])
    with pytest.raises(InvalidInput, match="added by items"):
        hub.add(third, [first[:5], None])
    with pytest.raises(InvalidInput, match="added by items"):
        hub.add(third, [first])


def test_the_star_is_registered_as_ordinary_transforms(home):
    spaces = versions()
    hub = fit_gpa(spaces, reference=0, holdout=0.2, device="cpu")
    reg = connect(home)
    for x in spaces:
        reg.register_version("m", dim=x.shape[1], fingerprint={"d": x.shape[1]})
    for i in (1, 2):
        info = reg.add_transform(hub.maps[i], source=f"m/{i + 1}", target="m/1")
        assert info.kind == "orthogonal" and info.report["method"] == "gpa"
        assert transforms.loads(hub.maps[i].dumps()).report == dict(hub.maps[i].report)
    path = reg.convert(spaces[1][:3], source="m/2", into="m/1", allow_unmeasured=True)
    np.testing.assert_allclose(path, hub.maps[1].apply(spaces[1][:3]), atol=1e-5)


@pytest.fixture(scope="module")
def corrected():
    """Three versions that all bend the space alike, which a rotation cannot undo, and a correction of their hub."""
    spaces = versions(n=1500, widths=(12, 12, 12), noise=0.5)
    hub = fit_gpa(spaces, normalize=True, device="cpu")
    means = [normalize(x).mean(0) for x in spaces]  # the whole shift, which leaves the correction more to do
    whole = (replace(m, bias=means[hub.reference] - mean @ m.weight) for m, mean in zip(hub.maps, means, strict=True))
    hub = replace(hub, maps=tuple(whole))
    mapped = [m.apply(x) for m, x in zip(hub.maps, spaces, strict=True)]
    return mapped, hub.consensus(spaces), correction([x[:1000] for x in mapped], steps=600, device="cpu")


def test_the_correction_draws_versions_to_their_consensus(corrected):
    mapped, consensus, shared = corrected
    for x in mapped:  # items that it was not fitted to
        before, after = x[1000:], shared.apply(x[1000:])
        gained = np.vecdot(after - before, consensus[1000:]).mean()
        assert gained > 0.005
        assert (1 - np.vecdot(after, before)).mean() < 0.08, "and leaves each near where the rotation put it"
    assert shared.report["method"] == "gcpa" and shared.report["hidden"] == 24


def test_the_correction_is_repeatable_and_belongs_to_the_hub():
    spaces = versions(n=200)
    few = [m.apply(x) for m, x in zip(fit_gpa(spaces, device="cpu").maps, spaces, strict=True)]
    a, b = (correction(few, steps=20, seed=3, device="cpu") for _ in range(2))
    assert a.digest() == b.digest() != correction(few, steps=20, seed=4, device="cpu").digest()
    begun = correction(few, steps=1, lr=0.0, device="cpu")
    np.testing.assert_allclose(begun.apply(few[0]), few[0], atol=1e-6)


def test_a_hub_may_come_with_its_correction_which_never_saw_what_is_held_out():
    spaces = versions(n=150, widths=(8, 8, 8))
    split = Split(0.2, seed=0)
    list(split.stream(spaces[0], spaces[1]))
    poisoned = [x.copy() for x in spaces]
    for x in poisoned:
        x[split.held.at] = np.random.default_rng(2).standard_normal((len(split.held), 8))
    a, b = (fit_gpa(s, correct=True, holdout=0.2, device="cpu") for s in (spaces, poisoned))
    assert a.correction is not None and (a.correction.source_dim, a.correction.target_dim) == (8, 8)
    np.testing.assert_array_equal(a.correction.out, b.correction.out)
    assert a.reference == 0 and a.maps[0].report["method"] == "gpa"


SPACES = versions(60)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit_gpa(SPACES[:1]), "two versions or more"),
        (lambda: fit_gpa([]), "two versions or more"),
        (lambda: fit_gpa(iter(())), "two versions or more"),
        (lambda: fit_gpa(SPACES[0]), "a list with the rows of each version"),
        (lambda: fit_gpa(3), "a list with the rows of each version"),
        (lambda: fit_gpa([SPACES[0], SPACES[1][:9]]), "as many rows each, got"),
        (lambda: fit_gpa([SPACES[0][:0], SPACES[1][:0]]), "no rows"),
        (lambda: fit_gpa([SPACES[0], np.ones((60, 4))], device="cpu"), "all rows of version 1 are equal"),
        (lambda: fit_gpa(SPACES, reference=3), "reference must be the place of a version, 0 to 2"),
        (lambda: fit_gpa(SPACES, reference=True), "reference must be"),
        (lambda: fit_gpa(SPACES, holdout=0.9), "holdout must be"),
        (lambda: fit_gpa(iter([SPACES]), correct=True), "the correction reads arrays many times"),
        (lambda: fit_gpa(SPACES, correct=True, normalize=False), "the correction reads arrays"),
        (lambda: fit_gpa([SPACES[0], SPACES[1].astype(str)]), "floating-point"),
        (lambda: align.fit(SPACES, SPACES[0], method="gpa"), "no target or labels"),
        (lambda: align.fit(SPACES, method="gpa", ridge=1.0), "ridge belongs to"),
        (lambda: align.fit(SPACES[0], SPACES[1], reference=1), "reference belongs to the gpa method"),
        (lambda: correction(SPACES), "20 items or more by two versions"),
        (lambda: correction([SPACES[0]]), "20 items or more by two versions"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_a_bad_row_names_its_version_and_place(bad):
    spaces = [x.copy() for x in SPACES]
    spaces[2][41] = bad
    for holdout in (0.0, 0.3):
        for rows in (spaces, ([x[i : i + 25] for x in spaces] for i in range(0, 60, 25))):
            with pytest.raises(BadVector, match="version 2 row 41 ") as caught:
                fit_gpa(rows, holdout=holdout, device="cpu")
            assert caught.value.row == 41
