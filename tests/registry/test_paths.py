"""Paths: never a comparison without one, never in the wrong direction, the best measured one first."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import AlreadyExists, DimensionMismatch, Incompatible, InvalidInput, NotFound, Unmeasured
from registry.paths import Edge, Graph, incompatible
from registry.transforms import Affine, Orthogonal, Prefix, Relative

# The graph alone

SPACES = ["a/1", "a/2", "b/1", "b/2", "c/1", "relative/w"]


@st.composite
def graphs(draw):
    pairs = draw(st.lists(st.tuples(st.sampled_from(SPACES), st.sampled_from(SPACES)), max_size=12))
    return [Edge(f"t{i}", "affine", s, t) for i, (s, t) in enumerate(pairs) if s != t]


def reach(edges, start):
    """Every space that can be reached from `start`, by a plain fixed point."""
    seen = {start}
    while grown := {e.target for e in edges if e.source in seen} - seen:
        seen |= grown
    return seen


def walk(by_id, start, steps):
    """Follow edges, each of which must begin where the last one ended."""
    for step in steps:
        assert by_id[step].source == start
        start = by_id[step].target
    return start


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES))
def test_every_edge_of_a_path_is_followed_forwards(edges, query, gallery):
    by_id = {e.id: e for e in edges}
    for path in Graph(edges).meet(query, gallery):
        assert walk(by_id, query, path.query) == path.space == walk(by_id, gallery, path.gallery)
        assert path.length == len(path.query) + len(path.gallery)
        assert path.kinds == ("affine",) * path.length
    for path in Graph(edges).lead(query, gallery):
        assert walk(by_id, query, path.query) == gallery == path.space
        assert path.gallery == ()


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES))
def test_paths_exist_exactly_where_spaces_connect(edges, query, gallery):
    graph = Graph(edges)
    if not reach(edges, query) & reach(edges, gallery):
        assert not list(graph.meet(query, gallery))
    if gallery not in reach(edges, query):
        assert not list(graph.lead(query, gallery))
    if any((e.source, e.target) == (query, gallery) for e in edges):
        assert next(graph.lead(query, gallery)).length <= 1
        assert next(graph.meet(query, gallery)).length <= 1


@given(graphs(), st.sampled_from(SPACES))
def test_a_space_meets_itself_without_any_map(edges, space):
    for paths in (Graph(edges).meet(space, space), Graph(edges).lead(space, space)):
        assert [(p.length, p.space) for p in islice(paths, 1)] == [(0, space)]


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES))
def test_paths_are_given_shortest_first_and_once(edges, query, gallery):
    paths = list(Graph(edges).meet(query, gallery))
    assert [p.length for p in paths] == sorted(p.length for p in paths)
    assert len({(p.query, p.gallery) for p in paths}) == len(paths)


@given(graphs(), st.sampled_from(SPACES), st.integers(1, 9), st.integers(1, 9))
def test_a_prefix_is_reached_by_cutting_and_never_left_by_growing(edges, space, n, m):
    graph = Graph(edges)
    assert next(graph.lead("a/1", f"a/1[:{n}]")).query == (f"[:{n}]",)
    between = [p.query for p in graph.lead(f"a/1[:{n}]", f"a/1[:{m}]")]
    assert between == ([()] if n == m else [(f"[:{m}]",)] if m < n else [])
    assert not list(graph.lead(f"a/1[:{n}]", "a/1"))
    if "a/1" not in reach(edges, space):
        assert not list(graph.lead(space, f"a/1[:{n}]"))


def test_no_chain_grows_beyond_three_maps():
    chain = [Edge(f"t{i}", "affine", f"a/{i}", f"a/{i + 1}") for i in range(1, 9)]
    assert [p.query for p in Graph(chain).lead("a/1", "a/4")] == [("t1", "t2", "t3")]
    assert not list(Graph(chain).lead("a/1", "a/5"))


def test_the_error_says_which_command_makes_the_missing_link():
    assert "samespace fit orthogonal --source a/2 --target a/1" in str(incompatible("a/2", "a/1"))
    assert "samespace fit relative --source a/2 --anchors w" in str(incompatible("a/2", "relative/w"))


# Through the registry


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0].astype(np.float32)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def linear(weight, **report):
    return Affine(weight=weight, bias=np.zeros(weight.shape[1], np.float32), report=report)


@pytest.fixture
def two(reg, rows):
    """m/1 and m/2 of the same width, one a rotation of the other, both on benchmark `b`."""
    for _ in range(2):
        reg.register_version("m", dim=6)
    labels = np.arange(40) % 8
    x = unit(3 * rows(8, 6)[labels] + rows(40, 6, seed=1))
    reg.create_gallery("b", id_type="int", labels=["class"])
    reg.append("b", version="m/1", ids=np.arange(40), vectors=x, labels={"class": labels})
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=np.arange(40), vectors=x)
    reg.append("b", version="m/2", ids=np.arange(40), vectors=x @ rotation(6).T)
    return reg


def test_equal_widths_are_not_one_space(two, rows):
    queries = rows(2, 6)
    calls = [
        lambda: two.search("g", queries, version="m/2"),
        lambda: two.search("g", queries, version="m/2", allow_unmeasured=True),
        lambda: two.fetch("g", ids=[1], into="m/2"),
        lambda: two.fetch("g", ids=[1], into="m/2", allow_unmeasured=True),
        lambda: two.scan("g", into="m/2", allow_unmeasured=True),
        lambda: two.convert(queries, source="m/1", into="m/2", allow_unmeasured=True),
        lambda: two.convert(queries, source="m/2[:3]", into="m/1[:3]", allow_unmeasured=True),
        lambda: two.convert(queries, source="m/1[:3]", into="m/1", allow_unmeasured=True),
    ]
    for call in calls:
        with pytest.raises(Incompatible) as caught:
            call()
        assert type(caught.value) is Incompatible
        message = str(caught.value)
        assert "m/1" in message
        assert "m/2" in message or "m/1[:3]" in message
        assert "samespace fit" in message


def test_a_path_is_taken_only_after_it_was_measured(two, rows):
    queries = unit(rows(3, 6, seed=5))
    two.add_transform(linear(rotation(6)), source="m/2", target="m/1")
    calls = [
        lambda **more: two.search("g", queries, version="m/2", k=3, **more).scores,
        lambda **more: two.convert(queries, source="m/2", into="m/1", **more),
    ]
    for call in calls:
        with pytest.raises(Unmeasured, match="samespace evaluate"):
            call()
    allowed = [call(allow_unmeasured=True) for call in calls]
    two.evaluate("b")
    for call, expected in zip(calls, allowed, strict=True):
        np.testing.assert_array_equal(call(), expected)
    hits = two.search("g", queries, version="m/2", k=3)
    assert hits.path["m/1"].evidence.benchmark == "b"
    assert hits.path["m/1"].kinds == ("affine",)


def test_a_rotated_version_finds_what_its_original_finds(two, rows):
    x = unit(rows(5, 6, seed=9))
    two.add_transform(linear(rotation(6)), source="m/2", target="m/1")
    two.evaluate("b")
    native = two.search("g", x, version="m/1", k=5)
    bridged = two.search("g", x @ rotation(6).T, version="m/2", k=5)
    np.testing.assert_array_equal(native.ids, bridged.ids)
    np.testing.assert_allclose(native.scores, bridged.scores, atol=1e-5)


def test_direction_is_part_of_a_transform(two, rows):
    two.add_transform(linear(rotation(6)), source="m/2", target="m/1")
    two.evaluate("b")
    for call in (
        lambda: two.convert(rows(1, 6), source="m/1", into="m/2", allow_unmeasured=True),
        lambda: two.fetch("g", ids=[1], into="m/2", allow_unmeasured=True),
    ):
        with pytest.raises(Incompatible, match="no transform leads from m/1 to m/2"):
            call()
    # The stored side may be mapped where only that direction is known.
    other = two.register_version("n", dim=4).ref
    two.add_transform(linear(rows(6, 4)), source="m/1", target=other)
    hits = two.search("g", rows(2, 4), version=other, k=2, allow_unmeasured=True)
    assert (hits.path["m/1"].query, len(hits.path["m/1"].gallery)) == ((), 1)


def test_a_map_of_turned_widths_is_refused(reg, rows):
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=6)
    with pytest.raises(DimensionMismatch, match="check the direction"):
        reg.add_transform(linear(rows(6, 4)), source="m/1", target="m/2")
    with pytest.raises(InvalidInput, match="m/1 twice"):
        reg.add_transform(linear(rotation(4)), source="m/1", target="m/1[:4]")
    for space in ("m/9", "n/1", "m@x", "relative/w"):
        with pytest.raises(NotFound):
            reg.add_transform(linear(rotation(4)), source="m/1", target=space)
    with pytest.raises(DimensionMismatch, match="asks for 7"):
        reg.add_transform(linear(rotation(4)), source="m/1", target="m/2[:7]")
    assert reg.transforms() == []


def test_one_transform_is_registered_once_and_comes_back_as_it_was(reg, rows):
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=6)
    given = linear(rows(6, 4), r2=0.5)
    info = reg.add_transform(given, source="m/2", target="m/1", run_id="r")
    assert (info.kind, info.source, info.target, info.report, info.run_id) == ("affine", "m/2", "m/1", {"r2": 0.5}, "r")
    assert reg.transforms() == [info]
    back = reg.transform(info.id)
    np.testing.assert_array_equal(back.weight, given.weight)
    assert (back.source.space, back.target.space) == ("m/2", "m/1")
    assert back.source.fingerprint == reg.version("m/2").fingerprint
    with pytest.raises(AlreadyExists):
        reg.add_transform(given, source="m/2", target="m/1")
    with pytest.raises(NotFound):
        reg.transform("affine-000000000000")


def test_a_transform_made_for_another_space_is_refused(reg, rows):
    for _ in range(3):
        reg.register_version("m", dim=4)
    info = reg.add_transform(linear(rotation(4)), source="m/2", target="m/1")
    with pytest.raises(InvalidInput, match="was made for m/2"):
        reg.add_transform(reg.transform(info.id), source="m/3", target="m/1")


def test_the_best_measured_path_wins_over_a_shorter_worse_one(two, rows):
    middle = two.register_version("m", dim=6).ref
    noise = two.add_transform(linear(rows(6, 6, seed=4)), source="m/2", target="m/1")
    first = two.add_transform(linear(np.eye(6, dtype=np.float32)), source="m/2", target=middle)
    second = two.add_transform(linear(rotation(6)), source=middle, target="m/1")
    queries = unit(rows(2, 6, seed=3))
    unmeasured = two.search("g", queries, version="m/2", allow_unmeasured=True)
    assert unmeasured.path["m/1"].query == (noise.id,)  # nothing is known yet: the shortest
    two.evaluate("b", versions=["m/1", "m/2"])
    best = two.search("g", queries, version="m/2").path["m/1"]
    assert best.query == (first.id, second.id)
    assert best.evidence.value > 0.5
    # Composing by hand gives what the registry composes.
    np.testing.assert_allclose(two.convert(queries, source="m/2", into="m/1"), queries @ rotation(6), atol=1e-5)
    # Of two equally good ones the shorter is taken.
    direct = two.add_transform(linear(rotation(6)), source="m/2", target="m/1")
    two.evaluate("b", versions=["m/1", "m/2"])
    assert two.search("g", queries, version="m/2").path["m/1"].query == (direct.id,)


def test_values_are_compared_within_one_measurement(two, rows):
    """A bad map with a good value on an easy benchmark must not beat a good map measured on a hard one."""
    bad = two.add_transform(linear(rotation(6) + 0.7 * rows(6, 6, seed=8)), source="m/2", target="m/1")
    labels = np.arange(400) % 4
    easy = unit(8 * rows(4, 6, seed=6)[labels] + rows(400, 6, seed=7))
    two.create_gallery("easy", id_type="int", labels=["class"])
    two.append("easy", version="m/1", ids=np.arange(400), vectors=easy, labels={"class": labels})
    two.append("easy", version="m/2", ids=np.arange(400), vectors=easy @ rotation(6).T)
    two.evaluate("easy")
    queries = unit(rows(2, 6, seed=3))
    assert two.search("g", queries, version="m/2").path["m/1"].evidence.benchmark == "easy"
    good = two.add_transform(linear(rotation(6)), source="m/2", target="m/1")
    two.evaluate("b")  # fewer queries, but both maps
    best = two.search("g", queries, version="m/2").path["m/1"]
    assert (best.query, best.evidence.benchmark) == ((good.id,), "b")
    assert two.convert(queries, source="m/2", into="m/1") == pytest.approx(queries @ rotation(6), abs=1e-5)
    assert bad.id != good.id


def test_a_measured_path_speaks_for_its_prefixes(lite, rows):
    """A map from a prefix is measured with the whole version's queries, and a cut behind a map holds by definition."""
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=6)
    labels = np.arange(40) % 8
    new = unit(3 * rows(8, 6)[labels] + rows(40, 6, seed=1))
    lite.create_gallery("b", id_type="int", labels=["class"])
    lite.append("b", version="m/1", ids=np.arange(40), vectors=new[:, :4], labels={"class": labels})
    lite.append("b", version="m/2", ids=np.arange(40), vectors=new)
    lite.add_transform(linear(rotation(4)), source="m/2[:4]", target="m/1")
    calls = [
        lambda: lite.convert(new[:1, :4], source="m/2[:4]", into="m/1"),
        lambda: lite.convert(new[:1], source="m/2", into="m/1"),
        lambda: lite.convert(new[:1], source="m/2", into="m/1[:3]"),
        lambda: lite.search("b", new[:1, :4], version="m/2[:4]").scores,
    ]
    lite.delete("b", [39])
    for call in calls[:3]:
        with pytest.raises(Unmeasured):
            call()
    lite.evaluate("b")
    for call in calls:
        assert len(call()) == 1


