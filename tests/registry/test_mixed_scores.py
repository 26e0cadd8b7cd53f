"""Mixed galleries: scores across a bridge are calibrated before segments are merged, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import align
from registry import connect
from registry.calibration import apply, curve

STORED = 300


@pytest.fixture(scope="module")
def world():
    """Items in clusters; the old model sees each through noise, so that across any bridge all cosines are small."""
    rng = np.random.default_rng(0)
    n, d = 2000, 64
    centre = rng.standard_normal((20, d))[rng.integers(0, 20, n)]
    new = 1.25 * centre + rng.standard_normal((n, d))
    old = new @ np.linalg.qr(rng.standard_normal((d, d)))[0] + 1.8 * rng.standard_normal((n, d))
    return new.astype(np.float32), old.astype(np.float32)


@pytest.fixture(scope="module")
def bridge(world):
    new, old = world
    return align.fit(new[2 * STORED :], old[2 * STORED :], holdout=0.3, device="cpu")


@pytest.fixture
def mixed(home, world):
    """`fill(transform, source=..)`: a gallery whose first half m/1 stored, the second half m/2."""
    new, old = world

    def fill(transform, *, source="m/2", target="m/1"):
        reg = connect(home)
        for _ in range(2):
            reg.register_version("m", dim=64, fingerprint={"n": len(reg.models())})
        reg.create_gallery("g", id_type="int")
        reg.append("g", version="m/1", ids=np.arange(STORED), vectors=old[:STORED])
        reg.append("g", version="m/2", ids=np.arange(STORED, 2 * STORED), vectors=new[STORED : 2 * STORED])
        reg.add_transform(transform, source=source, target=target)
        return reg

    return fill


def queries(world):
    """New vectors of the stored items, a little off: what each should find first is its own item."""
    new, _ = world
    return (new + 0.1 * np.random.default_rng(1).standard_normal(new.shape)).astype(np.float32)[: 2 * STORED]


def found_first(reg, asked, **options):
    hits = reg.search("g", asked, allow_unmeasured=True, **{"version": "m/2", "k": 1, **options})
    return hits.ids[:, 0] == np.arange(len(asked))


def without_calibration(transform):
    return replace(transform, report={k: v for k, v in transform.report.items() if k != "calibration"})


def test_calibrated_segments_merge_where_raw_scores_do_not(mixed, world, bridge):
    right = found_first(mixed(bridge), queries(world))
    assert right[:STORED].mean() > 0.8, "items that only the old model stored"
    assert right[STORED:].mean() > 0.95, "items that the new model stored"


def test_raw_scores_hide_what_the_old_version_stored(mixed, world, bridge):
    right = found_first(mixed(without_calibration(bridge)), queries(world))
    assert right[:STORED].mean() < 0.4
    assert right[STORED:].mean() > 0.95


def test_calibrated_scores_are_the_curve_of_raw_ones(mixed, world, bridge):
    reg = mixed(bridge)
    new, old = world
    hits = reg.search("g", new[:5], version="m/2", k=2 * STORED, allow_unmeasured=True)
    raw = bridge.apply(new[:5]) @ (old[:STORED] / np.linalg.norm(old[:STORED], axis=1, keepdims=True)).T
    expected = apply(raw, *curve(bridge.report, "source"))
    for row in range(5):
        scores = dict(zip(hits.ids[row].tolist(), hits.scores[row].tolist(), strict=True))
        np.testing.assert_allclose([scores[i] for i in range(STORED)], expected[row], atol=1e-3)
        assert (np.diff(hits.scores[row]) <= 0).all()


def test_a_gallery_of_one_segment_keeps_its_scores(home, world, bridge):
    new, old = world
    reg = connect(home)
    for i in range(2):
        reg.register_version("m", dim=64, fingerprint={"n": i})
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=np.arange(STORED), vectors=old[:STORED])
    reg.add_transform(bridge, source="m/2", target="m/1")
    hits = reg.search("g", new[:3], version="m/2", k=5, allow_unmeasured=True)
    raw = np.sort(bridge.apply(new[:3]) @ (old[:STORED] / np.linalg.norm(old[:STORED], axis=1, keepdims=True)).T)
    np.testing.assert_allclose(hits.scores, raw[:, :-6:-1], atol=1e-5)


def test_a_calibration_counts_only_for_the_queries_it_was_measured_for(mixed, world, bridge):
    """Led into the new space, stored vectors meet new queries there: the knots are of the map's source, not of theirs."""
    new, old = world
    forward = align.fit(old[2 * STORED :], new[2 * STORED :], holdout=0.3, device="cpu")
    reg = mixed(forward, source="m/1", target="m/2")
    hits = reg.search("g", new[:1], version="m/2", k=2 * STORED, allow_unmeasured=True)
    assert hits.path["m/1"].gallery
    raw = forward.apply(old[:STORED]) @ (new[0] / np.linalg.norm(new[0]))
    scores = dict(zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True))
    np.testing.assert_allclose([scores[i] for i in range(STORED)], raw, atol=1e-5)


