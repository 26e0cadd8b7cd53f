"""Galleries where they already live: attached, searched, mixed with what is appended, refused when they changed, let go of."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import connect
from registry.backends.npy import NpyBackend
from registry.checking import check
from registry.errors import (
    AlreadyExists,
    BadVector,
    CorruptFile,
    DimensionMismatch,
    DuplicateId,
    InvalidInput,
    MissingExtra,
    NotAllowed,
    NotFound,
    Unavailable,
)
from registry.settings import Settings
from registry.transforms import Orthogonal
from tests.conftest import serving
from web import create_app

N, DIM = 60, 4
IDS = [f"item {i:02}" for i in range(N)]
CLASS = [f"c{i % 3}" for i in range(N)]


@pytest.fixture(scope="module")
def shop(pgvector):
    """The address of a database with pgvector, and a connection to it."""
    return pgvector


@pytest.fixture
def x(rows):
    centres = np.random.default_rng(1).standard_normal((3, DIM)) * 2
    return (centres[np.arange(N) % 3] + rows(N, DIM)).astype(np.float32)


@pytest.fixture
def turn():
    return np.linalg.qr(np.random.default_rng(2).standard_normal((DIM, DIM)))[0]


@pytest.fixture
def table(shop, x):
    """`items`: ids, a class, and vectors, with an index."""
    where, connection = shop
    connection.execute("DROP TABLE IF EXISTS items, elsewhere")
    connection.execute(f"CREATE TABLE items (id text PRIMARY KEY, class text, embedding vector({DIM}))")
    rows = [(i, c, str(v.tolist())) for i, c, v in zip(IDS, CLASS, x, strict=True)]
    connection.cursor().executemany("INSERT INTO items VALUES (%s, %s, %s)", rows)
    connection.execute("CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)")
    return {"kind": "pgvector", "where": where, "table": "items", "labels": {"class": "class"}}


@contextmanager
def versions(registry):
    for _ in range(2):
        registry.register_version("m", dim=DIM)
    yield registry


@pytest.fixture
def shelf(lite):
    with versions(lite) as registry:
        yield registry


@pytest.mark.postgres
def test_an_attached_table_is_a_gallery_and_a_benchmark(shelf, table, x, turn):
    found = shelf.attach("shop", version="m/1", **table)
    assert (found.items, found.labels, found.segments[0].rows) == (N, ("class",), N)
    assert found.segments[0].backend == "pgvector" and "search" in found.segments[0].capabilities
    assert shelf.search("shop", x[:7], version="m/1", k=1).ids[:, 0].tolist() == IDS[:7]
    assert np.array_equal(shelf.fetch("shop", ids=IDS[4:1:-1], into="m/1").vectors, x[4:1:-1])
    assert sum(len(block) for block in shelf.scan("shop", into="m/1", rows=7)) == N
    shelf.add_transform(Orthogonal(weight=turn, bias=np.zeros(DIM)), source="m/2", target="m/1")
    new = (x @ turn.T).astype(np.float32)
    hits = shelf.search("shop", new, version="m/2", k=3, allow_unmeasured=True)
    own = shelf.search("shop", x, version="m/1", k=3)
    assert np.array_equal(hits.ids, own.ids), "the query is mapped into the table's space, and its index asked"
    assert np.allclose(hits.scores, own.scores, atol=1e-5)
    assert shelf.evaluate("shop").cell("m/1", "m/1").items == N
    assert shelf.item("shop", IDS[3]).labels == {"class": CLASS[3]}
    assert shelf.counts().items == N


@pytest.mark.postgres
def test_items_that_are_in_a_store_alone_are_not_re_embedded_by_a_backfill(shelf, table, rows):
    shelf.attach("shop", version="m/1", **table)
    with pytest.raises(
        InvalidInput, match=f"{N} items of shop are in an attached store alone.*append their vectors of m/2"
    ):
        shelf.plan_backfill("shop", into="m/2")
    shelf.append("shop", version="m/2", ids=IDS[1:], vectors=rows(N - 1, DIM), labels={"class": CLASS[1:]})
    with pytest.raises(InvalidInput, match="1 items of shop"):
        shelf.plan_backfill("shop", into="m/2")
    assert shelf.backfills() == []


@pytest.mark.postgres
def test_pages_of_items_go_over_all_of_them_once(shelf, table, rows):
    shelf.attach("shop", version="m/1", **table)
    shelf.append(
        "shop", version="m/2", ids=["new", *IDS[:5]], vectors=rows(6, DIM), labels={"class": ["c0", *CLASS[:5]]}
    )
    for label, wanted in ((None, [*IDS, "new"]), ({"class": "c0"}, [*IDS[::3], "new"])):
        found, after = [], None
        while after is not None or not found:
            page = shelf.items("shop", after=after, limit=7, label=label)
            found, after = found + list(page.items), page.next
            if after is None:
                break
        assert [i.id for i in found] == wanted
    assert shelf.item("shop", IDS[0]).versions == ("m/1", "m/2")
    assert shelf.gallery("shop").items == N + 1
    with pytest.raises(InvalidInput, match="limit"):
        shelf.items("shop", limit=0)


@pytest.mark.postgres
def test_another_version_fills_it_and_both_are_searched(shelf, table, x, turn):
    shelf.attach("shop", version="m/1", **table)
    shelf.add_transform(Orthogonal(weight=turn, bias=np.zeros(DIM)), source="m/2", target="m/1")
    new = (x @ turn.T).astype(np.float32)
    shelf.append("shop", version="m/2", ids=IDS[:20], vectors=new[:20])
    hits = shelf.search("shop", new, version="m/2", k=N, allow_unmeasured=True)
    assert all(sorted(row) == IDS for row in hits.ids.tolist()), "an item in both segments comes once, and none is lost"
    assert hits.ids[:, 0].tolist() == IDS
    with pytest.raises(InvalidInput, match=r"item 'item 22' has label class = 'c1', got 'c9'"):
        shelf.append("shop", version="m/2", ids=[IDS[20], IDS[22]], vectors=new[:2], labels={"class": ["c2", "c9"]})
    assert len(next(iter(shelf.pairs("shop", source="m/1", target="m/2")))[0]) == 20
    assert shelf.detach("shop", version="m/1").items == 20
    assert [i.labels["class"] for i in shelf.items("shop").items] == CLASS[:20], "labels came along"


@pytest.mark.postgres
def test_a_live_table_grows_and_shrinks(shelf, shop, table, rows):
    _, connection = shop
    shelf.attach("shop", version="m/1", **table)
    connection.execute("INSERT INTO items VALUES ('later', 'c1', %s)", [str(rows(1, DIM)[0].tolist())])
    connection.execute("DELETE FROM items WHERE id = %s", [IDS[0]])
    assert shelf.search("shop", rows(1, DIM), version="m/1", k=1).ids[0, 0] == "later"
    with pytest.raises(NotFound, match="item 00"):
        shelf.fetch("shop", ids=[IDS[0]], into="m/1")
    connection.execute("INSERT INTO items VALUES ('more', 'c1', %s)", [str(rows(1, DIM)[0].tolist())])
    assert shelf.gallery("shop").items == N, "as it was when it was looked at"
    assert shelf.attach("shop", version="m/1", again=True).items == N + 1


@pytest.mark.postgres
def test_what_samespace_never_writes_is_refused(shelf, table, x):
    shelf.attach("shop", version="m/1", **table)
    shelf.append("shop", version="m/2", ids=["mine"], vectors=x[:1], labels={"class": ["c0"]})
    for wrong, said in (
        (lambda: shelf.append("shop", version="m/1", ids=["n"], vectors=x[:1]), "never writes: add the vectors there"),
        (lambda: shelf.delete("shop", ["mine", IDS[0]]), "item 'item 00' of shop lives in pgvector items"),
    ):
        with pytest.raises(InvalidInput, match=said):
            wrong()
    assert shelf.delete("shop", ["mine"]) == 1
    with pytest.raises(AlreadyExists, match="already attached"):
        shelf.attach("shop", version="m/1", **table)
    shelf.create_gallery("other")
    shelf.append("other", version="m/1", ids=["a"], vectors=x[:1])
    with pytest.raises(AlreadyExists, match="already stored vectors"):
        shelf.attach("other", version="m/1", **{**table, "labels": None})
    with pytest.raises(NotFound, match="m/2 are attached"):
        shelf.detach("shop", version="m/2")


MISTAKES = {
    "no such column": ({"vector": "emb"}, None, CorruptFile, "no column 'emb': it has class, embedding, id"),
    "no such table": ({"table": "nothing"}, None, CorruptFile, "no table 'nothing'"),
    "injection": ({"table": 'items"; DROP TABLE items; --'}, None, CorruptFile, "no table"),
    "not a vector": ({"vector": "class"}, None, InvalidInput, "is of type text: vectors are of vector or halfvec"),
    "width": ({}, "ALTER TABLE items ALTER embedding TYPE vector(2) USING '[1,2]'", DimensionMismatch, "has 2 dim"),
    "duplicates": (
        {}, "ALTER TABLE items DROP CONSTRAINT items_pkey; UPDATE items SET id = 'same' WHERE id < 'item 02'",
        DuplicateId, "holds the id 'same' more than once",
    ),
    "no id": (
        {}, "ALTER TABLE items DROP CONSTRAINT items_pkey; ALTER TABLE items ALTER id DROP NOT NULL; "
        "UPDATE items SET id = NULL WHERE id = 'item 01'", InvalidInput, "1 rows with a vector and no id",
    ),
    "widths": (
        {}, "DROP INDEX items_embedding_idx; ALTER TABLE items ALTER embedding TYPE vector; "
        "UPDATE items SET embedding = '[1,2]' WHERE id = 'item 07'", DimensionMismatch, "'item 07' in .* not the 4 dimensions",
    ),
    "widths of halves": (
        {}, "DROP INDEX items_embedding_idx; ALTER TABLE items ALTER embedding TYPE halfvec; "
        "UPDATE items SET embedding = '[1,2]' WHERE id = 'item 07'", DimensionMismatch, "'item 07' in .* not the 4 dimensions",
    ),
    "zeros": ({}, "UPDATE items SET embedding = '[0,0,0,0]' WHERE id = 'item 07'", BadVector, "'item 07' in .* zeros"),
    "no label": ({}, "UPDATE items SET class = NULL WHERE id = 'item 09'", InvalidInput, "'item 09' of .* no label"),
    "empty id": ({}, "UPDATE items SET id = '' WHERE id = 'item 09'", InvalidInput, "has the id ''"),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_table_that_can_be_no_gallery_is_told_in_one_line(shelf, shop, table, mistake):
    change, statement, error, said = MISTAKES[mistake]
    if statement:
        if "vector(2)" in statement:
            shop[1].execute("DROP INDEX items_embedding_idx")
        shop[1].execute(statement)
    with pytest.raises(error, match=said) as found:
        shelf.attach("shop", version="m/1", **{**table, **change})
    assert "\n" not in str(found.value) and shelf.galleries() == []


@pytest.mark.postgres
def test_rows_without_a_vector_are_no_items(shelf, shop, table):
    shop[1].execute("UPDATE items SET embedding = NULL WHERE id IN ('item 00', 'item 01')")
    assert shelf.attach("shop", version="m/1", **table).items == N - 2
    assert "item 00" not in {i.id for i in shelf.items("shop").items}


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE items DROP embedding", "no column 'embedding'"),
        ("ALTER TABLE items RENAME TO elsewhere", "no table 'items'"),
        ("DROP INDEX items_embedding_idx; ALTER TABLE items ALTER embedding TYPE halfvec(4)", "is halfvec"),
    ],
)
def test_a_table_that_changed_is_told_and_mended(home, shop, table, x, statement, said):
    with connect(home) as first, versions(first):
        first.attach("shop", version="m/1", **table)
        shop[1].execute(statement)
        with connect(home) as later, pytest.raises(CorruptFile, match=said) as found:  # another process, say
            later.search("shop", x[:1], version="m/1")
        assert "\n" not in str(found.value)
        if "halfvec" in statement:
            assert "--again" in str(found.value)
    with connect(home) as later:
        if "halfvec" in statement:
            later.attach("shop", version="m/1", again=True)
            assert later.search("shop", x[:1], version="m/1", k=1).ids[0, 0] == IDS[0]
        assert later.detach("shop", version="m/1").segments == ()


@pytest.mark.postgres
def test_the_tables_own_index_is_used_and_k_is_filled(shelf, shop, rows):
    where, connection = shop
    many = rows(3000, DIM)
    connection.execute("DROP TABLE IF EXISTS many")
    connection.execute(f"CREATE TABLE many (id int PRIMARY KEY, embedding vector({DIM}))")
    with connection.cursor().copy("COPY many FROM STDIN") as copy:
        for i, v in enumerate(many):
            copy.write_row((i, str(v.tolist())))
    connection.execute("CREATE INDEX ON many USING hnsw (embedding vector_cosine_ops)")
    connection.execute("ANALYZE many")
    shelf.attach("many", version="m/1", kind="pgvector", where=where, table="many")
    scans = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'many_embedding_idx'"
    before = connection.execute(scans).fetchone()[0]
    hits = shelf.search("many", many[:5], version="m/1", k=10)
    shelf._home.engines.close()  # the session ends, and its statistics are told
    for _ in range(100):
        connection.execute("SELECT pg_sleep(0.02), pg_stat_clear_snapshot()")
        if connection.execute(scans).fetchone()[0] >= before + 5:
            break
    assert connection.execute(scans).fetchone()[0] >= before + 5, "one look-up in the index for each query"
    assert hits.ids[:, 0].tolist() == list(range(5))
    for k in (500, 2000):  # more than ef_search is by default, and than it can be
        found = shelf.search("many", many[:2], version="m/1", k=k).ids
        assert (found >= 0).all() and all(len(set(row)) == k for row in found.tolist())
    with shelf.reading() as session:
        from registry.services import galleries

        row = galleries.gallery(session, "many")
        backend = shelf._home.stored(row, row.segments[0])
    from registry.backends.nearest import Distance, Nearest, literal

    nearest = Nearest(Distance(backend.table, "cosine", "int"), 10, None, None)
    explained = backend.pool.ask(
        lambda c: c.execute(nearest.explained(), {"queries": [literal(many[0])]}).fetchall(),
        "many",
        settings=nearest.settings,
    )
    assert "Index Scan using many_embedding_idx" in "\n".join(line for (line,) in explained)


@pytest.fixture(scope="module")
def poor(shop, rows):
    """`poor`: 4,000 vectors of 24 dimensions, and (index type, options) -> its index, which finds little by default."""
    where, connection = shop
    vectors = rows(4000, 24)
    connection.execute("CREATE TABLE poor (id int PRIMARY KEY, embedding vector(24))")
    with connection.cursor().copy("COPY poor FROM STDIN") as copy:
        for i, v in enumerate(vectors):
            copy.write_row((i, str(v.tolist())))

    def indexed(kind, options):
        connection.execute("DROP INDEX IF EXISTS poor_index")
        connection.execute(
            f"CREATE INDEX poor_index ON poor USING {kind} (embedding vector_cosine_ops) WITH ({options})"
        )
        connection.execute("ANALYZE poor")
        return {"kind": "pgvector", "where": where, "table": "poor"}

    return vectors, indexed


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("kind", "options", "setting"),
    [("hnsw", "m = 5, ef_construction = 10", "hnsw.ef_search"), ("ivfflat", "lists = 100", "ivfflat.probes")],
)
def test_a_tables_index_is_asked_with_the_effort_that_it_needs(lite, poor, samespace, kind, options, setting):
    vectors, indexed = poor
    lite.register_version("m", dim=24)
    given = indexed(kind, options)
    queries = np.random.default_rng(5).standard_normal((200, 24)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = np.argsort(-(queries @ unit.T), axis=1)[:, :10]

    def found(name):
        hits = lite.search(name, queries, version="m/1", k=10).ids
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.tolist(), exact.tolist(), strict=True)])

    effort = lite.attach("tuned", version="m/1", **given).segments[0].effort
    assert effort.setting == setting and effort.recall >= 0.95 and effort.queries == 100
    assert found("tuned") > 0.9
    with lite.reading() as session:
        from registry.services import galleries

        backend = lite._home.stored(row := galleries.gallery(session, "tuned"), row.segments[0])
    backend.seen = {**backend.seen, "effort": None}
    plain = backend.search(queries, 10, metric="cosine")[0]
    by_default = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(plain.tolist(), exact.tolist(), strict=True)])
    assert by_default < 0.85, "what the test is worth"
    assert lite.gallery("tuned").segments[0].effort == effort
    said = samespace("--home", lite.home, "gallery", "attach", "tuned", "--version", "m/1", "--again").stdout
    assert (
        f"by {setting} {effort.value} its index finds {effort.recall:.1%} of the 10 nearest to 100 of its rows" in said
    )
    page = create_app(lite).test_client().get("/galleries/tuned").text
    assert (
        f"by {setting} {effort.value} it finds {100 * effort.recall:.1f} % of the 10 nearest to 100 of its rows" in page
    )
    with serving(lite) as url, connect(url) as client:
        assert client.gallery("tuned").segments[0].effort == effort


@pytest.mark.postgres
def test_without_an_index_nothing_is_tuned_and_without_time_little_is_compared(lite, shop, poor, monkeypatch):
    _, indexed = poor
    given = indexed("hnsw", "m = 4")
    shop[1].execute("DROP INDEX poor_index")
    lite.register_version("m", dim=24)
    assert lite.attach("exact", version="m/1", **given).segments[0].effort is None
    indexed("hnsw", "m = 16")
    monkeypatch.setattr("registry.backends.tuning._EXACT_S", 0)
    effort = lite.attach("exact", version="m/1", again=True).segments[0].effort
    assert effort.recall >= 0.95 and effort.queries == 4


@pytest.mark.postgres
def test_an_engine_that_restarts_in_between_is_asked_again(shelf, shop, table, x):
    shelf.attach("shop", version="m/1", **table)
    shelf.search("shop", x[:1], version="m/1")
    ended = (
        shop[1]
        .execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        .fetchone()
    )
    assert ended[0] > 0
    assert shelf.search("shop", x[:1], version="m/1", k=1).ids[0, 0] == IDS[0]


@pytest.mark.postgres
def test_an_engine_that_cannot_be_reached_or_refuses(shelf, shop, table):
    where, connection = shop
    with pytest.raises(Unavailable, match="cannot be reached") as found:
        shelf.attach("shop", version="m/1", kind="pgvector", where="postgresql://a@127.0.0.1:9/db", table="items")
    assert "\n" not in str(found.value) and "127.0.0.1" not in str(found.value)
    connection.execute("DROP ROLE IF EXISTS reader")
    connection.execute("CREATE ROLE reader LOGIN")
    as_reader = where.replace("postgres:@", "reader@").replace("postgres@", "reader@")
    with pytest.raises(Unavailable, match="GRANT SELECT"):
        shelf.attach("shop", version="m/1", **{**table, "where": as_reader})
    connection.execute("GRANT SELECT ON items TO reader")
    assert shelf.attach("shop", version="m/1", **{**table, "where": as_reader}).items == N
    connection.execute("REVOKE ALL ON items FROM reader")
    with pytest.raises(Unavailable, match="GRANT SELECT"):
        shelf.search("shop", np.ones((1, DIM)), version="m/1")
    connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_password_is_refused_and_never_repeated(shelf):
    for where in ("postgresql://me:hunter2@db/shop", "postgresql://me@db/shop?password=hunter2"):
        with pytest.raises(InvalidInput, match="PGPASSWORD") as found:
            shelf.attach("shop", version="m/1", kind="pgvector", where=where, table="items")
        assert "hunter2" not in str(found.value)
    for where in ("https://me:hunter2@q:6333", "http://q:6333/?api-key=hunter2", "./folder"):
        with pytest.raises(InvalidInput) as found:
            shelf.attach("shop", version="m/1", kind="qdrant", where=where, table="items")
        assert "hunter2" not in str(found.value)
    with pytest.raises(InvalidInput, match="parameter 'options'"):
        shelf.attach("shop", version="m/1", kind="pgvector", where="postgresql://db/shop?options=-c%20a=b", table="i")


# Files


def parquet(folder, x, **columns):
    folder.mkdir(exist_ok=True)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    pq.write_table(pa.table({"id": IDS, "vector": vectors, "kind": CLASS} | columns), folder / "a.parquet")
    return {"kind": "parquet", "where": str(folder), "labels": {"class": "kind"}}


def test_files_are_a_gallery_that_may_not_change(shelf, tmp_path, x):
    given = parquet(tmp_path / "v", x)
    assert shelf.attach("files", version="m/1", **given).items == N
    assert shelf.search("files", x[:4], version="m/1", k=1).ids[:, 0].tolist() == IDS[:4]
    assert shelf.evaluate("files").cell("m/1", "m/1").items == N
    parquet(tmp_path / "v", x + 1)
    with pytest.raises(CorruptFile, match=r"a\.parquet is written again since.* --version m/1 --again"):
        shelf.search("files", x[:4], version="m/1")
    shelf.attach("files", version="m/1", again=True)
    assert np.allclose(shelf.fetch("files", ids=[IDS[1]], into="m/1").vectors, x[[1]] + 1)
    (tmp_path / "v" / "b.parquet").write_bytes((tmp_path / "v" / "a.parquet").read_bytes())
    with pytest.raises(CorruptFile, match=r"b\.parquet is new"):
        shelf.fetch("files", ids=[IDS[1]], into="m/1")
    with pytest.raises(DuplicateId, match="more than once"):
        shelf.attach("files", version="m/1", again=True)
    for file in (tmp_path / "v").iterdir():
        file.unlink()
    with pytest.raises((CorruptFile, InvalidInput), match=r"no \.parquet|gone"):
        shelf.search("files", x[:4], version="m/1")
    assert [f.level for f in check(shelf._home.database, shelf._home.layout)] == ["ok", "ok"], (
        "no file of ours is missing"
    )


EMPTY = {name: pa.array([], pa.string()) for name in ("id", "kind")}
BAD_FILES = {
    "NaN": (lambda x: parquet_of(np.where(np.arange(DIM) == 1, np.nan, x)), BadVector, "'item 00' in .* holds NaN"),
    "width": (lambda x: parquet_of(x[:, :3]), DimensionMismatch, "have 3 dimensions, the space has 4"),
    "no id": (lambda x: {**parquet_of(x), "id": [None, *IDS[1:]]}, InvalidInput, "an id is missing"),
    "no vector": (lambda x: {**parquet_of(x), "vector": [None, *x[1:].tolist()]}, InvalidInput, "without a vector"),
    "uneven": (lambda x: {**parquet_of(x), "vector": [[1.0], *x[1:].tolist()]}, InvalidInput, "vectors of 1 and of 4"),
    "no list": (lambda x: {**parquet_of(x), "vector": CLASS}, InvalidInput, "vectors are lists of floats"),
    "no column": (lambda x: {"id": IDS}, InvalidInput, "has no column 'vector'"),
    "no rows": (lambda x: {"vector": [], **EMPTY}, InvalidInput, "holds no vectors"),
    "no label column": (lambda x: drop(parquet_of(x), "kind"), InvalidInput, "has no column 'kind'"),
    "no label": (lambda x: {**parquet_of(x), "kind": [None, *CLASS[1:]]}, InvalidInput, "'class' .* no value in some"),
    "fractions": (lambda x: {**parquet_of(x), "kind": x[:, 0]}, InvalidInput, "'class' of .* is of type float"),
    "too large": (
        lambda x: {**parquet_of(x), "kind": pa.array([2**63] * N, pa.uint64())}, InvalidInput, "'class' of .* is of type uint64",
    ),
    "categories": (lambda x: {**parquet_of(x), "kind": pa.array([1.5] * N).dictionary_encode()}, InvalidInput, "is of type double"),
}  # fmt: skip


def drop(columns, name):
    return {n: c for n, c in columns.items() if n != name}


def parquet_of(x):
    return {"id": IDS, "vector": x.tolist(), "kind": CLASS}


@pytest.mark.parametrize("mistake", BAD_FILES)
def test_files_that_can_be_no_gallery_are_told_in_one_line(shelf, tmp_path, x, mistake):
    made, error, said = BAD_FILES[mistake]
    pq.write_table(pa.table(made(x)), tmp_path / "v.parquet")
    with pytest.raises(error, match=said) as found:
        shelf.attach(
            "files", version="m/1", kind="parquet", where=str(tmp_path / "v.parquet"), labels={"class": "kind"}
        )
    assert "\n" not in str(found.value) and shelf.galleries() == []


@pytest.mark.parametrize("column", ["id", "kind"])
def test_files_whose_columns_are_of_two_types(shelf, tmp_path, x, column):
    for name, start, type in (("a", 0, pa.string()), ("b", 30, pa.large_string())):
        table = {n: c[start : start + 30] for n, c in parquet_of(x).items()}
        pq.write_table(pa.table({**table, column: pa.array(table[column], type)}), tmp_path / f"{name}.parquet")
    with pytest.raises(
        InvalidInput, match=rf"column '{column}' of .* is of type string in one file and of large_string"
    ):
        shelf.attach("files", version="m/1", kind="parquet", where=str(tmp_path), labels={"class": "kind"})
    assert shelf.galleries() == []


def test_labels_of_files_may_be_categories(shelf, tmp_path, x):
    for name, start in (("a", 0), ("b", 30)):
        table = {n: c[start : start + 30] for n, c in parquet_of(x).items()}
        kinds = pa.array(table["kind"][::-1]).dictionary_encode()
        pq.write_table(pa.table({**table, "kind": kinds}), tmp_path / f"{name}.parquet", row_group_size=11)
    shelf.attach("files", version="m/1", kind="parquet", where=str(tmp_path), labels={"class": "kind"})
    assert shelf.item("files", IDS[31]).labels == {"class": CLASS[58]}


def test_a_faiss_index_is_held_to_its_digest_and_metric(shelf, tmp_path, x):
    index = faiss.index_factory(DIM, "IVF2,PQ2x4", faiss.METRIC_L2)
    index.train(x)
    index.add(x)
    path = tmp_path / "v.faiss"
    faiss.write_index(index, str(path))
    with pytest.raises(InvalidInput, match="vectors of other lengths than 1"):
        shelf.attach("index", version="m/1", kind="faiss", where=str(path))
    shelf.register_version("far", dim=DIM, metric="l2")
    found = shelf.attach("index", version="far/1", kind="faiss", where=str(path))
    assert found.id_type == "int" and found.items == N
    assert np.array_equal(shelf.search("index", x[:3], version="far/1", k=5).ids, index.search(x[:3], 5)[1])
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as whoever wants to hide it would
    with connect(shelf.home) as later, pytest.raises(CorruptFile, match="sha-256"):
        later.search("index", x[:3], version="far/1")
    path.write_text("no index")
    with pytest.raises(CorruptFile, match="no index that FAISS reads"):
        shelf.attach("other", version="far/1", kind="faiss", where=str(path))


def faiss_of(path, vectors, *, ids=None):
    """A saved index of inner products, of vectors as they are, with its own ids if some are given."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    if ids is not None:
        index = faiss.IndexIDMap2(index)
        index.add_with_ids(vectors, np.asarray(ids))
    else:
        index.add(vectors)
    faiss.write_index(index, str(path))
    return {"kind": "faiss", "where": str(path)}