def test_queries_of_a_relative_space_use_what_was_measured_of_the_stored_side(two, rows):
    two.add_anchors("w", gallery="b", ids=[0, 1, 2, 3, 4, 5])
    anchors = two.fetch("b", ids=[0, 1, 2, 3, 4, 5], into="m/1").vectors
    for version, vectors in (("m/1", anchors), ("m/2", anchors @ rotation(6).T)):
        two.add_transform(Relative(anchors=vectors), source=version, target="relative/w")
    queries = two.convert(anchors, source="m/1", into="relative/w", allow_unmeasured=True)
    with pytest.raises(Unmeasured):
        two.search("g", queries, version="relative/w", k=1)
    two.evaluate("b")
    hits = two.search("g", queries, version="relative/w", k=1)
    assert hits.ids[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert hits.path["m/1"].evidence.benchmark == "b"


def test_a_dense_graph_stays_quick():
    """Two maps for each ordered pair of eight versions: a search must not walk all the detours."""
    refs = [f"m/{i}" for i in range(8)]
    pairs = [(s, t) for s in refs for t in refs if s != t]
    graph = Graph(Edge(f"{kind}-{s}-{t}", kind, s, t) for s, t in pairs for kind in ("orthogonal", "affine"))
    assert next(graph.meet("m/0", "m/0")).length == 0
    paths = list(graph.meet("m/0", "m/1"))
    assert len(paths) < 2000
    assert {p.length for p in paths} == {1, 2, 3}


def test_a_composed_path_equals_applying_by_hand(lite, rows):
    dims = [5, 7, 4, 6]
    for d in dims:
        lite.register_version("m", dim=d)
    maps = [Affine(weight=rows(dims[i], dims[i + 1], seed=i), bias=rows(1, dims[i + 1], seed=i)[0]) for i in range(3)]
    for i, one in enumerate(maps):
        lite.add_transform(one, source=f"m/{i + 1}", target=f"m/{i + 2}")
    x = rows(10, 5)
    by_hand = x
    for one in maps:
        by_hand = unit(unit(by_hand) @ one.weight + one.bias)
    got = lite.convert(x, source="m/1", into="m/4", allow_unmeasured=True)
    np.testing.assert_allclose(got, by_hand, atol=1e-6)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(10), vectors=x)
    np.testing.assert_array_equal(lite.fetch("g", ids=range(10), into="m/4", allow_unmeasured=True).vectors, got)


