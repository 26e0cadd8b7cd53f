"""Searching among the items with some labels: like searching a gallery that holds nothing else."""

import numpy as np
import pytest

from registry.errors import InvalidInput
from registry.indexes import standing
from registry.transforms import Orthogonal
from tests.registry.indexed import indexed

N, D = 240, 8


@pytest.fixture
def shop(reg):
    fill(reg)
    return reg


def fill(reg):
    x = np.random.default_rng(1).standard_normal((N, D)).astype("f")
    reg.register_version("m", dim=D)
    reg.create_gallery("shop", id_type="int", labels=["class", "size"])
    labels = {"class": [f"c{j % 4}" for j in range(N)], "size": [j % 6 for j in range(N)]}
    reg.append("shop", version="m/1", ids=range(N), vectors=x, labels=labels)
    return x


def expected(fits, k=5, left=range(N)):
    x, q = (np.random.default_rng(s).standard_normal((n, D)).astype("f") for s, n in ((1, N), (2, 9)))
    ids = np.array([j for j in left if fits(j)])
    near = (q / np.linalg.norm(q, axis=1)[:, None]) @ (x[ids] / np.linalg.norm(x[ids], axis=1)[:, None]).T
    return ids[np.argsort(-near, axis=1)[:, :k]].tolist()


def found(reg, where, k=5, **more):
    q = np.random.default_rng(2).standard_normal((9, D)).astype("f")
    return reg.search("shop", q, version="m/1", k=k, where=where, **more).ids.tolist()


CASES = [
    ({"class": "c1"}, lambda j: j % 4 == 1),
    ({"class": ["c1", "c3", "c1"]}, lambda j: j % 2 == 1),
    ({"class": ("c1", "unheard"), "size": 3}, lambda j: j % 4 == 1 and j % 6 == 3),
    ({"size": "3"}, lambda j: j % 6 == 3),
    ({"size": [0, "1", 99]}, lambda j: j % 6 in (0, 1)),
]


@pytest.mark.parametrize(("where", "fits"), CASES)
def test_only_items_with_these_labels(shop, where, fits):
    assert found(shop, where) == expected(fits)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"colour": "red"}, "has no label column 'colour': it has class, size"),
        ({"class": []}, "a list of 1 to 1000"),
        ({"class": 1.5}, "a list of 1 to 1000"),
        ({"class": [True]}, "texts or whole numbers"),
        ({"class": [None]}, "texts or whole numbers"),
        ({}, "where maps label columns to values"),
        ("class=c1", "where maps label columns to values"),
    ],
)
def test_what_can_be_no_filter_is_refused(shop, where, says):
    with pytest.raises(InvalidInput, match=says):
        found(shop, where)


def test_nothing_has_such_a_label(shop):
    assert found(shop, {"class": "c9"}) == [[-1] * 5] * 9


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf", "ivfpq"])
def test_with_an_index(lite, monkeypatch, kind, few):
    monkeypatch.setattr(standing, "_FEW_ROWS", few)
    fill(lite)
    indexed(lite, "shop", kind=kind, recall=1.0)
    for where, fits in CASES:
        want, got = expected(fits), found(lite, where)
        assert all(fits(j) for ids in got for j in ids)
        if kind != "ivfpq" or few:  # what is few is searched by whole vectors, whatever the index kept
            assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(got, want, strict=True)]) > 0.95
    assert found(lite, {"class": "c9"}) == [[-1] * 5] * 9


def test_with_deletions_a_shortlist_and_the_same_filter_again(lite):
    fill(lite)
    assert found(lite, {"class": "c1"}) == expected(lambda j: j % 4 == 1)
    assert found(lite, {"class": "c1"}, shortlist=7, candidates=60) == expected(lambda j: j % 4 == 1)
    lite.delete("shop", list(range(50)))
    assert found(lite, {"class": "c1"}) == expected(lambda j: j % 4 == 1, left=range(50, N))
    lite.append("shop", version="m/1", ids=[1], vectors=np.ones((1, D)), labels={"class": ["c2"], "size": [0]})
    assert all(1 not in ids for ids in found(lite, {"class": "c1"}, k=N)), "it has another label now"


@pytest.mark.parametrize("with_index", [False, True])
def test_in_a_mixed_gallery(lite, with_index):
    """An item that both versions embedded counts once, with and without a filter, and by the better segment."""
    x = fill(lite)
    lite.register_version("m", dim=D)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0].astype("f")
    lite.add_transform(Orthogonal(weight=turn, bias=np.zeros(D)), source="m/2", target="m/1")
    lite.append("shop", version="m/2", ids=range(0, N, 2), vectors=x[::2] @ turn.T)
    if with_index:
        indexed(lite, "shop", "m/1", kind="exact")
        indexed(lite, "shop", "m/2", kind="exact")
    q = np.random.default_rng(2).standard_normal((9, D)).astype("f") @ turn.T
    for where, fits in ((None, lambda j: True), *CASES):
        hits = lite.search("shop", q, version="m/2", k=5, where=where, allow_unmeasured=True)
        assert hits.ids.tolist() == expected(fits)
        assert set(hits.path) == {"m/1", "m/2"}
