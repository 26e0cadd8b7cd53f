"""What a plan rests on, the order by uncertainty, quality measured as it goes on, and an end at a quality."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from registry import connect
from registry.errors import InvalidInput, NotFound
from registry.transforms import Affine

N, CLASSES = 240, 6


def made(ids):
    """Vectors of items (n, 6) by m/1 and (n, 8) by m/2, and their classes: half of the classes are lost on the old one."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, 8))
    classes = np.asarray(ids) % CLASSES
    noise = np.stack([np.random.default_rng([9, i]).normal(size=14) for i in ids])
    new = centres[classes] + 0.5 * noise[:, :8]
    old = new[:, :6] + np.where(classes < 3, 2.0, 0.05)[:, None] * noise[:, 8:]
    return old.astype(np.float32), new.astype(np.float32), classes


def encode(ids):
    return made(ids)[1]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A benchmark that both versions embedded, measured and studied, and a gallery that the old one embedded."""
    home = tmp_path_factory.mktemp("orders") / "home"
    with connect(home) as studied:
        for width in (6, 8):
            studied.register_version("m", dim=width)
        bench, shelf = list(range(N)), list(range(N, 2 * N))
        old, new, classes = made(bench)
        studied.create_gallery("bench", id_type="int", labels=["class"])
        for ref, x in (("m/1", old), ("m/2", new)):
            studied.append("bench", version=ref, ids=bench, vectors=x, labels={"class": classes})
        back = np.linalg.lstsq(new, old, rcond=None)[0].astype(np.float32)
        studied.add_transform(Affine(weight=back, bias=np.zeros(6, np.float32)), source="m/2", target="m/1")
        studied.evaluate("bench")
        studied.study("m/1", "m/2")
        old, _, classes = made(shelf)
        studied.create_gallery("shelf", id_type="int", labels=["class"])
        studied.append("shelf", version="m/1", ids=shelf, vectors=old, labels={"class": classes})
    return home


@pytest.fixture
def studied(template, home):
    shutil.copytree(template, home)
    with connect(home) as registry:
        yield registry


def plan(studied, **more):
    return studied.plan_backfill("shelf", into="m/2", batch=24, **more)


def test_a_plan_tells_the_newest_study_and_the_advice(studied):
    study = studied.studies()[0]
    found = plan(studied, order="uncertainty", dry_run=True)
    assert (found.predicted_from, found.evidence) == (study.id, "bench")
    curves = {f.metric: f.curve for f in study.filling if f.order == "uncertainty"}
    assert found.predicted == curves
    advice = studied.compare("m/1", "m/2")
    assert advice.reason in found.advice
    assert found.advice.startswith("worth it:") == (advice.advice == "backfill")
    assert plan(studied, order="centroid-distance", dry_run=True).predicted == {}


def test_items_that_the_path_serves_worst_come_first(studied):
    found = plan(studied, order="uncertainty")
    studied.hold_backfill(found.id, runner="me")
    first = studied.next_portion(found.id, runner="me").ids
    assert np.mean(np.asarray(first) % CLASSES < 3) > 0.85  # of all items a half are of these classes


def test_clusters_take_the_place_of_labels(studied):
    old, _, _ = made(list(range(N, 2 * N)))
    old[7] = -10 * old.mean(axis=0)
    studied.create_gallery("plain", id_type="int")
    studied.append("plain", version="m/1", ids=np.arange(N), vectors=old)
    found = studied.plan_backfill("plain", into="m/2", order="centroid-distance")
    studied.hold_backfill(found.id, runner="me")
    assert 7 in studied.next_portion(found.id, runner="me", most=24).ids


@pytest.mark.parametrize("order", ["uncertainty", "centroid-distance"])
def test_quality_is_measured_with_each_tenth_on_another_benchmark(studied, order):
    found = plan(studied, order=order, benchmark="bench")
    done = studied.run_backfill(found.id, encode=encode)
    curve = done.measured["map"]
    assert curve.at == pytest.approx([i / 10 for i in range(11)])
    own = {e.query: e.value for e in studied.matrix("bench").evaluations if e.role == "self"}
    assert curve.values[-1] == pytest.approx(own["m/2"], abs=1e-3)
    assert curve.values[-1] > curve.values[0]
    assert set(done.measured) == {"map", "cmc@1"}


@pytest.mark.parametrize(("order", "apart"), [("uncertainty", 1e-6), ("random", 0.03)])
def test_what_is_measured_on_another_benchmark_is_what_the_study_predicted(studied, order, apart):
    """Both serve scores on one scale, so that they tell of one thing; of random orders a study tells the mean of some."""
    found = plan(studied, order=order, benchmark="bench")
    done = studied.run_backfill(found.id, encode=encode)
    served = next(f for f in studied.studies()[0].filling if f.order == order)
    assert served.raw is not None  # calibrated, and that tells
    assert np.abs(np.subtract(served.raw.values, served.curve.values)).max() > 1e-3
    for metric, curve in done.measured.items():
        assert curve.values == pytest.approx(done.predicted[metric].values, abs=apart)


def test_quality_of_a_gallery_that_is_itself_a_benchmark_is_what_searches_find(studied):
    found = plan(studied, benchmark="shelf")
    assert found.advice != ""
    done = studied.run_backfill(found.id, encode=encode)
    curve = done.measured["cmc@1"]
    assert curve.at[0] == pytest.approx(0.1)
    assert curve.at[-1] == 1
    ids = list(range(N, 2 * N))
    _, new, classes = made(ids)
    hits = studied.search("shelf", new, version="m/2", k=2).ids[:, 1]
    assert curve.values[-1] == pytest.approx(np.mean(classes[hits - N] == classes), abs=0.2)  # of a tenth of the items


def test_it_ends_at_the_quality_that_was_asked_for(studied):
    whole = {e.query: e.value for e in studied.matrix("bench").evaluations if e.role == "self"}["m/2"]
    found = plan(studied, benchmark="bench", stop_at=f"map={0.8 * whole:.4f}")
    done = studied.run_backfill(found.id, encode=encode)
    assert done.status == "finished"
    assert 0 < done.done < done.total
    assert done.measured["map"].values[-1] >= 0.8 * whole > done.measured["map"].values[-2]
    again = plan(studied)
    assert again.total == done.total - done.done
    assert studied.run_backfill(again.id, encode=encode).status == "finished"


def test_a_benchmark_that_one_of_both_did_not_embed_is_refused(studied):
    studied.register_version("m", dim=8)
    with pytest.raises(NotFound, match="m/3 has not embedded benchmark bench"):
        studied.plan_backfill("shelf", into="m/3", benchmark="bench")
    with pytest.raises(InvalidInput, match="name one"):
        studied.plan_backfill("shelf", into="m/3", order="uncertainty")