# Prefix spaces


@pytest.mark.parametrize(("metric", "normalized"), [("cosine", True), ("dot", False), ("l2", False)])
def test_a_prefix_space_needs_no_evidence(lite, rows, metric, normalized):
    x = rows(6, 8)
    lite.register_version("m", dim=8, metric=metric)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=np.arange(6), vectors=x)
    expected = unit(x[:, :3]) if normalized else x[:, :3]
    got = lite.fetch("g", ids=range(6), into="m/1[:3]")
    assert got.space == "m/1[:3]"
    np.testing.assert_allclose(got.vectors, expected, atol=1e-6)
    np.testing.assert_allclose(lite.convert(x, source="m/1", into="m/1[:3]"), expected, atol=1e-6)
    np.testing.assert_allclose(lite.convert(x[:, :5], source="m/1[:5]", into="m/1[:3]"), expected, atol=1e-6)
    assert lite.fetch("g", ids=[0], into="m/1[:8]").space == "m/1"
    hits = lite.search("g", x[:, :3], version="m/1[:3]", k=1)
    if metric != "dot":
        assert hits.ids.ravel().tolist() == list(range(6))
    assert hits.path["m/1"].space == "m/1[:3]"


def test_a_prefix_wider_than_its_version_is_refused(lite, rows):
    lite.register_version("m", dim=4)
    with pytest.raises(DimensionMismatch, match="asks for 5 dimensions, m/1 has 4"):
        lite.convert(rows(1, 5), source="m/1[:5]", into="m/1")


