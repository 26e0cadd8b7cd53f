"""The audit log, filtered: by action, subject, who and time; on every page, and by the words that the code notes."""

from __future__ import annotations

import ast
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import insert

from registry.errors import InvalidInput
from registry.services.audit import acting_as
from registry.tables import ChangeRow
from registry.types import ACTIONS

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, tzinfo=UTC)


def said(found):
    return [(c.action, c.subject) for c in found]


@pytest.fixture
def logged(reg):
    for model in ("a", "a_b", "axb", "a"):
        reg.register_version(model, dim=4)
    reg.set_alias("a", "live", 1)
    reg.create_gallery("a")
    return reg


def test_by_action_and_subject(logged):
    assert said(logged.changes(action="alias.moved")) == [("alias.moved", "a@live")]
    assert said(logged.changes(subject="a/1")) == [("version.registered", "a/1")]
    assert [c.subject for c in logged.changes(subject="a/*")] == ["a/2", "a/1"]
    assert [c.subject for c in logged.changes(subject="a_b/*")] == ["a_b/1"], "_ and % are letters like others"
    assert [c.subject for c in logged.changes(subject="a*")] == ["a", "a@live", "a/2", "axb/1", "a_b/1", "a/1"]
    assert logged.changes(subject="*") == logged.changes()
    assert logged.changes(subject="A/*") == logged.changes(subject="%*") == logged.changes(subject="a/") == []
    assert said(logged.changes(action="version.registered", subject="a*", limit=1)) == [("version.registered", "a/2")]


def test_by_time(logged):
    changes = logged.changes()
    moments = sorted(c.at for c in changes)
    third = moments[2]
    assert logged.changes(since=third) == [c for c in changes if c.at >= third]
    assert logged.changes(until=third) == [c for c in changes if c.at < third]
    assert logged.changes(since=third.isoformat(), until=moments[4]) == [
        c for c in changes if third <= c.at < moments[4]
    ]
    west = third.astimezone(timezone(-timedelta(hours=8)))
    assert logged.changes(since=west.isoformat()) == logged.changes(since=third)
    naive = third.replace(tzinfo=None)
    assert logged.changes(since=naive) == logged.changes(since=naive.isoformat()) == logged.changes(since=third)
    assert logged.changes(since="2020-01-01") == changes
    assert logged.changes(until="2020-01-01") == logged.changes(since="9999-12-31") == []


def test_a_filter_holds_on_every_page(logged):
    filters = {"action": "version.registered", "subject": "a*", "since": "2020-01-01"}
    whole = logged.changes(**filters)
    found, after = [], None
    while True:
        page = logged.page("changes", limit=1, after=after, **filters)
        found += page.items
        after = page.next
        if after is None:
            break
    assert found == whole == list(logged.iter_changes(page=2, **filters))
    assert len(whole) == 4


def test_what_means_nothing_is_refused(logged):
    with pytest.raises(InvalidInput, match=r"action 'alias.movde' is never noted: use one of alias.moved, "):
        logged.changes(action="alias.movde")
    for wrong in ("", "yesterday", "2026-13-01", "2026-01-01T25:00", "9999-12-31T23:59:59-12:00"):
        for name in ("since", "until"):
            with pytest.raises(InvalidInput, match=f"{name} must be a moment such as 2026"):
                logged.changes(**{name: wrong})
    with pytest.raises(InvalidInput, match=r"there is no parameter 'what'|changes have no filter 'what'"):
        logged.page("changes", what="x")
    for odd in ("\0", "\ud800", "'; --", "ü*"):
        for name in ("subject", "who"):
            try:
                assert logged.changes(**{name: odd}) == []
            except InvalidInput as error:
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.embedded
def test_by_who(reg):
    for who in ("ann", "ann b"):
        with acting_as(who):
            reg.create_gallery(who.replace(" ", "-"))
    reg.create_gallery("mine")
    assert [c.subject for c in reg.changes(who="ann")] == ["ann"]
    assert reg.changes(who="an*") == []
    for wrong in (5, date(2026, 1, 1)):
        with pytest.raises(InvalidInput):
            reg.changes(who=wrong)
        with pytest.raises(InvalidInput):
            reg.changes(since=wrong)


def test_the_indexes_are_used(lite):
    """SQLite says how it looks: filtered lists must not read the whole log."""
    engine = lite._home.database.engine
    rows = [{"at": START, "action": "alias.moved", "subject": f"m/{n}", "details": {}, "who": "x"} for n in range(50)]
    with engine.begin() as connection:
        connection.execute(insert(ChangeRow), rows)
        for where, index in (
            ("action = 'alias.moved'", "changes_of_action"),
            ("subject >= 'm/4' AND subject < 'm/4z'", "changes_of_subject"),
            ("who = 'x'", "changes_of_who"),
        ):
            statement = f"EXPLAIN QUERY PLAN SELECT * FROM changes WHERE {where} ORDER BY id DESC LIMIT 10"  # noqa: S608
            plan = connection.exec_driver_sql(statement).all()
            assert index in str(plan), plan
    assert [c.subject for c in lite.changes(subject="m/4*")] == [f"m/{n}" for n in (*range(49, 39, -1), 4)]


def noted():
    """The actions that the code notes, as literal words."""
    for file in ROOT.glob("registry/**/*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
            if name == "record" and len(call.args) > 2:
                assert isinstance(call.args[1], ast.Constant), f"{file}:{call.lineno} names no action"
                yield call.args[1].value


def test_the_known_actions_are_those_that_the_code_notes():
    assert sorted(set(noted())) == sorted(ACTIONS)
    assert list(ACTIONS) == sorted(ACTIONS), "people choose from this list"
