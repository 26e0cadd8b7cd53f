"""Lists page by page: all pages make the whole list, each costs as much as the next, and nothing shifts meanwhile."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from bench.facts import Size, fill, statements
from registry.errors import InvalidInput, NotFound
from registry.services import evidence, pages
from registry.tables import Base, TransformRow, now
from registry.types import Evaluation

pytestmark = pytest.mark.embedded  # rows are inserted in bulk, and statements counted

SIZE = Size(models=210, versions_each=2, measured=21, transforms=210, evaluations=700, galleries=210, anchor_sets=210)
KINDS = ("models", "versions", "galleries", "transforms", "anchor_sets", "evaluations", "changes")


@pytest.fixture
def filled(reg):
    """A registry with more than 200 of everything."""
    with reg._home.database.engine.begin() as connection:
        fill(connection, SIZE)
    return reg


def whole(reg, kind, **filters):
    return reg.changes(limit=10**6) if kind == "changes" else getattr(reg, kind)(**filters)


def walked(reg, kind, limit, between=lambda page: None, **filters):
    """Everything that pages of `limit` give, `between` being called after each."""
    found, after = [], None
    while True:
        page = reg.page(kind, after=after, limit=limit, **filters)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        assert len(page.items) == limit
        between(page)
        after = page.next


def test_all_pages_make_the_whole_list(filled):
    for kind in KINDS:
        everything = whole(filled, kind)
        assert len(everything) > 200
        for limit in (30, len(everything) - 1, len(everything), 10**6):
            assert walked(filled, kind, limit) == everything


def test_a_filter_holds_on_every_page(filled):
    for kind, filters in (
        ("versions", {"model": "model-0007"}),
        ("transforms", {"model": "model-0007"}),
        ("evaluations", {"benchmark": "gallery-0003"}),
        ("evaluations", {"benchmark": "gallery-0003", "metric": "map"}),
        ("evaluations", {"benchmark": "gallery-0003", "label": "class", "metric": "mrr"}),
        ("evaluations", {"metric": "cmc@1"}),
    ):
        everything = whole(filled, kind, **filters)
        assert everything
        for limit in (2, 100):
            assert walked(filled, kind, limit, **filters) == everything


def test_iterators_read_page_by_page(filled):
    for kind in KINDS:
        if kind == "anchor_sets":
            continue
        with statements(filled) as seen:
            lazy = getattr(filled, f"iter_{kind}")(page=30)
            assert not seen
            first = next(lazy)
            before = len(seen)
            assert [first, *(item for _, item in zip(range(29), lazy, strict=False))] == whole(filled, kind)[:30]
        assert before <= 3
        assert [first, *getattr(filled, f"iter_{kind}")(page=50)][1:] == whole(filled, kind)
    assert list(filled.iter_versions("model-0007", page=1)) == filled.versions("model-0007")
    assert list(filled.iter_evaluations("gallery-0003", metric="map", page=2)) == filled.evaluations(
        "gallery-0003", metric="map"
    )


def test_a_page_takes_as_many_statements_whatever_its_size(filled):
    for kind in KINDS:
        counts = []
        for limit in (10, 200):
            after = filled.page(kind, limit=2).next
            with statements(filled) as seen:
                assert len(filled.page(kind, after=after, limit=limit).items) == limit
            counts.append(len(seen))
        assert counts[0] == counts[1] <= 3, kind


def test_a_page_of_more_rows_than_one_loader_takes_at_once(reg):
    with reg._home.database.engine.begin() as connection:
        fill(connection, Size(models=120, versions_each=10, measured=1, transforms=20, evaluations=20, galleries=1))
    with statements(reg) as seen:
        assert len(reg.page("versions", limit=1200).items) == 1200
    assert len(seen) == 3


def test_what_was_there_all_along_comes_once_and_in_order(filled):
    """Between any two pages something is added before the cursor and behind it."""
    numbers = iter(range(1000))

    def add(_page):
        i = next(numbers)
        for word in ("aaa", "zzz"):
            filled.register_version(f"{word}-{i}", dim=4)
            filled.create_gallery(f"{word}-{i}")
            filled.add_anchors(f"{word}-{i}", gallery=f"{word}-g", ids=[1])
        filled.set_alias("model-0001", f"alias-{i}", 1)

    for word in ("aaa", "zzz"):
        filled.create_gallery(f"{word}-g", id_type="int")
        filled.register_version(f"{word}-v", dim=4)
        filled.append(f"{word}-g", version=f"{word}-v/1", ids=[1], vectors=[[1, 0, 0, 0]])

    def name(item):
        return getattr(item, "ref", None) or item.name

    for kind in ("models", "versions", "galleries", "anchor_sets"):
        before = [name(item) for item in whole(filled, kind)]
        found = [name(item) for item in walked(filled, kind, 60, add)]
        assert found == sorted(set(found), key=found.index)
        assert [n for n in found if n in set(before)] == before
        assert any(n.startswith("zzz-") for n in set(found) - set(before))
    changes = whole(filled, "changes")
    assert walked(filled, "changes", 300, add) == changes  # the newest first, so what is added comes before them all


def measured_anew(reg, benchmark):
    """Store every cell of a benchmark once more, as a new measurement."""
    cells = [
        Evaluation(
            **{f: getattr(e, f) for f in e.__slots__ if f not in ("measurement", "created_at")},
            measurement=f"again {benchmark}",
            created_at=now(),
        )
        for e in reg.evaluations(benchmark)
    ]
    with reg._home.database.writing() as session:
        evidence.store(session, cells)


def test_a_new_measurement_comes_in_place_of_what_it_replaces(filled):
    def cell(e):
        return e.benchmark, e.query, e.gallery, e.role, e.metric

    before = filled.evaluations()
    first = filled.page("evaluations", limit=100)
    read, unread = first.items[0].benchmark, before[-1].benchmark
    assert read != unread
    for benchmark in (read, unread):
        measured_anew(filled, benchmark)
    rest, after = list(first.items), first.next
    while after:
        page = filled.page("evaluations", after=after, limit=100)
        rest, after = rest + list(page.items), page.next
    assert [cell(e) for e in rest] == [cell(e) for e in before]
    assert {e.measurement for e in rest if e.benchmark == unread} == {f"again {unread}"}
    assert f"again {read}" not in {e.measurement for e in rest}
    assert {e.measurement for e in filled.evaluations(read)} == {f"again {read}"}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 8))
def test_rows_of_one_moment_are_told_apart(moments, limit):
    """Transforms are ordered by time and then by id: ties must neither be lost nor come twice."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        rows = [(datetime(2026, 1, 1, 0, 0, moment, tzinfo=UTC), f"t{i}") for i, moment in enumerate(moments)]
        for at, id in rows:
            session.add(
                TransformRow(
                    id=id, digest=id, kind="affine", source="a/1", target="b/1", source_dim=1, target_dim=1, report={},
                    created_at=at,
                )
            )  # fmt: skip
        session.commit()
        for descending in (False, True):
            found, after = [], None
            while True:
                page = pages.read(
                    session, select(TransformRow), lambda row: (row.created_at, row.id), of="transforms",
                    keys=(TransformRow.created_at, TransformRow.id), after=after, limit=limit, descending=descending,
                )  # fmt: skip
                found += page.items
                after = page.next
                if after is None:
                    break
            assert found == sorted(rows, reverse=descending)
            assert all(a != b for a, b in pairwise(found))


