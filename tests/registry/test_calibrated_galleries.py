"""Galleries of two versions, whose scores an evaluation made comparable: what a search finds, and on which scale."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import delete

from registry import connect
from registry.tables import CalibrationRow
from registry.transforms import Affine
from tests.conftest import serving

BENCH, STORED, CLASSES, DIM = 240, 160, 8, 16
HALF = STORED // 2


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def world():
    """Labels, and vectors by a new version and by an old one that sees less, and whose vectors lie in a narrow cone.

    Benchmark items come first, then those of the gallery.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(BENCH + STORED) % CLASSES
    new = rng.standard_normal((CLASSES, DIM))[labels] + 0.6 * rng.standard_normal((len(labels), DIM))
    old = new + 1.2 * rng.standard_normal(new.shape) + 4.0
    return labels, new.astype(np.float32), old.astype(np.float32)


BRIDGE = Affine(weight=np.eye(DIM), bias=np.full(DIM, 4.0), normalize=False)


def filled(reg, world, *, metric="cosine", models=("m", "m")):
    """A benchmark that both embedded, and a gallery whose first half m/1 stored and whose second half m/2."""
    labels, new, old = world
    before, after = (
        reg.register_version(model, dim=DIM, metric=metric, fingerprint={"n": i}).ref for i, model in enumerate(models)
    )
    reg.add_transform(BRIDGE, source=after, target=before)
    reg.create_gallery("b", id_type="int", labels=["class"])
    for ref, vectors in ((before, old), (after, new)):
        reg.append("b", version=ref, ids=np.arange(BENCH), vectors=vectors[:BENCH], labels={"class": labels[:BENCH]})
    reg.evaluate("b")
    reg.create_gallery("g", id_type="int")
    reg.append("g", version=before, ids=np.arange(HALF), vectors=old[BENCH : BENCH + HALF])
    reg.append("g", version=after, ids=np.arange(HALF, STORED), vectors=new[BENCH + HALF :])
    return reg


def search(reg, world, k=STORED, version="m/2", **options):
    return reg.search("g", world[1][:60], version=version, k=k, allow_unmeasured=True, **options)


def precision(hits, world):
    """Mean precision at ten."""
    labels = world[0]
    return (labels[BENCH:][hits.ids[:, :10]] == labels[:60, None]).mean()


def mean_precision(hits, world):
    """The mean average precision of whole rankings."""
    relevant = world[0][BENCH:][hits.ids] == world[0][:60, None]
    found = np.cumsum(relevant, axis=1) / np.arange(1, STORED + 1)
    return ((found * relevant).sum(axis=1) / relevant.sum(axis=1)).mean()


def test_a_mixed_gallery_finds_more_with_calibrated_scores(reg, world):
    filled(reg, world)
    hits, raw = search(reg, world), search(reg, world, calibrate=False)
    assert hits.calibrated == ("m/1",) and raw.calibrated == ()
    assert precision(hits, world) > precision(raw, world) + 0.1
    assert mean_precision(hits, world) > mean_precision(raw, world) + 0.1
    top = raw.ids[:, :10]
    assert (top < HALF).mean() > 0.95, "as they are, scores in the cone hide what the new version stored"
    for found in (hits, raw):
        assert (np.sort(found.ids, axis=1) == np.arange(STORED)).all(), "each item once"
        assert (np.diff(found.scores) <= 0).all()
    own = unit(world[1][:60]) @ unit(world[1][BENCH:]).T
    for row, (ids, scores) in enumerate(zip(hits.ids, hits.scores, strict=True)):
        native = ids >= HALF
        np.testing.assert_allclose(scores[native], own[row, ids[native]], atol=1e-5)
    assert np.abs(hits.scores).max() <= 1 + 1e-5, "calibrated scores are cosines too"


def test_calibration_keeps_the_order_within_a_segment(lite, world):
    filled(lite, world)
    hits, raw = search(lite, world), search(lite, world, calibrate=False)
    for calibrated, plain in zip(hits.ids, raw.ids, strict=True):
        for segment in (np.arange(HALF), np.arange(HALF, STORED)):
            np.testing.assert_array_equal(calibrated[np.isin(calibrated, segment)], plain[np.isin(plain, segment)])


def test_an_item_that_both_stored_is_read_from_the_better_segment_and_counts_once(lite, world):
    filled(lite, world)
    lite.append("g", version="m/2", ids=np.arange(20), vectors=world[1][BENCH : BENCH + 20])
    hits = search(lite, world)
    assert (np.sort(hits.ids, axis=1) == np.arange(STORED)).all()
    own = unit(world[1][:1]) @ unit(world[1][BENCH : BENCH + 20]).T
    scores = dict(zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True))
    np.testing.assert_allclose([scores[i] for i in range(20)], own[0], atol=1e-5)