def test_fewer_items_than_asked_for_stay_empty(mixed, world, bridge):
    hits = mixed(bridge).search("g", world[0][:2], version="m/2", k=700, allow_unmeasured=True)
    assert (hits.ids[:, 600:] == -1).all() and np.isneginf(hits.scores[:, 600:]).all()
    assert sorted(hits.ids[0, :600].tolist()) == list(range(600))


def test_shared_items_come_with_their_labels(lite, rows):
    a, b, c = rows(8, 4), rows(8, 6, seed=1), rows(8, 5, seed=2)
    for i, d in enumerate((4, 6, 5)):
        lite.register_version("m", dim=d, fingerprint={"n": i})
    lite.create_gallery("g", id_type="int", labels=["kind", "size"])
    names = np.array(["x", "y", "z", "x", "y", "z", "x", "y"])
    for version, order, vectors in (
        ("m/1", [0, 1, 2, 3, 4, 5], a),
        ("m/2", [5, 1, 7, 3, 0], b),
        ("m/3", [3, 5, 6, 1], c),
    ):
        labels = {"kind": names[order], "size": np.array(order) % 2}
        lite.append("g", version=version, ids=order, vectors=vectors[order], labels=labels)
    for _ in range(2):  # every time anew
        found = lite.shared("g", versions=["m/1", "m/2", "m/3"], label="kind", rows=2)
        blocks = list(found)
        assert len(found) == 3 and [len(x) for x in blocks[0]] == [len(blocks[0][0])] * 3
        for at, vectors in enumerate((a, b, c)):
            np.testing.assert_array_equal(np.concatenate([block[at] for block in blocks]), vectors[[1, 3, 5]])
        assert len(set(found.labels[[0]].tolist()) & set(found.labels[1:].tolist())) == 0  # y, then x and z
    assert lite.shared("g", versions=["m/1"]).labels is None
    assert lite.shared("g", versions=["m/1", "m/3"], label="size").labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"versions": ["m/1", "m/9"]}, "m/9"),
        ({"versions": ["m/1", "m/2"]}, "no vectors of m/2"),
        ({"versions": "m/1"}, "versions must be a list"),
        ({"versions": []}, "versions must be a list"),
        ({"versions": ["m/1"], "label": "colour"}, "no label column 'colour'"),
        ({"versions": ["m/1"], "rows": 0}, "rows must be"),
    ],
)
def test_what_cannot_be_shared(lite, rows, asked, says):
    for i in range(2):
        lite.register_version("m", dim=4, fingerprint={"n": i})
    lite.create_gallery("g", id_type="int", labels=["kind"])
    lite.append("g", version="m/1", ids=[1], vectors=rows(1, 4), labels={"kind": ["a"]})
    with pytest.raises((ValueError, LookupError), match=says):
        lite.shared("g", **asked)
