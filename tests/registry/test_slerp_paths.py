"""A slerp bridge in a registry: measured like any other, and taken only by who brings the queries in both versions."""

from __future__ import annotations

import numpy as np
import pytest

from registry.errors import DimensionMismatch, Incompatible, InvalidInput, NotFound
from registry.transforms import Affine, Mlp, Slerp
from registry.transforms.slerp import interpolate

LABELS = np.arange(400) % 8
TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]


def views():
    """Old vectors that know half of what there is to know, and new ones, turned, that know the other half."""
    rng = np.random.default_rng(0)
    centres = np.random.default_rng(1).standard_normal((8, 6))
    old = centres[LABELS] + 0.9 * rng.standard_normal((400, 6))
    new = (centres[LABELS] + 0.9 * rng.standard_normal((400, 6))) @ TURN.T
    return old.astype(np.float32), new.astype(np.float32)


@pytest.fixture
def bridged(lite):
    old, new = views()
    lite.register_version("m", dim=6)
    lite.register_version("m", dim=6)
    lite.create_gallery("b", id_type="int", labels=["class"])
    lite.append("b", version="m/1", ids=np.arange(400), vectors=old, labels={"class": LABELS})
    lite.append("b", version="m/2", ids=np.arange(400), vectors=new)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(400), vectors=old)
    lite.add_transform(Slerp(weight=TURN, bias=np.zeros(6), alpha=0.5), source="m/2", target="m/1")
    return lite


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_it_is_measured_with_the_benchmarks_own_side(bridged):
    matrix = bridged.evaluate("b")
    (cell,) = [e for e in matrix.evaluations if e.kinds == ("slerp",)]
    assert (cell.query, cell.gallery, cell.verdict) == ("m/2", "m/1", "compatible")
    comparison = bridged.compare("m/1", "m/2")
    assert comparison.advice == "bridge with a transform"
    assert "needs each query embedded by m/1 too" in comparison.reason


def test_a_search_with_both_vectors_goes_between_them(bridged):
    bridged.evaluate("b")
    old, new = views()
    hits = bridged.search("g", new[:5], version="m/2", k=3, side={"m/1": old[:5]})
    between = interpolate(unit(old[:5]), unit(new[:5] @ TURN), 0.5)
    expected = np.argsort(-(between @ unit(old).T), axis=1)[:, :3]
    assert hits.ids.tolist() == expected.tolist()
    assert hits.path["m/1"].kinds == ("slerp",)


def test_without_the_old_vectors_there_is_no_way(bridged):
    bridged.evaluate("b")
    _, new = views()
    with pytest.raises(Incompatible, match=r"needs each query embedded by m/1 too; search with side=\{'m/1'") as caught:
        bridged.search("g", new[:5], version="m/2", k=3, allow_unmeasured=True)
    assert "\n" not in str(caught.value)
    for call in (
        lambda: bridged.convert(new[:5], source="m/2", into="m/1", allow_unmeasured=True),
        lambda: bridged.fetch("g", ids=[0], into="m/2", allow_unmeasured=True),
        lambda: bridged.scan("g", into="m/2", allow_unmeasured=True),
    ):
        with pytest.raises(Incompatible, match="samespace fit orthogonal"):
            call()


def test_it_is_no_step_of_a_longer_way(bridged):
    """m/3 -> m/2 -> m/1 by a map and then a slerp would need vectors that nobody has."""
    bridged.register_version("m", dim=6)
    bridged.add_transform(Affine(weight=np.eye(6), bias=np.zeros(6)), source="m/3", target="m/2")
    old, new = views()
    with pytest.raises(Incompatible):
        bridged.search("g", new[:5], version="m/3", side={"m/1": old[:5]}, allow_unmeasured=True)
    bridged.append("b", version="m/3", ids=np.arange(400), vectors=new)
    measured = bridged.evaluate("b").evaluations
    assert {e.kinds for e in measured if (e.query, e.gallery) == ("m/3", "m/1") and e.role == "path"} == set()


def test_a_side_is_of_use_only_to_the_version_that_it_names(bridged):
    """Vectors of two versions have one width: which ones they are is said, never guessed."""
    bridged.register_version("m", dim=6)
    old, new = views()
    with pytest.raises(Incompatible, match="embedded by m/1 too"):
        bridged.search("g", new[:5], version="m/2", side={"m/3": old[:5]}, allow_unmeasured=True)


def test_the_best_measured_way_is_taken_slerp_or_not(bridged):
    old, new = views()
    bad = Slerp(weight=np.eye(6), bias=np.zeros(6), alpha=1.0)
    better = Affine(weight=TURN, bias=np.zeros(6))
    for transform in (bad, better):
        bridged.add_transform(transform, source="m/2", target="m/1")
    bridged.evaluate("b")
    with_side = bridged.search("g", new[:5], version="m/2", side={"m/1": old[:5]}).path["m/1"]
    without = bridged.search("g", new[:5], version="m/2").path["m/1"]
    assert with_side.kinds == ("slerp",)
    assert bridged.transform(with_side.query[0]).alpha == 0.5
    assert without.kinds == ("affine",)
    assert with_side.evidence.value > without.evidence.value


@pytest.mark.parametrize(
    ("side", "error", "message"),
    [
        ({"m/1": np.ones((4, 6))}, InvalidInput, "side has 4 vectors by m/1 for 5 queries"),
        ({"m/1": np.ones((5, 7))}, DimensionMismatch, "side by m/1"),
        ({"m/9": np.ones((5, 6))}, NotFound, "m/9"),
        ({"m/1": np.full((5, 6), np.nan)}, InvalidInput, "side by m/1"),
        (np.ones((5, 6)), InvalidInput, "side must map versions to the queries' vectors"),
    ],
)
def test_a_side_that_does_not_fit_is_refused(bridged, side, error, message):
    with pytest.raises(error, match=message):
        bridged.search("g", views()[1][:5], version="m/2", k=3, side=side, allow_unmeasured=True)


def test_side_information_that_galleries_do_not_store_is_refused(lite):
    lite.register_version("m", dim=2)
    lite.register_version("m", dim=2)
    eye = np.eye(2)
    forward = Mlp(weight=eye, bias=np.zeros(2), layers=((np.ones((3, 4)), np.zeros(4)),), out=np.ones((4, 2)))
    with pytest.raises(InvalidInput, match="1 values of side information"):
        lite.add_transform(forward, source="m/1", target="m/2")


def test_a_slerp_leads_to_a_version(lite):
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=4)
    turn = Slerp(weight=np.eye(4, 3), bias=np.zeros(3), alpha=0.5)
    with pytest.raises(InvalidInput, match="leads to a version's own space"):
        lite.add_transform(turn, source="m/2", target="m/1[:3]")
