"""Decisions: what is unreadable, failing, drifting or unmeasured is told, once, with the command that changes it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bench.facts import Size, fill, statements
from registry import connect
from registry.errors import InvalidInput
from registry.transforms import Affine
from registry.types import Decision
from tests.conftest import serving

DIM = 6
LABELS = np.arange(40) % 4
GOOD = np.eye(4, DIM)[LABELS] + 0.05 * np.random.default_rng(0).standard_normal((40, DIM))
NOISE = np.random.default_rng(1).standard_normal((40, DIM))


def same(seed=0):
    """A map that leaves vectors about as they are, another one for each seed."""
    return Affine(weight=np.eye(DIM, dtype=np.float32), bias=np.full(DIM, seed / 1000, np.float32))


def grown(reg, versions=2, model="m"):
    for _ in range(versions):
        reg.register_version(model, dim=DIM)
    return reg


def store(reg, gallery, version, n=2, vectors=GOOD):
    """The first n items of a gallery, by a version."""
    if gallery not in {g.name for g in reg.galleries()}:
        reg.create_gallery(gallery, id_type="int")
    reg.append(gallery, version=version, ids=list(range(n)), vectors=vectors[:n])


def bench(reg, name="bench", labels=("class",), **vectors):
    """A benchmark that the versions m/1, m/2, … of `vectors` (v1=…, v2=…) embedded whole."""
    reg.create_gallery(name, id_type="int", labels=list(labels))
    for version, x in vectors.items():
        columns = {label: LABELS if label == "class" else np.arange(40) % 2 for label in labels}
        reg.append(name, version=f"m/{version[1:]}", ids=np.arange(40), vectors=x, labels=columns)


def told(reg, **more):
    return [(d.kind, d.version, d.against, d.gallery) for d in reg.decisions(**more)]


def test_from_unreadable_to_settled(reg):
    """The commands that are told lead, one after the other, to a registry that needs no decision."""
    assert reg.decisions() == []
    grown(reg)
    store(reg, "catalog", "m/1", 1)
    assert reg.decisions() == [
        Decision(
            "unreadable", "m/2", "m/1", "catalog",
            says="m/2 cannot read the one vector that m/1 stored in catalog: no transform connects the two",
            command="samespace fit orthogonal --source m/2 --target m/1 --gallery GALLERY",
        )
    ]  # fmt: skip
    for version in (1, 2):
        store(reg, "pairs", f"m/{version}", 5)
    assert reg.decisions()[0].command.endswith("--source m/2 --target m/1 --gallery pairs")

    reg.add_transform(same(), source="m/2", target="m/1")
    (found,) = reg.decisions()
    assert (found.kind, found.version, found.against, found.gallery) == ("unmeasured", "m/2", "m/1", "catalog")
    assert found.says == "m/2 reads the one vector that m/1 stored in catalog by a path that nobody measured"
    assert found.command == "samespace benchmark create NAME --label LABEL"
    bench(reg, v1=GOOD)
    assert reg.decisions()[0].command == "samespace gallery append bench --version m/2 --vectors FILE --ids FILE"
    reg.append("bench", version="m/2", ids=np.arange(40), vectors=GOOD, labels={"class": LABELS})
    assert reg.decisions()[0].command == "samespace evaluate bench --version m/1 --version m/2"
    reg.evaluate("bench", versions=["m/1", "m/2"])
    assert reg.decisions() == []


def test_the_current_version_is_that_of_an_alias_or_the_newest(reg):
    grown(reg, 5)
    store(reg, "catalog", "m/1")
    for alias, number in ((None, 5), ("other", 5), ("production", 2), ("live", 3), ("champion", 4)):
        if alias:
            reg.set_alias("m", alias, 2 if alias == "other" else number)
        assert told(reg)[0] == ("unreadable", f"m/{number}", "m/1", "catalog"), alias
    reg.set_alias("m", "champion", 1)
    assert told(reg) == [("unmeasured", "m/5", None, None)], "what it stored itself it reads"


def test_a_path_through_a_common_space_is_one(lite):
    grown(lite, 3)
    store(lite, "catalog", "m/1")
    lite.add_transform(same(), source="m/3", target="m/2")
    assert told(lite)[0][0] == "unreadable"
    lite.add_transform(same(1), source="m/1", target="m/2")
    assert told(lite)[0][0] == "unmeasured"


def test_a_path_that_is_surely_worse_fails_with_its_numbers(reg):
    grown(reg)
    bench(reg, v1=GOOD, v2=NOISE)
    store(reg, "catalog", "m/1", 30)
    reg.add_transform(same(), source="m/2", target="m/1")
    reg.evaluate("bench")
    (found,) = reg.decisions()
    assert (found.kind, found.version, found.against, found.gallery) == ("failing", "m/2", "m/1", "catalog")
    assert found.command == "samespace compare m/1 m/2 --benchmark bench"
    assert found.says.startswith("m/2 reads the 30 vectors that m/1 stored in catalog worse than m/1 itself: ")
    for metric, name in (("map", "mAP"), ("cmc@1", "CMC@1")):
        cell, own = (reg.matrix("bench", metric=metric).cell(query, "m/1") for query in ("m/2", "m/1"))
        assert cell.verdict == "incompatible"
        assert f"{name} {100 * cell.value:.1f} instead of {100 * own.value:.1f} ({100 * cell.gain:+.1f} [" in found.says
    assert found.says.endswith(" on bench")


def test_of_several_paths_the_best_of_the_newest_measurement_decides(lite):
    grown(lite)
    bench(lite, v1=NOISE, v2=GOOD)
    store(lite, "catalog", "m/1")
    lite.add_transform(Affine(weight=-np.eye(DIM), bias=np.zeros(DIM)), source="m/2", target="m/1")
    solved = np.linalg.lstsq(GOOD, NOISE, rcond=None)[0].T
    lite.evaluate("bench")
    before = told(lite)
    lite.add_transform(Affine(weight=solved, bias=np.zeros(DIM)), source="m/2", target="m/1")
    lite.evaluate("bench")
    best = lite.matrix("bench", metric="map").cell("m/2", "m/1")
    assert best.verdict != "incompatible"
    assert ("failing", "m/2", "m/1", "catalog") not in told(lite)
    assert before in ([], [("failing", "m/2", "m/1", "catalog")])


def test_of_two_benchmarks_the_one_that_loses_most_is_told(lite):
    grown(lite)
    store(lite, "catalog", "m/1")
    lite.add_transform(same(), source="m/2", target="m/1")
    half = np.where(np.arange(40)[:, None] < 20, GOOD, NOISE)
    for name, x in (("mild", half), ("bad", NOISE), ("fine", GOOD)):
        bench(lite, name, v1=GOOD, v2=x)
        lite.evaluate(name)
    (found,) = lite.decisions()
    assert found.says.endswith(" on bad") and found.command.endswith("--benchmark bad")


def test_the_label_column_that_a_comparison_takes_decides(lite):
    grown(lite)
    store(lite, "catalog", "m/1")
    lite.add_transform(same(), source="m/2", target="m/1")
    bench(lite, labels=("class", "half"), v1=GOOD, v2=NOISE)
    lite.evaluate("bench")
    (before,) = lite.decisions()
    lite.evaluate("bench", label="half")
    assert lite.decisions() == [before], "the first column, although another was measured later"
    assert set(lite.compare("m/1", "m/2", benchmark="bench").verdicts.values()) >= {"incompatible"}


def test_what_is_backfilled_needs_no_decision(lite):
    grown(lite)
    store(lite, "catalog", "m/1", 10)
    store(lite, "catalog", "m/2", 9)
    assert told(lite)[0] == ("unreadable", "m/2", "m/1", "catalog")
    lite.append("catalog", version="m/2", ids=[9], vectors=GOOD[9:10])
    assert told(lite) == [("unmeasured", "m/2", None, None)]


def test_what_was_deleted_needs_none(lite):
    grown(lite)
    store(lite, "catalog", "m/1", 3)
    lite.delete("catalog", [0, 1, 2])
    assert told(lite) == [("unmeasured", "m/2", None, None)]


def test_a_pair_comes_once_with_its_galleries_counted(lite):
    grown(lite, 2)
    for number, n in enumerate((3, 9, 5, 1)):
        store(lite, f"g{number}", "m/1", n)
    (found,) = lite.decisions()
    assert found.gallery == "g1"
    assert "the 18 vectors that m/1 stored in g1 and 3 more:" in found.says


def test_an_encoder_that_drifted_is_told_until_it_is_mended(reg):
    grown(reg)
    reg.add_canaries("m/1", ["red shoes", "hat"], GOOD[:2])
    reg.verify_encoder("m/1", lambda _: -GOOD[:2])
    assert told(reg) == [("unmeasured", "m/2", None, None)], "it was not asked to keep that"
    reg.verify_encoder("m/1", lambda _: -GOOD[:2], record=True)
    found = reg.decisions()[0]
    assert (found.kind, found.version, found.against, found.gallery) == ("drifting", "m/1", None, None)
    assert "the encoder of m/1 is not the registered one" in found.says
    assert "the canary 'red shoes' deviated by 2, more than 0.01" in found.says
    assert found.command == "samespace model check m/1 --encoder MODULE:FUNCTION --record"
    reg.verify_encoder("m/1", lambda _: GOOD[:2], record=True)
    assert told(reg) == [("unmeasured", "m/2", None, None)]


def test_a_newest_version_that_no_evaluation_speaks_of(reg):
    grown(reg, 1)
    (found,) = reg.decisions()
    assert found.says == "m/1 is the newest version of its model, and no evaluation speaks of it"
    assert found.command == "samespace benchmark create NAME --label LABEL"
    bench(reg, v1=GOOD)
    assert reg.decisions()[0].command == "samespace evaluate bench --version m/1"
    reg.evaluate("bench")
    assert reg.decisions() == []
    grown(reg, 1)
    assert reg.decisions()[0].command == ("samespace fit orthogonal --source m/2 --target m/1 --gallery GALLERY"), (
        "the benchmark's own vectors are read too"
    )


def trouble(reg):
    """One decision of each kind, and a second pair that is unreadable."""
    for model in MODELS:
        grown(reg, 2, model)
    store(reg, "catalog", "hats/1", 3)
    store(reg, "catalog", "bags/1", 7)
    bench(reg, v1=GOOD, v2=NOISE)
    store(reg, "old", "m/1", 5)
    reg.add_transform(same(), source="m/2", target="m/1")
    reg.evaluate("bench")
    reg.add_canaries("m/2", ["x"], GOOD[:1])
    reg.verify_encoder("m/2", lambda _: -GOOD[:1], record=True)


MODELS, GALLERIES = ("bags", "hats", "m", "toys"), ("catalog", "old", "bench")
ALL = [
    ("unreadable", "bags/2", "bags/1", "catalog"), ("unreadable", "hats/2", "hats/1", "catalog"),
    ("failing", "m/2", "m/1", "old"), ("drifting", "m/2", None, None), ("unmeasured", "toys/2", None, None),
]  # fmt: skip


def test_the_most_urgent_come_first_and_a_limit_cuts_the_rest(reg):
    trouble(reg)
    assert told(reg) == ALL
    for limit in (1, 3, 5, 6):
        assert told(reg, limit=limit) == ALL[:limit]
    for wrong in (0, -1, True, "1", None, 2.5):
        with pytest.raises(InvalidInput, match="limit must be a whole number of rows from 1"):
            reg.decisions(limit=wrong)


def test_models_and_galleries_that_are_not_covered_are_not_named(lite):
    trouble(lite)

    def scoped(models, galleries):
        found = lite.decisions(models=models, galleries=galleries)
        words = set(re.findall(r"[a-z]+", " ".join(f"{d.says} {d.command} {d.gallery}" for d in found)))
        assert not words & {*MODELS, *GALLERIES} - {*(models or MODELS), *(galleries or GALLERIES)}
        return [(d.kind, d.version) for d in found]

    assert scoped(None, None) == [(kind, version) for kind, version, _, _ in ALL]
    assert scoped(["hats"], None) == [("unreadable", "hats/2")]
    assert scoped(["m"], ["old", "bench"]) == [("failing", "m/2"), ("drifting", "m/2")]
    assert scoped(["m"], ["old"]) == [("drifting", "m/2")], "the numbers are of a benchmark that is not covered"
    assert scoped(["hats", "toys"], ["old"]) == [("unmeasured", "hats/2"), ("unmeasured", "toys/2")]
    assert lite.decisions(models=[], galleries=[]) == []


def test_a_limited_token_is_told_of_what_it_covers_alone(lite):
    grown(lite, 2, "a")
    grown(lite, 2, "m")
    for model in "am":
        store(lite, "open", f"{model}/1", 3)
        store(lite, "closed", f"{model}/1", 9)
    _, text = lite.create_token("reader", models=["m"], galleries=["open"])
    _, everything = lite.create_token("all")
    with serving(lite) as url:
        with connect(url, token=text) as client:
            assert [(d.version, d.gallery) for d in client.decisions()] == [("m/2", "open")]
            assert "the 3 vectors" in client.decisions()[0].says
        with connect(url, token=everything) as client:
            assert client.decisions() == lite.decisions()


@pytest.mark.embedded
def test_it_takes_as_many_statements_whatever_there_is(reg):
    small = Size(models=3, versions_each=3, measured=2, transforms=8, evaluations=100, galleries=3, anchor_sets=1)
    with reg._home.database.engine.begin() as connection:
        fill(connection, small)
    reg.decisions(limit=99)  # which reads the graph, and is another question than the next one
    with statements(reg) as seen:
        few = reg.decisions()
    with statements(reg) as again:
        assert reg.decisions() == few
    for number in range(8):
        grown(reg, 2, f"n{number}")
        store(reg, f"n{number}", f"n{number}/1")
    with statements(reg) as later:
        many = reg.decisions()
    assert len(many) >= len(few) + 8
    assert len(seen) == len(later) == 6
    assert len(again) == 2  # whether transforms were added, or anything else