def cursor(*values):
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


WRONG = [
    "", " ", "x", "ü", "!!!!", "a" * 10_000, 5, b"x", True, ["models"], cursor(), cursor("models"), cursor("models", 5),
    cursor("models", None), cursor("models", "a", "b"), cursor("versions", "a"), cursor("versions", "a", "b"),
    cursor("versions", "a", -1), cursor("versions", "a", 2**63), cursor("versions", "a", True),
    cursor("versions", "a", 1.5), cursor("transforms", "2026-01-01T00:00:00", "t"), cursor("transforms", "x", "t"),
    cursor("transforms", 0, "t"), base64.urlsafe_b64encode(b"[" * 5000).decode(), base64.urlsafe_b64encode(b"\xff").decode(),
]  # fmt: skip


def test_a_malformed_cursor_is_refused(reg):
    for kind in KINDS:
        for after in WRONG:
            with pytest.raises(InvalidInput, match="is no cursor of") as caught:
                reg.page(kind, after=after)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 250


def test_a_cursor_is_of_one_list(reg):
    for name in ("a", "b"):
        reg.register_version(name, dim=4)
        reg.create_gallery(name)
    after = reg.page("models", limit=1).next
    assert [m.name for m in reg.page("models", after=after).items] == ["b"]
    with pytest.raises(InvalidInput, match="is no cursor of galleries"):
        reg.page("galleries", after=after)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(KINDS),
    st.one_of(
        st.text(),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists).map(
            lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
        ),
        st.lists(st.text() | st.integers(), max_size=5).map(lambda values: cursor("models", *values)),
    ),
)
def test_any_text_is_a_cursor_or_is_refused(lite, kind, after):
    try:
        assert lite.page(kind, after=after).items == ()
    except InvalidInput as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_cursor_may_hold_what_no_name_does(reg):
    """PostgreSQL takes no NUL in a text; a name has none, so nothing lies behind such a cursor by right."""
    for text in ("\0", "\ud800", "'; --"):
        try:
            assert reg.page("models", after=cursor("models", text)).items == ()
        except InvalidInput as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_limits_lists_and_filters_are_checked(reg):
    for limit in (0, -1, 2.5, "1", True, None, 2**31):
        with pytest.raises(InvalidInput, match="limit must be a whole number of rows from 1"):
            reg.page("models", limit=limit)
    for kind in ("tokens", "", None, ["models"]):
        with pytest.raises(InvalidInput, match=r"there is no list .*: use one of models, versions"):
            reg.page(kind)
    with pytest.raises(InvalidInput, match="galleries have no filter 'model': use none"):
        reg.page("galleries", model="m")
    with pytest.raises(InvalidInput, match="evaluations have no filter 'query': use benchmark or metric or label"):
        reg.page("evaluations", query="m/1")
    with pytest.raises(NotFound, match="model m is not registered"):
        reg.page("versions", model="m")
    assert reg.page("models") == reg.page("changes") == pages.Page((), None)