@pytest.mark.parametrize("space", ["m/1[:0]", "m/1[:-1]", "m/1[2:3]", "m/1[:2", "m/1[:2][:1]", "m/1[]", "", None, 4])
def test_what_is_no_space_is_refused(lite, rows, space):
    lite.register_version("m", dim=4)
    with pytest.raises(InvalidInput):
        lite.convert(rows(1, 4), source="m/1", into=space)


def test_a_cut_behind_a_map_follows_the_metric_of_what_it_cuts(lite, rows):
    lite.register_version("m", dim=4)
    lite.register_version("d", dim=4, metric="dot")
    scaled = Affine(weight=3 * np.eye(4), bias=np.zeros(4), normalize=False)
    lite.add_transform(scaled, source="m/1", target="d/1")
    whole = lite.convert(rows(3, 4), source="m/1", into="d/1", allow_unmeasured=True)
    cut = lite.convert(rows(3, 4), source="m/1", into="d/1[:2]", allow_unmeasured=True)
    np.testing.assert_allclose(cut, whole[:, :2], atol=1e-6)


def test_a_map_that_starts_at_a_prefix_serves_the_whole_space(lite, rows):
    lite.register_version("m", dim=2)
    lite.register_version("m", dim=4)
    lite.add_transform(linear(rotation(2)), source="m/2[:2]", target="m/1")
    whole = lite.convert(rows(3, 4), source="m/2", into="m/1", allow_unmeasured=True)
    cut = lite.convert(rows(3, 4)[:, :2], source="m/2[:2]", into="m/1", allow_unmeasured=True)
    np.testing.assert_allclose(whole, cut, atol=1e-6)


