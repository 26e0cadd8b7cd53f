"""The graph of the transforms: kept while none is added, right in every snapshot, and asked rather than enumerated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.facts import statements
from registry.embedded import Registry
from registry.paths import Edge, Graph
from registry.services import transforms
from registry.transforms import Affine

pytestmark = pytest.mark.embedded  # only the embedded registry has a graph

VERSIONS = ["a/1", "a/2", "b/1", "b/2"]
SPACES = ["a/1", "a/1[:8]", "a/1[:4]", "a/2", "b/1", "b/2", "b/2[:3]", "relative/w"]


@st.composite
def graphs(draw):
    ends = st.sampled_from(SPACES)
    drawn = draw(st.lists(st.tuples(st.sampled_from(["affine", "slerp"]), ends, ends), max_size=12))
    return Graph(Edge(f"t{i}", kind, s, t) for i, (kind, s, t) in enumerate(drawn) if s != t)


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES), st.booleans())
def test_every_way_is_found_again_by_its_steps(graph, query, gallery, beside):
    for path in graph.meet(query, gallery, beside=beside):
        assert graph.way(query, gallery, path.query, path.gallery, beside=beside) == path
    for path in graph.lead(query, gallery):
        assert graph.way(query, gallery, path.query, ()) == path


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES))
def test_whether_there_is_a_way_is_told_without_looking_for_it(graph, query, gallery):
    assert graph.connects(query, gallery) == (next(graph.meet(query, gallery, beside=True), None) is not None)


@given(graphs(), st.sampled_from(SPACES), st.sampled_from(SPACES), st.lists(st.sampled_from(["t0", "t1", "[:4]", "x"])))
def test_steps_that_lead_nowhere_are_no_way(graph, query, gallery, steps):
    path = graph.way(query, gallery, steps, ())
    if path is not None:
        assert (path.query, path.space) == (tuple(steps), gallery)
    assert graph.way(query, gallery, [*steps, "x"], ()) is None
    assert graph.way(query, gallery, ["[:4]", "[:4]", *steps], ()) is None


@given(graphs(), st.sampled_from(VERSIONS))
def test_what_is_readable_is_what_meets_by_some_way(graph, query):
    met = {v for v in VERSIONS if next(graph.meet(query, v, beside=True), None) is not None}
    assert graph.readable(query, VERSIONS) == met


def shift(seed):
    return Affine(weight=np.eye(4, dtype=np.float32), bias=np.full(4, seed, np.float32))


def graph_of(reg):
    with reg._home.database.reading() as session:
        return reg._home.graphs.of(session)


@pytest.fixture
def three(reg):
    for _ in range(3):
        reg.register_version("m", dim=4)
    reg.add_transform(shift(1), source="m/2", target="m/1")
    return reg


def test_the_graph_is_read_once_until_a_transform_is_added(three):
    kept = graph_of(three)
    with statements(three) as seen:
        assert graph_of(three) is kept
    assert len(seen) == 1
    three.add_transform(shift(2), source="m/3", target="m/2")
    assert graph_of(three) is not kept
    assert next(graph_of(three).lead("m/3", "m/1")).length == 2


def test_what_another_process_adds_is_seen(three, database_url):
    kept = graph_of(three)
    with Registry.open(three.home, database=database_url) as other:
        other.add_transform(shift(2), source="m/3", target="m/2")
    assert not list(kept.lead("m/3", "m/1"))
    assert next(graph_of(three).lead("m/3", "m/1")).length == 2


def test_a_session_gets_the_graph_of_its_own_snapshot(three):
    graphs = three._home.graphs
    with three._home.database.reading() as session:
        assert not list(graphs.of(session).lead("m/3", "m/2"))
        three.add_transform(shift(2), source="m/3", target="m/2")
        assert list(graph_of(three).lead("m/3", "m/2"))
        assert not list(graphs.of(session).lead("m/3", "m/2"))  # this one began before
    assert list(graph_of(three).lead("m/3", "m/2"))


def test_a_transform_that_was_rolled_back_is_in_no_graph(three):
    before = graph_of(three)
    with three._home.database.writing() as session:
        transforms.add(session, shift(3), source="m/3", target="m/1", run_id=None)
        session.flush()
        session.rollback()
    assert graph_of(three) is before
