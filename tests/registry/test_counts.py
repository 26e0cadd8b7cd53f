"""Counts of what there is, and the transforms of one model."""

from __future__ import annotations

import numpy as np
import pytest

from bench.facts import statements
from registry.errors import BadName, NotFound
from registry.transforms import Affine, Prefix, Relative
from registry.types import Counts


def test_everything_is_counted(reg, rows):
    assert reg.counts() == Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)
    for _ in range(3):
        reg.register_version("m", dim=4)
    reg.register_version("n", dim=4)
    reg.create_gallery("g", id_type="int")
    reg.create_gallery("b", id_type="int", labels=["class"])
    labels = {"class": np.arange(10) % 2}
    reg.append("g", version="n/1", ids=[1, 2, 3], vectors=rows(3, 4))
    for version in ("m/1", "m/2"):
        reg.append("b", version=version, ids=np.arange(10), vectors=rows(10, 4), labels=labels)
    reg.delete("g", [3])
    reg.add_transform(Prefix(from_dim=4, to_dim=2), source="m/1", target="m/1[:2]")
    reg.evaluate("b", versions=["m/1"])
    assert reg.counts() == Counts(
        models=2, versions=4, galleries=2, benchmarks=1, items=12, vectors=22, transforms=1, evaluations=5, studies=0
    )


def test_counting_takes_one_statement(lite):
    with statements(lite) as seen:
        lite.counts()
    assert len(seen) == 1


@pytest.fixture
def mapped(reg, rows):
    """Transforms between versions of two models, a prefix and a relative space; names that LIKE would confuse."""
    for model in ("a", "a_b", "axb"):
        for _ in range(2):
            reg.register_version(model, dim=4)
    reg.create_gallery("g")
    reg.append("g", version="a_b/1", ids=["x", "y"], vectors=rows(2, 4))
    reg.add_anchors("w", gallery="g", ids=["x", "y"])
    reg.add_transform(shift(1), source="a/2", target="a/1")
    reg.add_transform(shift(2), source="axb/2", target="axb/1")
    reg.add_transform(shift(3), source="a_b/2", target="a/1")
    reg.add_transform(Prefix(from_dim=4, to_dim=2), source="axb/1", target="axb/1[:2]")
    reg.add_transform(Affine(weight=np.ones((2, 2)), bias=np.zeros(2)), source="a_b/1[:2]", target="axb/1[:2]")
    reg.add_transform(Relative(anchors=rows(2, 4)), source="a_b/1", target="relative/w")
    return reg


def shift(seed):
    return Affine(weight=np.eye(4, dtype=np.float32), bias=np.full(4, seed, np.float32))


def test_the_transforms_of_a_model(mapped):
    def ends(model):
        return [(t.source, t.target) for t in mapped.transforms(model=model)]

    assert ends("a") == [("a/2", "a/1"), ("a_b/2", "a/1")]
    assert ends("a_b") == [("a_b/2", "a/1"), ("a_b/1[:2]", "axb/1[:2]"), ("a_b/1", "relative/w")]
    assert ends("axb") == [("axb/2", "axb/1"), ("axb/1", "axb/1[:2]"), ("a_b/1[:2]", "axb/1[:2]")]
    assert len(mapped.transforms()) == 6
    first = mapped.page("transforms", model="axb", limit=2)
    rest = mapped.page("transforms", model="axb", limit=2, after=first.next)
    assert [*first.items, *rest.items] == mapped.transforms(model="axb") and rest.next is None
    assert list(mapped.iter_transforms(model="a", page=1)) == mapped.transforms(model="a")
    mapped.register_version("bare", dim=4)
    assert mapped.transforms(model="bare") == []
    with pytest.raises(NotFound, match="model n is not registered"):
        mapped.transforms(model="n")
    for wrong in ("relative", "A", "", "m/1"):
        with pytest.raises(BadName):
            mapped.transforms(model=wrong)