def test_distances_are_calibrated_too(lite, world):
    filled(lite, world, metric="l2")
    hits = search(lite, world)
    assert hits.calibrated == ("m/1",) and hits.scores.max() <= 0
    assert mean_precision(hits, world) > mean_precision(search(lite, world, calibrate=False), world) + 0.02


def test_one_segment_keeps_its_scores(lite, world):
    filled(lite, world)
    lite.delete("g", list(range(HALF, STORED)))
    hits = search(lite, world, k=HALF)
    assert hits.calibrated == ()
    np.testing.assert_array_equal(hits.scores, search(lite, world, k=HALF, calibrate=False).scores)


def test_queries_cut_to_a_prefix_have_another_scale(lite, world):
    filled(lite, world)
    lite.add_transform(Affine(weight=np.eye(DIM)[: DIM // 2], bias=np.zeros(DIM)), source="m/2[:8]", target="m/1")
    lite.evaluate("b")
    hits = lite.search("g", world[1][:3, :8], version="m/2[:8]", k=5)
    assert hits.calibrated == ()


@pytest.mark.embedded
def test_evaluations_of_earlier_releases_have_none(reg, world):
    filled(reg, world)
    with reg._home.database.writing() as session:
        session.execute(delete(CalibrationRow))
    hits, raw = search(reg, world), search(reg, world, calibrate=False)
    assert hits.calibrated == ()
    np.testing.assert_array_equal(hits.ids, raw.ids)
    assert reg.compare("m/1", "m/2", benchmark="b").advice


def test_a_plan_is_made_alike_with_calibration_and_without(lite, world):
    from bench.facts import statements

    filled(lite, world)
    search(lite, world)
    counts = []
    for calibrate in (True, False):
        lite._home.plans.forget()
        with statements(lite) as seen:
            search(lite, world, calibrate=calibrate)
        counts.append(len(seen))
    assert counts[0] == counts[1]  # the plan holds the calibrations, so that both may use it


def test_the_newest_evaluation_that_speaks_for_the_path_is_the_one_that_calibrates(lite, world):
    filled(lite, world)
    before = search(lite, world).scores
    rng = np.random.default_rng(1)
    lite.create_gallery("c", id_type="int", labels=["class"])
    for ref, vectors in (("m/1", world[2]), ("m/2", world[1])):
        labels = {"class": rng.permutation(world[0])}
        lite.append(
            "c", version=ref, ids=np.arange(len(vectors)), vectors=vectors, labels=labels if ref == "m/1" else None
        )
    lite.evaluate("c")  # labels that say nothing, of more queries: believed, and they calibrate nothing
    assert not np.array_equal(search(lite, world).scores, before)


def test_a_token_is_not_told_of_versions_that_it_does_not_cover(lite, world):
    filled(lite, world, models=("before", "after"))
    told = []
    with serving(lite) as url:
        for models in (["before", "after"], ["after"]):
            token = lite.create_token("-".join(models), role="reader", models=models, galleries=["g"])[1]
            with connect(url, token=token) as client:
                told.append(search(client, world, version="after/1"))
    assert [hits.calibrated for hits in told] == [("before/1",), ()]
    np.testing.assert_array_equal(told[0].scores, told[1].scores)


def test_a_study_is_measured_as_search_serves_it(lite, world):
    filled(lite, world)
    found = lite.study("m/1", "m/2", benchmark="b")
    assert lite.stored_study(found.id) == found
    for f in found.filling:
        assert f.raw is not None and f.raw_area is not None
        ends = [f.curve.values[i] for i in (0, -1)]
        assert [f.raw.values[i] for i in (0, -1)] == pytest.approx(ends, abs=1e-6), "of one segment no order changes"
        sags = [(np.linspace(*ends, len(curve.values)) - curve.values).max() for curve in (f.curve, f.raw)]
        if f.metric == "map":
            assert sags[0] < 0.01 and sags[1] > 0.03
            assert f.area > f.raw_area


def test_the_command_line_says_whose_scores_are_calibrated(lite, world, samespace, tmp_path):
    filled(lite, world)
    np.save(tmp_path / "q.npy", world[1][:2])
    ask = (
        "--home",
        lite._home.layout.root,
        "gallery",
        "search",
        "g",
        "--version",
        "m/2",
        "--queries",
        tmp_path / "q.npy",
    )
    assert "scores of m/1 are calibrated" in samespace(*ask).output
    assert "calibrated" not in samespace(*ask, "--no-calibrate").output
