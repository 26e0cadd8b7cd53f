"""What pages ask of benchmarks: which there are, the one measured last, the versions measured, and some of the matrix."""

from __future__ import annotations

import numpy as np
import pytest

from registry.errors import BadName, InvalidInput, NotFound
from registry.services import benchmarks

CLASSES = np.arange(24) % 4


def add(reg, model, *names, dim=4, labels=("class",)):
    """One more version of `model`, with vectors on each of the benchmarks."""
    version = reg.register_version(model, dim=dim)
    for name in names:
        if name not in [g.name for g in reg.galleries()]:
            reg.create_gallery(name, id_type="int", labels=list(labels))
        x = np.eye(4, dim)[CLASSES] + np.random.default_rng(version.number).normal(size=(len(CLASSES), dim))
        given = dict.fromkeys(labels, CLASSES)
        reg.append(name, version=version.ref, ids=np.arange(len(x)), vectors=x.astype(np.float32), labels=given)
    return version.ref


def test_a_matrix_of_some_versions_holds_them_alone(reg):
    refs = [add(reg, "m", "b"), add(reg, "m", "b"), add(reg, "other", "b")]
    reg.evaluate("b")
    whole = reg.matrix("b")
    assert whole.versions == tuple(refs)
    reg.set_alias("m", "champion", 2)
    some = reg.matrix("b", versions=["other/1", "m@champion"])
    assert some.versions == ("m/2", "other/1")
    kept = [e for e in whole.evaluations if {e.query, e.gallery} <= {"m/2", "other/1"}]
    assert some.evaluations == tuple(kept) and kept
    late = add(reg, "m")
    assert reg.matrix("b", versions=[late, "m/1"]).versions == ("m/1", "m/3")


@pytest.mark.parametrize(
    ("versions", "error", "says"),
    [
        (["m/1", "m/7"], NotFound, "there is no version m/7"),
        (["m@live"], NotFound, "there is no version m@live"),
        (["m"], BadName, "write it like"),
        ("m/1", InvalidInput, "must be a list"),
        ([], InvalidInput, "must be a list"),
    ],
)
def test_versions_that_are_none_are_told(reg, versions, error, says):
    add(reg, "m", "b")
    with pytest.raises(error, match=says):
        reg.matrix("b", versions=versions)


@pytest.mark.embedded
def test_the_newest_versions_are_chosen_and_all_are_counted(reg):
    for model in ("a", "b", "a", "b", "b"):
        add(reg, model, "bench")
    reg.evaluate("bench")
    add(reg, "a", "bench")  # not measured
    with reg.reading() as session:
        found = benchmarks.measured(session, "bench", limit=3)
        assert found.versions == ("a/2", "b/2", "b/3")
        assert found.counts == {"a": 2, "b": 3}
        assert found.label == "class"
        assert benchmarks.measured(session, "bench", model="a", limit=3).versions == ("a/1", "a/2")
        assert benchmarks.measured(session, "bench", model="a", limit=3).counts == {"a": 2, "b": 3}
        covered = benchmarks.measured(session, "bench", models=["a"], limit=3)
        assert (covered.versions, covered.counts) == (("a/1", "a/2"), {"a": 2})
        assert benchmarks.measured(session, "bench", model="b", models=["a"], limit=3).versions == ()
        assert benchmarks.stored(session, "bench", limit=2) == ("a/3", "b/3")
        assert benchmarks.stored(session, "bench", models=["a"], limit=9) == ("a/1", "a/2", "a/3")


@pytest.mark.embedded
def test_versions_are_of_one_label_column(reg):
    add(reg, "a", "bench", labels=("class", "shape"))
    reg.evaluate("bench", label="shape")
    with reg.reading() as session:
        assert benchmarks.measured(session, "bench", limit=3).versions == ()
        assert benchmarks.measured(session, "bench", label="shape", limit=3).versions == ("a/1",)
        with pytest.raises(NotFound, match="no label column"):
            benchmarks.measured(session, "bench", label="colour", limit=3)


@pytest.mark.embedded
def test_the_benchmark_measured_last_is_of_what_is_covered(reg):
    add(reg, "a", "first", "second", "third")
    add(reg, "b", "second")
    with reg.reading() as session:
        assert benchmarks.newest(session) is None
    for name, version in (("third", "a/1"), ("first", "a/1"), ("second", "b/1")):
        reg.evaluate(name, versions=[version])
    with reg.reading() as session:
        assert benchmarks.newest(session) == "second"
        assert benchmarks.newest(session, models=["a"]) == "first"
        assert benchmarks.newest(session, models=["a"], among=["third", "second"]) == "third"
        assert benchmarks.newest(session, models=["c"]) is None
        assert benchmarks.newest(session, among=[]) is None


@pytest.mark.embedded
def test_benchmarks_are_galleries_with_labels(reg):
    reg.create_gallery("z", labels=["shape", "class"])
    reg.create_gallery("plain")
    reg.create_gallery("a", labels=["class"])
    with reg.reading() as session:
        assert list(benchmarks.benchmarks(session).items()) == [("a", ("class",)), ("z", ("shape", "class"))]