def test_a_faiss_index_is_read_alike_whenever_it_is_opened(home, tmp_path, x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    with connect(home) as first, versions(first):
        first.attach("index", version="m/1", **faiss_of(tmp_path / "v.faiss", unit, ids=np.arange(N)[::-1] * 7))
        assert "read" in first.gallery("index").segments[0].capabilities
    wanted = [7 * i for i in (3, 0, 41)]
    with connect(home) as later:  # the first that is asked of it is to give vectors back
        assert np.array_equal(later.fetch("index", ids=wanted, into="m/1").vectors, unit[::-1][[3, 0, 41]])


def test_a_gallery_without_labels_takes_another_version(shelf, tmp_path, x):
    parquet(tmp_path / "v", x)
    shelf.attach("plain", version="m/1", kind="parquet", where=str(tmp_path / "v"))
    assert shelf.append("plain", version="m/2", ids=[*IDS[:5], "new"], vectors=x[:6]) == 6
    assert shelf.gallery("plain").items == N + 1
    page = shelf.items("plain", limit=N + 1)
    assert {i.id for i in page.items} == {*IDS, "new"} and all(i.labels == {} for i in page.items)
    assert shelf.item("plain", IDS[0]).versions == ("m/1", "m/2")
    shelf.detach("plain", version="m/1")
    assert [i.id for i in shelf.items("plain").items] == [*IDS[:5], "new"]


def test_two_attached_versions_count_each_item_once_and_go_though_their_files_are_gone(shelf, tmp_path, x):
    for folder, ids in (("v", IDS), ("w", [*IDS[:50], *(f"more {i}" for i in range(10))])):
        parquet(tmp_path / folder, x, id=ids)
    where = {of: {"kind": "parquet", "where": str(tmp_path / of)} for of in ("v", "w")}
    shelf.attach("plain", version="m/1", **where["v"])
    assert shelf.attach("plain", version="m/2", **where["w"]).items == N + 10
    assert shelf.detach("plain", version="m/1").items == N
    shelf.attach("plain", version="m/1", **where["v"])
    shelf.append("plain", version=shelf.register_version("m", dim=DIM).ref, ids=[IDS[0], "mine"], vectors=x[:2])
    assert shelf.gallery("plain").items == N + 11
    for folder in ("v", "w"):
        (tmp_path / folder / "a.parquet").unlink()
    assert shelf.detach("plain", version="m/1").items == 2 + N, "of the one that is gone too, as it was seen last"
    assert shelf.detach("plain", version="m/2").items == 2


def test_others_write_while_what_is_attached_is_asked(shelf, home, tmp_path, x, monkeypatch):
    ids, asked = NpyBackend.ids, []
    np.save(tmp_path / "v.npy", x)

    def slow(self):
        with connect(home) as other:
            asked.append(other.create_gallery(f"made-{len(asked)}"))
        return ids(self)

    monkeypatch.setattr(NpyBackend, "ids", slow)
    for version in ("m/1", "m/2"):
        shelf.attach("plain", version=version, kind="npy", where=str(tmp_path / "v.npy"))
    assert shelf.detach("plain", version="m/1").items == N
    assert len(shelf.galleries()) == 1 + len(asked) > 3


def test_a_page_passes_over_what_is_attached_too_in_few_steps(shelf, tmp_path, rows, monkeypatch):
    known, asked = NpyBackend.known, []
    monkeypatch.setattr(NpyBackend, "known", lambda self, ids: asked.append(len(ids)) or known(self, ids))
    np.save(tmp_path / "v.npy", rows(1000, DIM))
    shelf.attach("plain", version="m/1", kind="npy", where=str(tmp_path / "v.npy"))
    shelf.append("plain", version="m/2", ids=np.arange(1002), vectors=rows(1002, DIM))
    page = shelf.items("plain", limit=990)
    asked.clear()
    page = shelf.items("plain", limit=11, after=page.next)
    assert [i.id for i in page.items] == list(range(990, 1001)) and len(asked) < 12
    assert [i.id for i in shelf.items("plain", limit=11, after=page.next).items] == [1001]


def test_a_backup_holds_the_facts_and_not_the_vectors(shelf, tmp_path, x):
    from registry.backup import backup, restore

    shelf.attach("files", version="m/1", **parquet(tmp_path / "v", x))
    backup(shelf._home.layout, shelf._home.database, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with connect(tmp_path / "again") as later:
        assert later.search("files", x[:1], version="m/1", k=1).ids[0, 0] == IDS[0]


@pytest.mark.parametrize(("kind", "package"), [("qdrant", "qdrant_client"), ("milvus", "pymilvus")])
def test_a_client_that_is_not_installed_is_named_with_its_extra(shelf, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"registry.backends.{kind}", raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install 'samespace\[{kind}\]'"):
        shelf.attach("shop", version="m/1", kind=kind, where="http://127.0.0.1:9", table="items")


def test_a_vector_database_that_cannot_be_reached(shelf):
    pytest.importorskip("qdrant_client")
    with pytest.raises(Unavailable, match=r"^qdrant items cannot be reached") as found:
        shelf.attach("shop", version="m/1", kind="qdrant", where="http://127.0.0.1:9", table="items")
    assert "\n" not in str(found.value)


# Through a server


def test_a_server_attaches_only_what_its_operator_listed(shelf, tmp_path, x):
    given = parquet(tmp_path / "v", x)
    (tmp_path / "link").symlink_to(tmp_path)
    allowed = Settings.read({}, attachable=f"postgresql://reader@db/shop,{tmp_path}/v")
    with serving(shelf, allowed) as url, connect(url) as client:
        for wrong in (
            {**given, "where": str(tmp_path)},
            {**given, "where": f"{tmp_path}/v/../w"},
            {**given, "where": "v"},
            {"kind": "pgvector", "where": "postgresql://reader@db.evil.example/shop", "table": "t"},
            {"kind": "pgvector", "where": "postgresql://reader@db/shop?host=evil.example", "table": "t"},
            {"kind": "pgvector", "where": "postgresql://reader@db/shopping", "table": "t"},
            {"kind": "qdrant", "where": "http://169.254.169.254/", "table": "t"},
        ):
            with pytest.raises(NotAllowed, match="SAMESPACE_ATTACHABLE"):
                client.attach("files", version="m/1", **wrong)
        assert client.attach("files", version="m/1", **given).items == N
        assert client.search("files", x[:2], version="m/1", k=1).ids[:, 0].tolist() == IDS[:2]
        assert client.attach("files", version="m/1", again=True).segments[0].lance_version == 2
        assert client.detach("files", version="m/1").items == 0


def test_without_the_setting_a_server_attaches_nothing(shelf, tmp_path, x):
    with serving(shelf) as url, connect(url) as client, pytest.raises(NotAllowed, match="SAMESPACE_ATTACHABLE"):
        client.attach("files", version="m/1", **parquet(tmp_path / "v", x))


def test_where_it_lives_is_for_admins(shelf, tmp_path, x):
    shelf.attach("files", version="m/1", **parquet(tmp_path / "v", x))
    tokens = {role: shelf.create_token(role, role=role)[1] for role in ("reader", "admin")}
    with serving(shelf) as url:
        seen = {role: connect(url, token=token).gallery("files").segments[0] for role, token in tokens.items()}
    assert seen["admin"].where == str(tmp_path / "v") and seen["reader"].where is None
    assert seen["reader"].backend == "parquet" and "read" in seen["reader"].capabilities


def test_errors_name_no_path_to_what_is_attached(shelf, tmp_path, x):
    np.save(tmp_path / "v.npy", x)
    shelf.attach("parquet", version="m/1", **{**parquet(tmp_path / "v", x), "where": str(tmp_path / "v" / "a.parquet")})
    shelf.attach("npy", version="m/1", kind="npy", where=str(tmp_path / "v.npy"))
    shelf.attach("faiss", version="m/1", **faiss_of(tmp_path / "v.faiss", x / np.linalg.norm(x, axis=1, keepdims=True)))
    _, token = shelf.create_token("reader", role="reader")
    files = {"parquet": tmp_path / "v" / "a.parquet", "npy": tmp_path / "v.npy", "faiss": tmp_path / "v.faiss"}
    for path in files.values():
        stat = path.stat()
        path.write_bytes(b"damaged!" * (stat.st_size // 8) + b"!" * (stat.st_size % 8))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with connect(shelf.home) as later, serving(later) as url, connect(url, token=token) as reader:
        said = []
        for _ in range(2):
            for name, path in files.items():
                with pytest.raises(CorruptFile) as found:
                    reader.fetch(name, ids=[IDS[0] if name == "parquet" else 0], into="m/1")
                said.append(str(found.value))
                path.unlink(missing_ok=True)
    assert not [line for line in said if "/" in line.replace("m/1", "")], said


def test_the_page_shows_where_a_segment_lives(shelf, tmp_path, x):
    shelf.attach("files", version="m/1", **parquet(tmp_path / "v", x))
    page = create_app(shelf).test_client().get("/galleries/files").text
    assert str(tmp_path / "v") in page and "it can read, places, labels" in page