def test_a_map_of_directions_is_no_map_between_spaces_with_length(lite):
    for _ in range(2):
        lite.register_version("m", dim=4, metric="l2")
    with pytest.raises(InvalidInput):
        lite.add_transform(linear(rotation(4)), source="m/2", target="m/1")


def test_a_compatible_version_is_searched_through_its_registered_prefix(lite, rows):
    lite.register_version("m", dim=4)
    lite.register_version("m", dim=6, parent="m/1")
    lite.create_gallery("g", id_type="int")
    old = unit(rows(8, 4))
    lite.append("g", version="m/1", ids=np.arange(8), vectors=old)
    new = np.hstack([old, rows(8, 2)])
    with pytest.raises(Incompatible):
        lite.search("g", new, version="m/2", allow_unmeasured=True)
    lite.add_transform(Prefix(from_dim=6, to_dim=4), source="m/2", target="m/1")
    hits = lite.search("g", new, version="m/2", k=1, allow_unmeasured=True)
    assert hits.ids.ravel().tolist() == list(range(8))
    np.testing.assert_allclose(hits.scores, 1, atol=1e-5)


# Relative spaces


def test_two_versions_meet_in_a_relative_space(reg, rows):
    x = unit(rows(60, 5))
    for d in (5, 5):
        reg.register_version("m", dim=d)
    reg.create_gallery("b", id_type="int", labels=["class"])
    turned = x @ rotation(5)
    reg.append("b", version="m/1", ids=np.arange(60), vectors=x, labels={"class": np.arange(60) % 6})
    reg.append("b", version="m/2", ids=np.arange(60), vectors=turned)
    anchors = reg.add_anchors("w", gallery="b", ids=np.arange(12))
    assert (anchors.space, anchors.size, anchors.ids) == ("relative/w", 12, tuple(range(12)))
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=np.arange(60), vectors=x)
    reg.add_transform(Relative(anchors=x[:12]), source="m/1", target="relative/w")
    with pytest.raises(Incompatible):  # one half is not enough
        reg.search("g", turned, version="m/2", allow_unmeasured=True)
    reg.add_transform(Relative(anchors=turned[:12]), source="m/2", target="relative/w")
    reg.evaluate("b")
    hits = reg.search("g", turned, version="m/2", k=1)
    assert hits.ids.ravel().tolist() == list(range(60))
    path = hits.path["m/1"]
    assert (path.space, path.kinds, len(path.query), len(path.gallery)) == ("relative/w", ("relative",) * 2, 1, 1)
    got = reg.fetch("g", ids=[3], into="relative/w").vectors
    np.testing.assert_allclose(got, unit(x[3:4] @ x[:12].T), atol=1e-5)
    with pytest.raises(Incompatible, match="relative"):  # nothing leads back out
        reg.convert(got, source="relative/w", into="m/1", allow_unmeasured=True)


