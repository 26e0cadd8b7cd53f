"""Models and versions: numbers, fingerprints, parents, aliases, tags, and that a release never changes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from registry import connect
from registry.errors import AlreadyExists, BadName, InvalidInput, NotFound, SamespaceError


def sql(reg, statement, **values):
    with reg._home.database.engine.begin() as connection:
        return connection.execute(text(statement), values)


def test_numbers_count_from_one_without_gaps_for_each_model(reg):
    refs = [reg.register_version(name, dim=4).ref for name in ("a", "b", "a", "a", "b")]
    assert refs == ["a/1", "b/1", "a/2", "a/3", "b/2"]
    assert [v.number for v in reg.versions("a")] == [1, 2, 3]
    assert [v.ref for v in reg.versions()] == ["a/1", "a/2", "a/3", "b/1", "b/2"]
    assert [(m.name, m.versions) for m in reg.models()] == [("a", 3), ("b", 2)]


def test_a_refused_registration_takes_no_number(reg):
    reg.register_version("a", dim=4, fingerprint={"weights": "x"})
    with pytest.raises(AlreadyExists, match="a/1"):
        reg.register_version("a", dim=4, fingerprint={"weights": "x"})
    with pytest.raises(NotFound):
        reg.register_version("a", dim=4, parent="a/9")
    with pytest.raises(BadName):
        reg.register_version("new", dim=4, tags={"BAD KEY": "x"})
    assert reg.register_version("a", dim=4).number == 2
    assert [m.name for m in reg.models()] == ["a"]


def test_a_version_says_what_it_was_registered_with(reg):
    reg.register_version("products", dim=64)
    before = datetime.now(UTC)
    made = reg.register_version(
        "products", dim=128, metric="l2", normalized=True, dtype="float16", source="models:/products/7",
        parent="products/1", method="oca", run_id="r1", fingerprint={"weights": "abc", "pool": ["cls", 1]},
        tags={"owner": "ann", "note": "it's \"ü\""},
    )  # fmt: skip
    assert made == reg.version("products/2")
    assert (made.dim, made.metric, made.normalized, made.dtype) == (128, "l2", True, "float16")
    assert (made.source, made.parent, made.method, made.run_id) == ("models:/products/7", "products/1", "oca", "r1")
    assert made.facts == {"weights": "abc", "pool": ["cls", 1]}
    assert made.tags == {"owner": "ann", "note": 'it\'s "ü"'}
    assert made.created_at.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) <= made.created_at <= datetime.now(UTC) + timedelta(seconds=1)
    assert len(made.fingerprint) == 64


@pytest.mark.parametrize(("metric", "normalized"), [("cosine", True), ("dot", False), ("l2", False)])
def test_only_cosine_implies_normalized(lite, metric, normalized):
    assert lite.register_version("m", dim=2, metric=metric).normalized is normalized


def test_equal_fingerprints_are_one_encoder_whatever_the_order_of_keys(reg):
    reg.register_version("m", dim=4, fingerprint={"a": 1, "b": [1, 2]})
    with pytest.raises(AlreadyExists, match="m/1 has this very fingerprint"):
        reg.register_version("m", dim=4, fingerprint={"b": [1, 2], "a": 1})


@pytest.mark.parametrize(
    "other", [{"dim": 5}, {"metric": "dot"}, {"dtype": "float16"}, {"normalized": False}, {"fingerprint": {"a": 2}}]
)
def test_whatever_decides_the_space_makes_another_version(lite, other):
    first = lite.register_version("m", dim=4, fingerprint={"a": 1})
    second = lite.register_version("m", **{"dim": 4, "fingerprint": {"a": 1}, **other})
    assert first.fingerprint != second.fingerprint


def test_other_models_and_no_fingerprint_are_no_duplicates(reg):
    same = {"weights": "x"}
    assert reg.register_version("m", dim=4, fingerprint=same).fingerprint == (
        reg.register_version("n", dim=4, fingerprint=same).fingerprint
    )
    assert reg.register_version("m", dim=4).fingerprint != reg.register_version("m", dim=4).fingerprint


def test_aliases_move_and_belong_to_one_model(reg):
    for name in ("a", "a", "b"):
        reg.register_version(name, dim=4)
    reg.set_alias("a", "champion", 1)
    reg.set_alias("b", "champion", 1)
    assert reg.version("a@champion").ref == "a/1"
    reg.set_alias("a", "champion", 2)
    assert reg.version("a@champion").ref == "a/2"
    assert reg.version("b@champion").ref == "b/1"
    assert (reg.version("a/1").aliases, reg.version("a/2").aliases) == ((), ("champion",))
    assert [m.aliases for m in reg.models()] == [{"champion": 2}, {"champion": 1}]
    moved = [c.details for c in reg.changes() if (c.action, c.subject) == ("alias.moved", "a@champion")]
    assert moved == [{"from": 1, "to": 2}, {"from": None, "to": 1}]


@pytest.mark.parametrize("number", [2, 0, -1, 10**12, True, "1; DROP TABLE versions"])
def test_an_alias_needs_a_version(lite, number):
    lite.register_version("m", dim=4)
    with pytest.raises((NotFound, BadName)):
        lite.set_alias("m", "champion", number)
    with pytest.raises(NotFound):
        lite.version("m@champion")


def test_an_alias_works_wherever_a_version_is_named(reg, rows):
    reg.register_version("m", dim=4)
    reg.set_alias("m", "live", 1)
    assert reg.register_version("m", dim=4, parent="m@live").parent == "m/1"
    reg.set_tag("m@live", "seen", "yes")
    assert reg.version("m/1").tags == {"seen": "yes"}
    reg.create_gallery("g", labels=["class"])
    x = rows(4, 4)
    reg.append("g", version="m@live", ids=list("abcd"), vectors=x, labels={"class": [0, 0, 1, 1]})
    assert reg.fetch("g", ids=["a"], into="m@live").space == "m/1"
    assert reg.fetch("g", ids=["a"], into="m@live[:2]").space == "m/1[:2]"
    assert [len(e) for e in reg.scan("g", into="m@live")] == [4]
    assert reg.search("g", x, version="m@live", k=1).ids.ravel().tolist() == list("abcd")
    assert reg.search("g", x[:, :2], version="m@live[:2]", k=1).ids.shape == (4, 1)
    assert reg.convert(x, source="m@live", into="m@live[:2]").shape == (4, 2)
    assert reg.evaluate("g", versions=["m@live"]).versions == ("m/1",)


def test_tags_can_be_replaced(reg):
    reg.register_version("m", dim=4, tags={"stage": "new"})
    reg.set_tag("m/1", "stage", "old")
    reg.set_tag("m/1", "other", "x")
    assert reg.version("m/1").tags == {"stage": "old", "other": "x"}


@pytest.mark.embedded
def test_the_database_itself_keeps_frozen_rows(reg, rows):
    fill_frozen_tables(reg, rows)
    for table, column in (
        ("versions", "dim"),
        ("transforms", "target"),
        ("anchor_sets", "size"),
        ("changes", "subject"),
    ):
        before = sql(reg, f"SELECT * FROM {table} ORDER BY id").all()  # noqa: S608
        assert before
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):  # noqa: S608
            with pytest.raises(DatabaseError, match=f"{table} rows are immutable"):
                sql(reg, statement)
        assert sql(reg, f"SELECT * FROM {table} ORDER BY id").all() == before  # noqa: S608


def fill_frozen_tables(reg, rows):
    from registry.transforms import Prefix

    reg.register_version("m", dim=2)
    reg.register_version("m", dim=4, parent="m/1")
    reg.add_transform(Prefix(from_dim=4, to_dim=2), source="m/2", target="m/1")
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 2))
    reg.add_anchors("w", gallery="g", ids=["a", "b"])


@pytest.mark.embedded
def test_frozen_rows_cannot_be_replaced_either(reg, rows):
    fill_frozen_tables(reg, rows)
    before = sql(reg, "SELECT * FROM changes ORDER BY id").all()
    by_hand = {
        "sqlite": "REPLACE INTO changes SELECT id, at, 'forged', subject, details, who FROM changes",
        "postgresql": "TRUNCATE changes",
    }
    with pytest.raises(DatabaseError, match="immutable"):
        sql(reg, by_hand[reg._home.database.engine.dialect.name])
    assert sql(reg, "SELECT * FROM changes ORDER BY id").all() == before


BAD = [
    {"dim": 0}, {"dim": -1}, {"dim": 65537}, {"dim": 4.0}, {"dim": True}, {"dim": "4"}, {"dim": None},
    {"metric": "euclid"}, {"metric": ""}, {"metric": None}, {"dtype": "int8"}, {"dtype": "float64"},
    {"fingerprint": {"x": len}}, {"fingerprint": {"x": float("nan")}}, {"fingerprint": {"x": {1, 2}}},
    {"fingerprint": {1: "a", "b": 2}}, {"tags": {"UPPER": "x"}}, {"tags": {"": "x"}},
    {"parent": "m"}, {"parent": "m/0"}, {"parent": "m/1[:2]"}, {"parent": "m/1; DROP TABLE versions"},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_value_that_no_version_can_have_is_refused(lite, bad):
    with pytest.raises(InvalidInput) as caught:
        lite.register_version("m", **{"dim": 4, **bad})
    assert "\n" not in str(caught.value)
    assert lite.models() == []


TOO_LONG = [
    {"source": "x" * 1001}, {"method": "x" * 101}, {"run_id": "x" * 101}, {"tags": {"k": "x" * 1001}}, {"source": "\0"},
]  # fmt: skip


@pytest.mark.postgres
def test_postgres_refuses_what_does_not_fit_a_column(home, postgres_url):
    with connect(home, database=postgres_url) as registry:
        for bad in TOO_LONG:
            with pytest.raises(InvalidInput):
                registry.register_version("m", dim=4, **bad)
        assert registry.models() == []


@pytest.mark.parametrize("bad", TOO_LONG, ids=lambda b: next(iter(b)))
def test_sqlite_refuses_the_same(lite, bad):
    with pytest.raises(InvalidInput):
        lite.register_version("m", dim=4, **bad)


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a/b", "../x", ".a", "-a", "a" * 101, "a'b", "ü", "a\0", "a\n", "relative", None, 5]
)
def test_a_bad_model_name_is_refused(lite, name):
    with pytest.raises(BadName):
        lite.register_version(name, dim=4)


@pytest.mark.parametrize(
    "ref", ["m", "m/", "m/0", "m/01", "m/-1", "m/1 ", "m/1\n", "@x", "m@", "m@X", "m/1/2", "", None, 3]
)
def test_a_bad_reference_is_refused(lite, ref):
    lite.register_version("m", dim=4)
    with pytest.raises(BadName, match="products/2"):
        lite.version(ref)


def test_an_unknown_version_tells_what_there_is(reg):
    reg.register_version("m", dim=4)
    for ref in ("m/2", "m/999999999", "m@none", "n/1", "n@x"):
        with pytest.raises(NotFound, match="m has m/1" if ref[0] == "m" else "n is not registered"):
            reg.version(ref)


def test_an_unknown_model_is_not_found(reg):
    assert reg.versions() == []
    with pytest.raises(NotFound, match="m is not registered"):
        reg.versions("m")


def test_everything_is_there_after_reopening(reg, home, database_url, rows):
    fill_frozen_tables(reg, rows)
    reg.set_alias("m", "live", 2)
    was = (reg.models(), reg.versions(), reg.transforms(), reg.anchor_sets(), reg.galleries(), reg.changes())
    reg.close()
    with connect(home, database=database_url) as again:
        assert was == (
            again.models(), again.versions(), again.transforms(), again.anchor_sets(), again.galleries(),
            again.changes(),
        )  # fmt: skip


def test_changes_are_the_newest_first_and_limited(reg):
    for _ in range(3):
        reg.register_version("m", dim=4)
    assert [c.subject for c in reg.changes()] == ["m/3", "m/2", "m/1"]
    assert [c.subject for c in reg.changes(limit=2)] == ["m/3", "m/2"]


def test_a_limit_is_a_number_of_changes(reg):
    for limit in (-1, 2.5, "1", True, None):
        with pytest.raises(InvalidInput):
            reg.changes(limit=limit)


def together(work, threads=6):
    """Run `work(i)` in threads at once; what each returned or raised."""
    results, gate = [None] * threads, threading.Barrier(threads)

    def run(i):
        gate.wait()
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    started = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return results


def test_threads_register_without_gaps(reg):
    results = together(lambda _: [reg.register_version("m", dim=4).number for _ in range(4)])
    assert sorted(n for numbers in results for n in numbers) == list(range(1, 25))


def test_of_threads_that_take_one_name_one_gets_it(reg):
    results = together(lambda _: reg.create_gallery("g"))
    errors = [r for r in results if isinstance(r, Exception)]
    assert len(errors) == 5
    assert {type(e) for e in errors} == {AlreadyExists}
    same = together(lambda _: reg.register_version("m", dim=4, fingerprint={"w": "x"}))
    assert sorted(type(r).__name__ for r in same) == ["AlreadyExists"] * 5 + ["Version"]


def test_threads_may_set_one_tag_and_one_alias(reg):
    reg.register_version("m", dim=4)
    results = together(lambda i: (reg.set_tag("m/1", "k", str(i)), reg.set_alias("m", "live", 1)))
    assert [r for r in results if isinstance(r, SamespaceError | DatabaseError)] == []
    assert reg.version("m/1").tags["k"] in "012345"


@pytest.mark.embedded
def test_the_database_keeps_names_and_aliases_honest(reg):
    reg.register_version("a", dim=4)
    reg.register_version("b", dim=4)
    with pytest.raises(IntegrityError):
        sql(reg, "UPDATE models SET name = 'evil' WHERE name = 'a'")
    a = sql(reg, "SELECT id FROM models WHERE name = 'a'").scalar_one()
    b = sql(reg, "SELECT v.id FROM versions v JOIN models m ON m.id = v.model_id WHERE m.name = 'b'").scalar_one()
    with pytest.raises(IntegrityError):
        sql(reg, "INSERT INTO aliases (model_id, name, version_id) VALUES (:a, 'champion', :b)", a=a, b=b)


@pytest.mark.parametrize("given", [{"fingerprint": "abc"}, {"tags": "abc"}, {"fingerprint": ["a"]}])
def test_what_must_be_a_mapping_is_told_so(lite, given):
    with pytest.raises(InvalidInput, match="must be a mapping"):
        lite.register_version("a", dim=4, **given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"method": None}, "method must be a text"),
        ({"tags": {"a": None}}, "tag 'a' must be a text"),
        ({"normalized": "abc"}, "normalized must be True or False"),
        ({"source": 5}, "source must be a text"),
    ],
)
def test_a_value_of_another_type_is_named(reg, given, named):
    with pytest.raises(InvalidInput, match=named):
        reg.register_version("m", dim=4, **given)
    assert reg.models() == []


def test_text_that_no_database_holds_is_refused(reg):
    with pytest.raises(InvalidInput):
        reg.register_version("m", dim=4, source="\ud800")
    with pytest.raises((InvalidInput, NotFound)):
        reg.gallery("\ud800")


@pytest.mark.parametrize("home", [3, None, "a\0b", b"\0"])
def test_a_home_is_a_path(home):
    with pytest.raises(InvalidInput, match="home must be the path of a folder"):
        connect(home)
