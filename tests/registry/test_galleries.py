"""Galleries: what is appended comes back, a bad batch leaves nothing, what is deleted is gone at once."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import lance
import numpy as np
import pytest

from registry import connect, searching
from registry.errors import (
    AlreadyExists,
    BadName,
    BadVector,
    CorruptFile,
    DimensionMismatch,
    DuplicateId,
    Incompatible,
    InvalidInput,
    NotFound,
    Unavailable,
)
from registry.transforms import Relative


def unit(x):
    x = np.asarray(x, dtype=np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def oracle(queries, x, ids, k, metric):
    """The k best by a plain loop in double precision: ids and scores, larger is closer."""
    q, g = np.asarray(queries, np.float64), np.asarray(x, np.float64)
    found = []
    for row in q:
        if metric == "l2":
            scores = np.array([-np.sum((row - other) ** 2) for other in g])
        elif metric == "dot":
            scores = np.array([row @ other for other in g])
        else:
            scores = np.array([unit(row) @ unit(other) for other in g])
        best = np.argsort(-scores, kind="stable")[:k]
        found.append(([ids[i] for i in best], scores[best]))
    return [f[0] for f in found], np.array([f[1] for f in found])


def contents(reg, gallery, version):
    """Id -> vector, by scan."""
    return {
        id: vector
        for e in reg.scan(gallery, into=version)
        for id, vector in zip(e.ids.tolist(), e.vectors, strict=True)
    }


@pytest.fixture
def filled(reg, rows):
    """Gallery `g` with ten items of version m/1 (4 dimensions, cosine)."""
    reg.register_version("m", dim=4)
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=[f"i{n}" for n in range(10)], vectors=rows(10, 4))
    return reg


# What goes in comes out


@pytest.mark.parametrize("id_type", ["string", "int"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_roundtrip(reg, rows, id_type, dtype):
    x = rows(30, 8)
    ids = [f"item {n}" for n in range(30)] if id_type == "string" else [n * 10**15 for n in range(30)]
    reg.register_version("m", dim=8, metric="dot", dtype=dtype)
    reg.create_gallery("g", id_type=id_type)
    assert reg.append("g", version="m/1", ids=ids[:20], vectors=x[:20]) == 20
    assert reg.append("g", version="m/1", ids=ids[20:], vectors=x[20:]) == 10
    stored = x.astype(dtype).astype(np.float32)
    order = np.random.default_rng(0).permutation(30)
    got = reg.fetch("g", ids=[ids[i] for i in order], into="m/1")
    assert (got.ids.tolist(), got.space) == ([ids[i] for i in order], "m/1")
    assert got.vectors.dtype == np.float32
    np.testing.assert_array_equal(got.vectors, stored[order])
    scanned = contents(reg, "g", "m/1")
    assert list(scanned) == ids
    np.testing.assert_array_equal(np.stack(list(scanned.values())), stored)
    gallery = reg.gallery("g")
    assert (gallery.items, [(s.version, s.rows) for s in gallery.segments]) == (30, [("m/1", 30)])


@pytest.mark.embedded
def test_a_search_of_no_queries_finds_the_path_and_reads_nothing(filled, monkeypatch):
    monkeypatch.setattr(filled._home, "indexes", None)
    hits = filled.search("g", np.empty((0, 4), np.float32), version="m/1", k=3)
    assert hits.ids.shape == hits.scores.shape == (0, 3)
    assert list(hits.path) == ["m/1"]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("id_type", ["string", "int"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_search_equals_a_plain_loop(lite, rows, monkeypatch, metric, id_type, in_memory):
    if not in_memory:
        monkeypatch.setattr(searching, "_CACHED_BYTES", 0)
    x, queries = rows(200, 12), rows(40, 12, seed=1)
    ids = [f"i{n}" for n in range(200)] if id_type == "string" else list(range(1000, 1200))
    lite.register_version("m", dim=12, metric=metric)
    lite.create_gallery("g", id_type=id_type)
    for start in range(0, 200, 50):  # several Lance fragments
        lite.append("g", version="m/1", ids=ids[start : start + 50], vectors=x[start : start + 50])
    expected_ids, expected = oracle(queries, x, ids, 7, metric)
    hits = lite.search("g", queries, version="m/1", k=7)
    assert hits.ids.tolist() == expected_ids
    np.testing.assert_allclose(hits.scores, expected, atol=1e-4)
    one = lite.search("g", queries[:1], version="m/1", k=1)
    assert (one.ids.tolist(), one.ids.shape) == ([expected_ids[0][:1]], (1, 1))


def test_l2_far_from_the_origin_is_as_exact_as_near_it(lite, rows):
    x = 1000 + rows(500, 32)
    lite.register_version("m", dim=32, metric="l2")
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(500), vectors=x)
    queries = x[:60] + np.float32(0.125)
    expected_ids, expected = oracle(queries, x, list(range(500)), 5, "l2")
    hits = lite.search("g", queries, version="m/1", k=5)
    assert hits.ids.tolist() == expected_ids
    np.testing.assert_allclose(hits.scores, expected, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e19, 1e25, 1e37])
def test_cosine_does_not_care_for_length(lite, rows, scale):
    x = rows(20, 6)
    lite.register_version("m", dim=6)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(20), vectors=(x * np.float64(scale)).astype(np.float32))
    hits = lite.search("g", x, version="m/1", k=1)
    assert hits.ids.ravel().tolist() == list(range(20))
    np.testing.assert_allclose(hits.scores, 1, atol=1e-5)
    hits = lite.search("g", (x * np.float64(scale)).astype(np.float32), version="m/1", k=1)
    np.testing.assert_allclose(hits.scores, 1, atol=1e-5)


ODD_IDS = [
    "it's", 'say "hi"', "' OR '1'='1", "'; DROP TABLE galleries; --", "a\\b", "ünïcödé", "日本語", "👩‍👩‍👧", "e\u0301", "\u00e9",
    " ", "\t", "\n", "%", "_", "../../x", "NULL", "id", "-1", "x" * 512, "\u202e", "{}", "$1", "true",
]  # fmt: skip


def test_ids_are_data_and_nothing_else(reg, rows):
    x = rows(len(ODD_IDS), 4)
    reg.register_version("m", dim=4, metric="dot")
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=ODD_IDS, vectors=x)
    for i, odd in enumerate(ODD_IDS):
        np.testing.assert_array_equal(reg.fetch("g", ids=[odd], into="m/1").vectors, x[i : i + 1])
        with pytest.raises(AlreadyExists):
            reg.append("g", version="m/1", ids=[odd], vectors=x[:1])
    assert set(reg.search("g", x, version="m/1", k=len(ODD_IDS)).ids.ravel()) == set(ODD_IDS)
    left = len(ODD_IDS)
    for odd in ODD_IDS:
        assert reg.delete("g", [odd]) == 1
        left -= 1
        assert reg.gallery("g").items == left


LAYOUTS = {
    "fortran": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "float64": lambda x: x.astype(np.float64),
    "big endian": lambda x: x.astype(">f4"),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_same_numbers_is_the_same(lite, rows, layout):
    x = rows(9, 5)
    lite.register_version("m", dim=5, metric="dot")
    lite.create_gallery("g", id_type="int")
    given = LAYOUTS[layout](x)
    lite.append("g", version="m/1", ids=np.arange(9), vectors=given)
    np.testing.assert_array_equal(lite.fetch("g", ids=range(9), into="m/1").vectors, x)
    np.testing.assert_array_equal(
        lite.search("g", given, version="m/1", k=9).ids, lite.search("g", x, version="m/1", k=9).ids
    )


def test_memory_mapped_vectors_and_ids(lite, rows, tmp_path):
    x = rows(50, 4)
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    np.save(tmp_path / "ids.npy", np.arange(50, dtype=np.uint32))
    lite.register_version("m", dim=4, metric="dot")
    lite.create_gallery("g", id_type="int")
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    lite.append("g", version="m/1", ids=np.load(tmp_path / "ids.npy", mmap_mode="r"), vectors=mapped)
    np.testing.assert_array_equal(np.stack(list(contents(lite, "g", "m/1").values())), x)


def test_integers_and_float16_are_taken_as_vectors(lite):
    lite.register_version("m", dim=2, metric="dot")
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a"], vectors=np.array([[1, 2]]))
    lite.append("g", version="m/1", ids=["b"], vectors=np.array([[0.5, 3]], dtype=np.float16))
    assert lite.fetch("g", ids=["b", "a"], into="m/1").vectors.tolist() == [[0.5, 3], [1, 2]]


def test_one_dimension_one_item_one_neighbour(lite):
    lite.register_version("m", dim=1, metric="l2")
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a"], vectors=[[2.0]])
    hits = lite.search("g", [[5.0]], version="m/1", k=1)
    assert (hits.ids.tolist(), hits.scores.tolist()) == ([["a"]], [[-9.0]])


def test_the_given_arrays_are_never_changed_nor_handed_back(lite, rows):
    x = rows(5, 4)
    before = x.copy()
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(5), vectors=x)
    lite.search("g", x, version="m/1", k=2)
    assert not np.shares_memory(lite.convert(x, source="m/1", into="m/1"), x)
    lite.fetch("g", ids=[0], into="m/1").vectors[:] = 7
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(lite.fetch("g", ids=range(5), into="m/1").vectors, before)


# Fewer than asked for


@pytest.mark.parametrize(("id_type", "nothing"), [("string", ""), ("int", -1)])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_missing_hits_are_marked(lite, rows, id_type, nothing, metric):
    lite.register_version("m", dim=4, metric=metric)
    lite.create_gallery("g", id_type=id_type)
    empty = lite.search("g", rows(2, 4), version="m/1", k=3)
    assert empty.ids.tolist() == [[nothing] * 3] * 2
    assert (empty.scores == -np.inf).all()
    ids = ["a", "b"] if id_type == "string" else [5, 6]
    lite.append("g", version="m/1", ids=ids, vectors=-rows(2, 4))
    hits = lite.search("g", rows(2, 4), version="m/1", k=5)
    assert [sorted(row[:2], key=str) for row in hits.ids.tolist()] == [ids, ids]
    assert (hits.ids[:, 2:] == nothing).all()
    assert (hits.scores[:, 2:] == -np.inf).all()
    assert np.isfinite(hits.scores[:, :2]).all()
    lite.delete("g", ids)
    again = lite.search("g", rows(2, 4), version="m/1", k=3)
    assert again.ids.tolist() == [[nothing] * 3] * 2
    assert (again.scores == -np.inf).all()


def test_zero_of_everything_is_an_answer(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    for _ in range(2):  # empty, then with an item
        assert lite.fetch("g", ids=[], into="m/1").vectors.shape == (0, 4)
        assert lite.search("g", rows(1, 4)[:0], version="m/1", k=3).ids.shape == (0, 3)
        assert lite.convert(rows(1, 4)[:0], source="m/1", into="m/1").shape == (0, 4)
        assert lite.delete("g", []) == 0
        lite.append("g", version="m/1", ids=[f"i{lite.gallery('g').items}"], vectors=rows(1, 4))
    assert contents_of(lite.scan("g", into="m/1")) == ["i0", "i1"]


def test_an_empty_gallery_scans_to_nothing(lite):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    assert list(lite.scan("g", into="m/1")) == []
    with pytest.raises(NotFound, match="'a'"):
        lite.fetch("g", ids=["a"], into="m/1")


def test_fetch_answers_in_the_order_and_as_often_as_asked(filled, rows):
    got = filled.fetch("g", ids=["i3", "i0", "i3", "i3"], into="m/1")
    assert got.ids.tolist() == ["i3", "i0", "i3", "i3"]
    np.testing.assert_array_equal(got.vectors, rows(10, 4)[[3, 0, 3, 3]])


def test_fetch_names_the_missing_id(filled):
    with pytest.raises(NotFound, match="'nobody'"):
        filled.fetch("g", ids=["i1", "nobody", "i2"], into="m/1")


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
def test_k_is_a_positive_whole_number(lite, rows, k):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    with pytest.raises(InvalidInput, match="k must be"):
        lite.search("g", rows(1, 4), version="m/1", k=k)


def test_an_absurd_k_is_refused(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    with pytest.raises(InvalidInput):
        lite.search("g", rows(1, 4), version="m/1", k=10**14)


def test_k_far_beyond_the_items(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=[1, 2, 3], vectors=rows(3, 4))
    hits = lite.search("g", rows(2, 4), version="m/1", k=20_000)
    assert hits.ids.shape == hits.scores.shape == (2, 20_000)
    assert (hits.ids >= 0).sum(axis=1).tolist() == [3, 3]


# A bad batch leaves nothing behind


def changed(x, row, value):
    x = x.copy()
    x[row] = value
    return x


def bad(error, match, *, row=None, **given):
    return pytest.param(error, match, row, given, id=match)


X = np.random.default_rng(7).standard_normal((4, 4)).astype(np.float32)
NEW = ["n0", "n1", "n2", "n3"]
BAD_BATCHES = [
    bad(DimensionMismatch, "3 dimensions, the space has 4", vectors=X[:, :3]),
    bad(DimensionMismatch, "8 dimensions, the space has 4", vectors=np.hstack([X, X])),
    bad(NotFound, "no version m/9", version="m/9"),
    bad(NotFound, "no version x/1", version="x/1"),
    bad(NotFound, "no version m@champion", version="m@champion"),
    bad(BadName, "is not a version", version="m"),
    bad(BadName, r"'m/1\[:2\]' is not a version", version="m/1[:2]"),
    bad(BadVector, "row 2 holds NaN", vectors=changed(X, (2, 1), np.nan), row=2),
    bad(BadVector, "row 0 holds NaN or infinity", vectors=changed(X, (0, 0), np.inf), row=0),
    bad(BadVector, "row 3 holds NaN or infinity", vectors=changed(X, (3, 3), -np.inf), row=3),
    bad(BadVector, "row 1 holds only zeros", vectors=changed(X, 1, 0.0), row=1),
    bad(BadVector, "vectors row 1 holds NaN or inf", vectors=changed(X.astype(float), (1, 2), 1e300), row=1),
    bad(BadVector, "row 2 holds only", vectors=changed(X.astype(float), 2, 1e-300), row=2),
    bad(BadVector, "as float16 row 2", version="h/1", vectors=changed(X, (2, 0), 70000.0), row=2),
    bad(BadVector, "float16 row 3 holds only zeros", version="h/1", vectors=changed(X, 3, 1e-9), row=3),
    bad(DuplicateId, "'n1' stands twice in the batch, again at row 3", ids=["n0", "n1", "n2", "n1"], row=3),
    bad(AlreadyExists, r"id 'i5' \(row 2\)", ids=["n0", "n1", "i5", "n3"]),
    bad(InvalidInput, "batch is empty", ids=[], vectors=X[:0]),
    bad(InvalidInput, "3 ids for 4 vectors", ids=NEW[:3]),
    bad(InvalidInput, "row 1 is 7", ids=["n0", 7, "n2", "n3"]),
    bad(InvalidInput, "row 0 is None", ids=[None, "n1", "n2", "n3"]),
    bad(InvalidInput, "row 0 is b'n0'", ids=[b"n0", "n1", "n2", "n3"]),
    bad(InvalidInput, "row 2 has the id ''", ids=["n0", "n1", "", "n3"]),
    bad(InvalidInput, "1 to 512 characters", ids=["n0", "n1", "n2", "x" * 513]),
    bad(InvalidInput, "none of them NUL", ids=["n0", "n1", "n2", "a\0b"]),
    bad(InvalidInput, "no valid text", ids=["n0", "n1", "n2", "\ud800"]),
    bad(InvalidInput, "ids must be a list", ids="abcd"),
    bad(InvalidInput, "ids must be a list or an array, got None", ids=None),
    bad(InvalidInput, r"matrix \(n, d\), got shape \(4,\)", vectors=X[0]),
    bad(InvalidInput, "got shape \\(1, 4, 4\\)", vectors=X[None]),
    bad(InvalidInput, "must be a matrix", vectors=[[1.0, 2, 3, 4], [1.0]]),
    bad(InvalidInput, "floating-point numbers", vectors=X.astype(str)),
    bad(InvalidInput, "complex64", vectors=X.astype(np.complex64)),
    bad(InvalidInput, "got bool", vectors=X > 0),
    bad(InvalidInput, "got object", vectors=X.astype(object)),
    bad(InvalidInput, "has no label column 'class'", labels={"class": [1, 2, 3, 4]}),
]


@pytest.mark.parametrize(("error", "match", "row", "given"), BAD_BATCHES)
def test_a_bad_batch_is_refused_and_leaves_nothing(lite, rows, error, match, row, given):
    lite.register_version("m", dim=4)
    lite.register_version("h", dim=4, dtype="float16")
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["i5", "i6"], vectors=rows(2, 4))
    before, log = lite.gallery("g"), lite.changes()
    with pytest.raises(error, match=match) as caught:
        lite.append("g", **{"version": "m/1", "ids": NEW, "vectors": X, **given})
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    if row is not None:
        assert caught.value.row == row
    assert (lite.gallery("g"), lite.changes()) == (before, log)
    assert sorted(contents(lite, "g", "m/1")) == ["i5", "i6"]
    assert lite.append("g", version="m/1", ids=NEW, vectors=X) == 4


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        ([3, -1], "row 1 has the id -1"),
        ([2**63, 4], "row 0 has the id 9223372036854775808"),
        (["3", 4], "row 0 is '3'"),
        ([True, 4], "row 0 is True"),
        ([3.0, 4], "row 0 is 3.0"),
        (np.array([3.0, 4.0]), "row 0 is 3.0"),
    ],
)
def test_integer_ids_are_whole_and_not_negative(lite, rows, ids, match):
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    with pytest.raises(InvalidInput, match=match):
        lite.append("g", version="m/1", ids=ids, vectors=rows(2, 4))
    assert lite.gallery("g").items == 0
    lite.append("g", version="m/1", ids=[0, 2**63 - 1], vectors=rows(2, 4))
    assert lite.fetch("g", ids=[2**63 - 1], into="m/1").ids.tolist() == [2**63 - 1]


@pytest.mark.parametrize("call", ["append", "fetch", "delete"])
def test_every_call_wants_ids_of_the_gallery_s_type(lite, rows, call):
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    calls = {
        "append": lambda ids: lite.append("g", version="m/1", ids=ids, vectors=rows(2, 4)),
        "fetch": lambda ids: lite.fetch("g", ids=ids, into="m/1"),
        "delete": lambda ids: lite.delete("g", ids),
    }
    for ids in (["a", "b"], "ab", 5, None, [1.5, 2], [-1, 2]):
        with pytest.raises(InvalidInput):
            calls[call](ids)


@pytest.mark.parametrize(
    "queries", [[1.0, 2, 3, 4], [[1.0, 2]], [[np.nan, 1, 1, 1]], [[0.0, 0, 0, 0]], [[1e300, 1, 1, 1]], [["a"] * 4]]
)
def test_bad_queries_are_refused(lite, rows, queries):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a"], vectors=rows(1, 4))
    with pytest.raises(InvalidInput, match="queries"):
        lite.search("g", queries, version="m/1")


# Labels


@pytest.fixture
def bench(lite, rows):
    """Benchmark `b` with labels class and shop, and items a, b of m/1."""
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=4)
    lite.create_gallery("b", labels=["class", "shop"])
    lite.append("b", version="m/1", ids=["a", "b"], vectors=rows(2, 4), labels={"class": [1, 2], "shop": ["x", "y"]})
    return lite


BAD_LABELS = [
    ("item 'c' is new", ["c", "d"], None),
    ("give its label 'shop'", ["c", "d"], {"class": [1, 2]}),
    ("no label column 'colour'", ["c", "d"], {"class": [1, 2], "shop": ["x", "y"], "colour": [1, 2]}),
    ("1 labels 'class' for 2 items", ["c", "d"], {"class": [1], "shop": ["x", "y"]}),
    ("all strings or all integers", ["c", "d"], {"class": [1, "2"], "shop": ["x", "y"]}),
    ("all strings or all integers, got \\['bool'\\]", ["c", "d"], {"class": [True, False], "shop": ["x", "y"]}),
    ("got \\['float'\\]", ["c", "d"], {"class": [1.0, 2.0], "shop": ["x", "y"]}),
    ("NoneType", ["c", "d"], {"class": [1, None], "shop": ["x", "y"]}),
    ("stored as int64, got string", ["c", "d"], {"class": ["1", "2"], "shop": ["x", "y"]}),
    ("cannot be stored", ["c", "d"], {"class": [1, 2**64], "shop": ["x", "y"]}),
    ("cannot be stored", ["c", "d"], {"class": [1, 2], "shop": ["x", "\ud800"]}),
    ("item 'b' has label class = 2, got 3", ["c", "b"], {"class": [1, 3], "shop": ["x", "y"]}),
    ("item 'a' has label shop = 'x', got 'z'", ["a", "b"], {"class": [1, 2], "shop": ["z", "y"]}),
]


@pytest.mark.parametrize(("match", "ids", "labels"), BAD_LABELS)
def test_labels_that_are_missing_wrong_or_contradicting_are_refused(bench, rows, match, ids, labels):
    before = bench.gallery("b")
    with pytest.raises(InvalidInput, match=match):
        bench.append("b", version="m/2", ids=ids, vectors=rows(2, 4), labels=labels)
    assert bench.gallery("b") == before
    with pytest.raises(NotFound):
        bench.fetch("b", ids=["c"], into="m/1")


def test_labels_come_as_lists_or_arrays_in_any_order_and_known_items_need_none(bench, rows):
    labels = {"shop": np.array(["x", "y"]), "class": np.array([1, 1], dtype=np.int32)}
    bench.append("b", version="m/1", ids=["c", "d"], vectors=rows(2, 4, seed=1), labels=labels)
    bench.append("b", version="m/2", ids=["a", "c"], vectors=rows(2, 4), labels=None)
    bench.append("b", version="m/2", ids=["b"], vectors=rows(1, 4), labels={"class": [2]})
    gallery = bench.gallery("b")
    assert (gallery.items, [s.rows for s in gallery.segments], gallery.is_benchmark) == (4, [4, 3], True)
    table = bench._home.items("b").at(2).to_table().to_pydict()
    assert table == {"id": ["a", "b", "c", "d"], "class": [1, 2, 1, 1], "shop": ["x", "y", "x", "y"]}


def test_after_a_delete_an_item_may_get_other_labels(bench, rows):
    bench.delete("b", ["a"])
    bench.append("b", version="m/1", ids=["a"], vectors=rows(1, 4), labels={"class": [9], "shop": ["q"]})
    with pytest.raises(InvalidInput, match="class = 9"):
        bench.append("b", version="m/2", ids=["a"], vectors=rows(1, 4), labels={"class": [1]})


@pytest.mark.parametrize("labels", [["id"], ["vector"], ["a", "a"], ["A"], [""], ["a b"], ["a.b"], "class", [3]])
def test_label_columns_that_cannot_be(lite, labels):
    with pytest.raises(InvalidInput):
        lite.create_gallery("g", labels=labels)
    assert lite.galleries() == []


@pytest.mark.parametrize("label", ["a-b", "1", "select", "a_b", "order"])
def test_any_other_label_column_works(lite, rows, label):
    lite.register_version("m", dim=4)
    lite.create_gallery("g", labels=[label])
    lite.append("g", version="m/1", ids=list("abcd"), vectors=rows(4, 4), labels={label: [0, 0, 1, 1]})
    assert lite.evaluate("g").evaluations[0].items == 4


# Galleries


def test_a_gallery_name_is_taken_once(reg):
    made = reg.create_gallery("g", id_type="int", labels=("class",))
    assert (made.id_type, made.labels, made.items, made.segments) == ("int", ("class",), 0, ())
    with pytest.raises(AlreadyExists, match="gallery g exists"):
        reg.create_gallery("g")
    assert [g.name for g in reg.galleries()] == ["g"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a\0", None, 3])
def test_a_bad_gallery_name_is_refused(lite, name):
    with pytest.raises(BadName):
        lite.create_gallery(name)
    with pytest.raises(NotFound):
        lite.gallery(name)


@pytest.mark.parametrize("id_type", ["uuid", "", None, int])
def test_ids_are_strings_or_integers(lite, id_type):
    with pytest.raises(InvalidInput, match="id_type"):
        lite.create_gallery("g", id_type=id_type)


def test_an_unknown_gallery_is_not_found_everywhere(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("there")
    calls = [
        lambda: lite.gallery("gone"),
        lambda: lite.append("gone", version="m/1", ids=["a"], vectors=rows(1, 4)),
        lambda: lite.fetch("gone", ids=["a"], into="m/1"),
        lambda: lite.scan("gone", into="m/1"),
        lambda: lite.search("gone", rows(1, 4), version="m/1"),
        lambda: lite.delete("gone", ["a"]),
        lambda: lite.evaluate("gone"),
        lambda: lite.matrix("gone"),
        lambda: lite.add_anchors("w", gallery="gone", ids=["a"]),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="no gallery 'gone': there are there"):
            call()


# Deleting


def test_what_is_deleted_is_gone_at_once_everywhere(filled, rows):
    x = rows(10, 4)
    filled.search("g", x, version="m/1", k=1)  # an index is in memory now
    assert filled.delete("g", ["i2", "i7", "nobody", "i2"]) == 2
    assert "i2" not in filled.search("g", x, version="m/1", k=10).ids
    assert sorted(contents(filled, "g", "m/1")) == sorted(f"i{n}" for n in range(10) if n not in (2, 7))
    with pytest.raises(NotFound, match="'i7'"):
        filled.fetch("g", ids=["i1", "i7"], into="m/1")
    assert (filled.gallery("g").items, filled.gallery("g").segments[0].rows) == (8, 8)
    assert filled.delete("g", ["i2"]) == 0
    filled.append("g", version="m/1", ids=["i2"], vectors=x[:1])
    np.testing.assert_array_equal(filled.fetch("g", ids=["i2"], into="m/1").vectors, x[:1])
    assert filled.gallery("g").items == 9


def test_everything_deleted_and_written_again(filled, rows):
    assert filled.delete("g", [f"i{n}" for n in range(10)]) == 10
    assert (filled.gallery("g").items, list(filled.scan("g", into="m/1"))) == (0, [])
    filled.append("g", version="m/1", ids=["i0"], vectors=rows(1, 4, seed=3))
    assert filled.search("g", rows(1, 4, seed=3), version="m/1", k=2).ids.tolist() == [["i0", ""]]


def test_one_who_has_the_home_open_sees_what_another_does(home, filled, database_url, rows):
    with connect(home, database=database_url) as other:
        x = rows(10, 4)
        assert other.search("g", x[:1], version="m/1", k=1).ids.tolist() == [["i0"]]
        filled.delete("g", ["i0"])
        assert other.search("g", x[:1], version="m/1", k=1).ids.tolist() != [["i0"]]
        other.append("g", version="m/1", ids=["i0"], vectors=-x[:1])
        np.testing.assert_array_equal(filled.fetch("g", ids=["i0"], into="m/1").vectors, -x[:1])
        assert filled.search("g", -x[:1], version="m/1", k=1).ids.tolist() == [["i0"]]


# Scanning


@pytest.mark.parametrize("block", [1, 3, 10, 11, 65536])
def test_scan_gives_every_item_once_in_blocks(lite, rows, block):
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    for start in (0, 4):
        lite.append("g", version="m/1", ids=range(start, start + 4), vectors=rows(4, 4, seed=start))
    lite.append("g", version="m/1", ids=[8, 9], vectors=rows(2, 4))
    blocks = list(lite.scan("g", into="m/1", rows=block))
    assert all(0 < len(b) <= block for b in blocks)
    assert [i for b in blocks for i in b.ids.tolist()] == list(range(10))


@pytest.mark.parametrize("block", [0, -1, 2.0, True, None])
def test_scan_blocks_have_a_positive_size(lite, block):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    with pytest.raises(InvalidInput, match="rows must be"):
        lite.scan("g", into="m/1", rows=block)


def test_a_scan_sees_the_gallery_as_it_was_when_it_began(filled, rows):
    scan = filled.scan("g", into="m/1", rows=3)
    first = next(scan)
    filled.append("g", version="m/1", ids=["late"], vectors=rows(1, 4))
    filled.delete("g", ["i9", "i8"])
    late = filled.scan("g", into="m/1", rows=3)
    seen = first.ids.tolist() + [i for e in scan for i in e.ids.tolist()]
    assert seen == [f"i{n}" for n in range(10)]
    assert [i for e in late for i in e.ids.tolist()] == [*(f"i{n}" for n in range(8)), "late"]


# Several versions in one gallery


def test_segments_of_several_versions_side_by_side(reg, rows):
    from registry.transforms import Prefix

    old, new = rows(6, 4), rows(6, 8, seed=1)
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=8, parent="m/1")
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=[0, 1, 2, 3], vectors=old[:4])
    reg.append("g", version="m/2", ids=[2, 3, 4, 5], vectors=new[2:])
    gallery = reg.gallery("g")
    assert gallery.items == 6
    assert {s.version: s.rows for s in gallery.segments} == {"m/1": 4, "m/2": 4}
    reg.add_transform(Prefix(from_dim=8, to_dim=4), source="m/2", target="m/1")
    got = reg.fetch("g", ids=[0, 2, 5], into="m/1", allow_unmeasured=True)
    expected = np.stack([old[0], old[2], unit(new[5, :4])])  # native vectors win, others are mapped
    np.testing.assert_allclose(got.vectors, expected, atol=1e-6)
    assert sorted(contents_of(reg.scan("g", into="m/1", allow_unmeasured=True))) == [0, 1, 2, 3, 4, 5]
    hits = reg.search("g", new[:1], version="m/2", k=10, allow_unmeasured=True)
    assert sorted(hits.ids[0, :6].tolist()) == [0, 1, 2, 3, 4, 5]  # an item in two segments counts once
    assert hits.ids[0, 6:].tolist() == [-1] * 4
    assert set(hits.path) == {"m/1", "m/2"}
    assert reg.delete("g", [2]) == 1
    assert {s.version: s.rows for s in reg.gallery("g").segments} == {"m/1": 3, "m/2": 3}
    assert 2 not in reg.search("g", new[:1], version="m/2", k=10, allow_unmeasured=True).ids


def contents_of(scan):
    return [i for e in scan for i in e.ids.tolist()]


def test_pairs_are_the_items_that_both_versions_embedded(lite, rows):
    old, new = rows(6, 4), rows(6, 8, seed=1)
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=8)
    lite.register_version("m", dim=8)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=[0, 1, 2, 3], vectors=old[:4])
    lite.append("g", version="m/2", ids=[5, 3, 4, 2], vectors=new[[5, 3, 4, 2]])
    blocks = list(lite.pairs("g", source="m/1", target="m/2", rows=1))
    assert len(blocks) == 2
    np.testing.assert_array_equal(np.concatenate([s for s, _ in blocks]), old[2:4])
    np.testing.assert_array_equal(np.concatenate([t for _, t in blocks]), new[2:4])
    with pytest.raises(NotFound, match="m/3"):
        lite.pairs("g", source="m/1", target="m/3")


@pytest.mark.parametrize("gallery", ["fresh", "used"])
def test_of_threads_that_append_one_id_one_stores_it(reg, rows, gallery):
    reg.register_version("m", dim=4)
    reg.create_gallery("g")
    if gallery == "used":
        reg.append("g", version="m/1", ids=["old"], vectors=rows(1, 4))
    won, lost, gate = [], [], threading.Barrier(5)

    def work(n):
        gate.wait()
        for ids in ([f"own-{n}"], ["shared", f"with-{n}"]):
            try:
                reg.append("g", version="m/1", ids=ids, vectors=rows(len(ids), 4, seed=n))
                won.extend(ids)
            except AlreadyExists:
                lost.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (won.count("shared"), len(lost)) == (1, 4)
    expected = sorted(won + (["old"] if gallery == "used" else []))
    assert sorted(contents(reg, "g", "m/1")) == expected
    assert (reg.gallery("g").items, reg.gallery("g").segments[0].rows) == (len(expected),) * 2


# Files that are not as they were


@pytest.mark.parametrize("opened_before", [False, True])
def test_lost_files_are_reported_as_such(home, filled, opened_before):
    if opened_before:
        filled.fetch("g", ids=["i1"], into="m/1")
    shutil.rmtree(home / "galleries" / "g")
    for call in (
        lambda: filled.fetch("g", ids=["i1"], into="m/1"),
        lambda: list(filled.scan("g", into="m/1")),
        lambda: filled.search("g", np.ones((1, 4)), version="m/1"),
        lambda: filled.delete("g", ["i1"]),
        lambda: filled.append("g", version="m/1", ids=["new"], vectors=np.ones((1, 4))),
    ):
        with pytest.raises(CorruptFile, match="restore it from a backup"):
            call()


def test_a_home_made_anew_at_the_same_place_is_a_new_home(home, rows):
    for seed in range(2):
        with connect(home) as registry:
            registry.register_version("m", dim=4)
            registry.create_gallery("g")
            registry.append("g", version="m/1", ids=["a"], vectors=rows(1, 4, seed=seed))
            np.testing.assert_array_equal(registry.fetch("g", ids=["a"], into="m/1").vectors, rows(1, 4, seed=seed))
        shutil.rmtree(home)


@pytest.mark.parametrize("name", ["a?x=1", "a%20b", "a#b", "a b", "ü'\"", "a;b", "a&b"])
def test_a_home_may_have_any_name(tmp_path, rows, name):
    with connect(tmp_path / name) as registry:
        registry.register_version("m", dim=4)
        registry.create_gallery("g")
        registry.append("g", version="m/1", ids=["a"], vectors=rows(1, 4))
        np.testing.assert_array_equal(registry.fetch("g", ids=["a"], into="m/1").vectors, rows(1, 4))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "registry.db").is_file()


# A crash between publishing to Lance and committing to the database


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.embedded
def test_a_write_that_was_never_acknowledged_is_never_seen(reg, rows, monkeypatch, first):
    from registry import writing

    x = rows(6, 4)
    reg.register_version("m", dim=4)
    reg.create_gallery("g")
    if not first:
        reg.append("g", version="m/1", ids=["a"], vectors=x[:1])
    scan = reg.scan("g", into="m/1")

    def crash(*_):
        raise KeyboardInterrupt  # after both Lance datasets were published

    with monkeypatch.context() as patched:
        patched.setattr(writing, "record", crash)
        with pytest.raises(KeyboardInterrupt):
            reg.append("g", version="m/1", ids=["b", "c"], vectors=x[1:3])
        if not first:
            with pytest.raises(KeyboardInterrupt):
                reg.delete("g", ["a"])
    there = [] if first else ["a"]
    assert sorted(contents(reg, "g", "m/1")) == there
    assert reg.gallery("g").items == len(there)
    assert reg.append("g", version="m/1", ids=["c", "d"], vectors=x[2:4]) == 2
    assert sorted(contents(reg, "g", "m/1")) == [*there, "c", "d"]
    assert reg.delete("g", ["c"]) == 1
    assert sorted(contents(reg, "g", "m/1")) == [*there, "d"]
    assert contents_of(scan) == there  # whoever began to read before still reads what was there


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_scores_that_overflow_are_refused_not_lost(lite, metric):
    lite.register_version("m", dim=2, metric=metric)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["far", "near"], vectors=[[1e30, 0], [1, 0]])
    with pytest.raises(InvalidInput, match="overflow"):
        lite.search("g", [[1e30, 0]], version="m/1", k=2)


def test_a_cut_that_leaves_no_direction_is_refused(lite):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["flat", "fine"], vectors=[[0, 0, 1, 1], [1, 0, 1, 1]])
    with pytest.raises(BadVector, match="row 1"):
        lite.convert([[1, 0, 0, 0], [0, 0, 1, 1]], source="m/1", into="m/1[:2]")
    for call in (
        lambda: lite.fetch("g", ids=["fine", "fine", "flat"], into="m/1[:2]"),
        lambda: list(lite.scan("g", into="m/1[:2]", rows=1)),
    ):
        with pytest.raises(BadVector, match=r"m/1 stored of item 'flat' has no direction left in m/1\[:2\]"):
            call()
    hits = lite.search("g", [[1, 0]], version="m/1[:2]", k=2)
    assert hits.ids.tolist() == [["fine", "flat"]], "one such item does not keep the others from being found"


def test_label_columns_may_come_from_any_iterable(lite):
    assert lite.create_gallery("g", labels=iter(["a", "b"])).labels == ("a", "b")
    lite.register_version("m", dim=2)
    with pytest.raises(InvalidInput, match="labels must map"):
        lite.append("g", version="m/1", ids=["x"], vectors=[[1, 0]], labels=["a"])
    with pytest.raises(NotFound):
        lite.gallery(5)


def test_many_small_appends_do_not_slow_each_other_down(lite, rows):
    """Files are merged as they come together; every state that a reader may hold stays readable."""
    x = rows(140, 4)
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=[0], vectors=x[:1])
    early = lite.scan("g", into="m/1")
    for i in range(1, 140):
        lite.append("g", version="m/1", ids=[i], vectors=x[i : i + 1])
    segment = lite.gallery("g").segments[0]
    stored = lance.dataset(f"{lite.home}/galleries/g/m-1.lance", version=segment.lance_version)
    assert len(stored.get_fragments()) < 80
    np.testing.assert_array_equal(np.stack(list(contents(lite, "g", "m/1").values())), x)
    assert contents_of(early) == [0]
    assert lite.delete("g", [5]) == 1
    assert lite.append("g", version="m/1", ids=[5], vectors=x[:1]) == 1
    with pytest.raises(AlreadyExists):
        lite.append("g", version="m/1", ids=[7], vectors=x[:1])


def test_scores_of_different_metrics_are_never_merged(lite, rows):
    x = rows(12, 4)
    lite.register_version("far", dim=4, metric="l2")
    lite.register_version("near", dim=4)
    lite.create_gallery("g", id_type="int")
    for version in ("far/1", "near/1"):
        lite.append("g", version=version, ids=range(6), vectors=x[:6])
    lite.add_anchors("w", gallery="g", ids=range(5))
    for version in ("far/1", "near/1"):
        lite.add_transform(Relative(anchors=x[:5]), source=version, target="relative/w")
    assert lite.search("g", x[:1], version="far/1", k=1, allow_unmeasured=True).ids.tolist() == [[0]]
    lite.append("g", version="near/1", ids=[9], vectors=x[9:10])
    with pytest.raises(Incompatible, match="far/1 by l2 in far/1 and near/1 by cosine in relative/w"):
        lite.search("g", x[:1], version="far/1", k=3, allow_unmeasured=True)


def test_an_item_that_cannot_be_read_is_in_nobody_else_s_way(lite, rows):
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=[1], vectors=rows(1, 4))
    lite.append("g", version="m/2", ids=[2], vectors=rows(1, 4, seed=1))
    np.testing.assert_array_equal(lite.fetch("g", ids=[1], into="m/1").vectors, rows(1, 4))
    with pytest.raises(Incompatible):
        lite.fetch("g", ids=[1, 2], into="m/1")


@pytest.mark.parametrize("block", [0, -1, 1.5, True, "a", None])
def test_pairs_come_in_blocks_of_a_positive_size(filled, block):
    with pytest.raises(InvalidInput, match="rows must be"):
        filled.pairs("g", source="m/1", target="m/1", rows=block)


def test_what_cannot_be_written_is_told_and_nothing_is_stored(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    (Path(lite.home) / "galleries" / "g").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot be written"):
        lite.append("g", version="m/1", ids=["a"], vectors=rows(1, 4))
    assert lite.gallery("g").items == 0


def test_numbers_of_numpy_are_numbers(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("b", id_type="int", labels=["class"])
    ids, labels = [np.int64(1), np.int32(2)], [np.int64(7), np.int8(7)]
    lite.append("b", version="m/1", ids=ids, vectors=rows(2, 4), labels={"class": labels})
    assert lite.search("b", rows(2, 4), version="m/1", k=np.int64(1)).ids.tolist() == [[1], [2]]


def test_masked_values_are_no_data(lite, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    with pytest.raises(InvalidInput, match="masked"):
        lite.append("g", version="m/1", ids=["a"], vectors=np.ma.masked_array(rows(1, 4), mask=[[1, 0, 0, 0]]))


def test_readers_do_not_wait_for_writers(lite, rows):
    """Writers that wait for SQLite's lock hold connections; a reader gets one all the same."""
    lite.register_version("m", dim=4)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=[0], vectors=rows(1, 4))
    with closing(sqlite3.connect(f"{lite.home}/registry.db", isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(20) as pool:
            writes = [
                pool.submit(lite.append, "g", version="m/1", ids=[i], vectors=rows(1, 4, seed=i)) for i in range(1, 21)
            ]
            assert lite.search("g", rows(1, 4), version="m/1", k=1).ids.tolist() == [[0]]
            blocker.execute("ROLLBACK")
            assert [w.result() for w in writes] == [1] * 20
    assert lite.gallery("g").items == 21