def test_anchor_sets_are_frozen_and_named_once(reg, rows):
    reg.register_version("m", dim=4)
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=["a", "b", "c"], vectors=rows(3, 4))
    made = reg.add_anchors("w", gallery="g", ids=["a", "b", "c"], anchor=[0, 1, 0], weights=[0.5, 1, 0.5])
    assert (made.size, made.anchor, made.weights, made.similarity) == (2, (0, 1, 0), (0.5, 1.0, 0.5), "cosine")
    assert (made.dim, made.quantum) == (2, 0.0)
    assert reg.anchor_sets() == [made]
    with pytest.raises(AlreadyExists, match="frozen"):
        reg.add_anchors("w", gallery="g", ids=["a"])


@pytest.mark.parametrize(
    "bad",
    [
        {"ids": []},
        {"anchor": [0]},
        {"weights": [1.0]},
        {"anchor": [0, 2]},
        {"anchor": [1, 2]},
        {"anchor": [0, -1]},
        {"similarity": "dot"},
        {"similarity": None},
        {"quantum": -1},
        {"quantum": float("nan")},
        {"quantum": "0.1"},
        {"name": "W"},
    ],
    ids=repr,
)
def test_anchors_that_span_nothing_are_refused(lite, rows, bad):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 4))
    with pytest.raises(InvalidInput):
        lite.add_anchors(**{"name": "w", "gallery": "g", "ids": ["a", "b"], **bad})
    assert lite.anchor_sets() == []


@pytest.mark.parametrize(
    "bad", [{"ids": ["nobody", "a"]}, {"ids": [1, 2]}, {"ids": "ab"}, {"weights": [float("nan"), 1.0]}], ids=repr
)
def test_anchors_are_items_of_their_gallery(lite, rows, bad):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 4))
    with pytest.raises((InvalidInput, NotFound)):
        lite.add_anchors(**{"name": "w", "gallery": "g", "ids": ["a", "b"], **bad})


def test_rotation_is_a_kind_of_its_own(lite, rows):
    for _ in range(2):
        lite.register_version("m", dim=4)
    info = lite.add_transform(Orthogonal(weight=rotation(4), bias=np.zeros(4)), source="m/1", target="m/2")
    assert info.id.startswith("orthogonal-")
    assert (lite.convert(rows(1, 4), source="m/1", into="m/2", allow_unmeasured=True).shape) == (1, 4)


@pytest.mark.parametrize("report", [{"residual": float("nan")}, {"residual": np.float32(1)}])
def test_a_report_holds_plain_numbers(lite, report):
    lite.register_version("m", dim=2)
    lite.register_version("m", dim=2)
    turn = Orthogonal(weight=np.eye(2), bias=np.zeros(2), report=report)
    with pytest.raises(InvalidInput, match="plain, finite JSON"):
        lite.add_transform(turn, source="m/2", target="m/1")
