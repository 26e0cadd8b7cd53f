"""Every backend passes the shipped conformance suite; pgvector searches by its own index, and enough of it."""

from __future__ import annotations

import os
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.attachments import attachment
from registry.backends import Backend, LanceBackend, conformance
from registry.backends.attached import Writer
from registry.backends.engines import Engines
from registry.backends.opening import attached
from registry.batches import Target, checked
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, Unavailable
from registry.gallery import Dataset, OpenDatasets


@pytest.fixture
def engines():
    made = Engines()
    yield made
    made.close()


def opened(engines, metric, at):
    backend = attached("g", Writer("m/1", conformance.rows_of(True)[1].shape[1], metric, False), "", at, engines)
    seen = backend.look()
    backend.seen = dict(seen.facts)
    return backend


def text(vector):
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def test_lance(tmp_path):
    def make(ids, vectors, metric, labels):
        dataset = Dataset(str(tmp_path / "g" / uuid.uuid4().hex), OpenDatasets())
        kind = "string" if ids.type == pa.string() else "int"
        table = checked(Target("g", kind, (), vectors.shape[1], "float32"), ids, vectors, None).table
        version = dataset.publish(dataset.stage(table, 0), table.schema, 0)
        return LanceBackend("g", "m/1", kind, dataset, version, len(ids))

    conformance.check(make)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("kind", "index"), [("vector", None), ("vector", "hnsw"), ("vector", "ivfflat"), ("halfvec", "hnsw")]
)
def test_pgvector(pgvector, engines, kind, index):
    where, connection = pgvector
    operators = {"cosine": "cosine", "dot": "ip", "l2": "l2"}

    def make(ids, vectors, metric, labels):
        name = f"t{uuid.uuid4().hex}"
        key = "text" if ids.type == pa.string() else "int"
        connection.execute(
            f'CREATE TABLE {name} ("the id" {key} PRIMARY KEY, kind varchar, v {kind}({vectors.shape[1]}))'
        )
        rows = list(zip(ids.to_pylist(), labels, map(text, vectors), strict=True))
        connection.cursor().executemany(f"INSERT INTO {name} VALUES (%s, %s, %s)", rows)  # noqa: S608
        connection.execute(f"INSERT INTO {name} VALUES (%s, 'no vector', NULL)", ["x" if key == "text" else 12345678])  # noqa: S608
        if index:
            connection.execute(f"CREATE INDEX ON {name} USING {index} (v {kind}_{operators[metric]}_ops)")
        at = attachment("pgvector", where, table=f"public.{name}", id="the id", vector="v", labels={"class": "kind"})
        return opened(engines, metric, at)

    conformance.check(make, metrics=conformance.METRICS if index == "hnsw" else ["l2"])


@pytest.mark.postgres
def test_pgvector_with_keys_that_are_uuids(pgvector, engines):
    where, connection = pgvector

    def make(ids, vectors, metric, labels):
        connection.execute("DROP TABLE IF EXISTS by_uuid")
        connection.execute("CREATE TABLE by_uuid (id uuid PRIMARY KEY, kind text, embedding vector)")
        rows = zip(ids.to_pylist(), labels, map(text, vectors), strict=True)
        connection.cursor().executemany("INSERT INTO by_uuid VALUES (%s, %s, %s)", list(rows))
        return opened(engines, metric, attachment("pgvector", where, table="by_uuid", labels={"class": "kind"}))

    conformance.check(make, metrics=["cosine"], strings=[True], uuids=True)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 8), pa.list_(pa.float64()), pa.large_list(pa.float32())])
def test_parquet(tmp_path, engines, kind):
    def make(ids, vectors, metric, labels):
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        for part, (start, stop) in enumerate([(0, 40), (40, len(ids))]):
            table = pa.table(
                {
                    "label": labels[start:stop],
                    "vector": pa.array(vectors[start:stop].tolist(), kind),
                    "id": ids.slice(start, stop - start),
                }
            )
            pq.write_table(table, folder / f"{part}.parquet", row_group_size=17)
        (folder / "README.txt").write_text("not read")
        return opened(engines, metric, attachment("parquet", str(folder), labels={"class": "label"}))

    conformance.check(make)


@pytest.mark.parametrize("one_file", [True, False])
def test_npy(tmp_path, engines, one_file):
    def make(ids, vectors, metric, labels):
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        np.save(folder / "vectors.npy", vectors)
        values = ids.to_pylist()
        if one_file:
            (folder / "names.txt").write_text("\n".join(map(str, values)), encoding="utf-8")
            np.save(folder / "names.npy", np.array(values))
            names = folder / ("names.txt" if isinstance(values[0], str) else "names.npy")
            return opened(engines, metric, attachment("npy", str(folder / "vectors.npy"), ids=str(names)))
        np.save(folder / "ids.npy", np.array(values))
        return opened(engines, metric, attachment("npy", str(folder)))

    conformance.check(make)


INDEXES = {"flat": "Flat", "hnsw": "HNSW16", "ivf": "IVF4,Flat", "rotated": "RR8,Flat"}


def saved(folder, factory, ids, vectors, metric, own):
    """An index, and beside it the ids if they are not its own."""
    inner = metric != "l2"
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
    index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT if inner else faiss.METRIC_L2)
    index.train(rows)
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = 200
    if hasattr(index, "nprobe"):
        index.nprobe = 4
    if own == "map":
        index = faiss.IndexIDMap2(index)
    if own:
        index.add_with_ids(rows, ids.to_numpy())
    else:
        index.add(rows)
    path = folder / f"{uuid.uuid4().hex}.faiss"
    faiss.write_index(index, str(path))
    beside = path.with_suffix(".npy")
    np.save(beside, np.array(ids.to_pylist()))
    return attachment("faiss", str(path), ids=None if own else str(beside))


@pytest.mark.parametrize("index", INDEXES)
def test_faiss(tmp_path, engines, index):
    def make(ids, vectors, metric, labels):
        own = None if ids.type == pa.string() else "ivf" if index == "ivf" else "map"
        return opened(engines, metric, saved(tmp_path, INDEXES[index], ids, vectors, metric, own))

    conformance.check(make)


@pytest.mark.parametrize(
    ("factory", "reads"),
    [("OPQ4,IVF4,PQ4x4", True), ("IDMap2,OPQ4,IVF4,PQ4x4", False), ("IVF4,PQ4x4fs", False), ("PQ4x4", True),
     ("PQ4x4fs,RFlat", True)],
)  # fmt: skip
def test_a_compressed_faiss_index_leaves_items_out(tmp_path, engines, factory, reads):
    ids, vectors, _ = conformance.rows_of(False)
    index = faiss.index_factory(vectors.shape[1], factory)
    index.train(np.random.default_rng(1).standard_normal((300, vectors.shape[1])).astype(np.float32))
    for ivf in [faiss.extract_index_ivf(index)] if "IVF" in factory else []:
        ivf.nprobe = 4
    own = "IDMap" in factory or factory == "OPQ4,IVF4,PQ4x4"
    index.add_with_ids(vectors, ids.to_numpy()) if own else index.add(vectors)
    faiss.write_index(index, str(tmp_path / "v.faiss"))
    backend = opened(engines, "l2", attachment("faiss", str(tmp_path / "v.faiss")))
    assert ("read" in backend.capabilities) == reads
    queries, everything = vectors[:20], len(ids)
    whole, scores = backend.search(queries, everything, metric="l2")
    some = pa.array(np.unique(whole[:, :2]))
    for given, kept in (({"without": some}, ~np.isin(whole, some)), ({"among": some}, np.isin(whole, some))):
        found, by = backend.search(queries, 5, metric="l2", **given)
        for row in range(len(queries)):
            there = kept[row] & np.isfinite(scores[row])
            assert np.isin(found[row], whole[row][there]).all(), "nothing that was left out, nothing twice"
            assert np.allclose(by[row], scores[row][there][:5]), "and what is nearest of the rest"


def test_a_faiss_index_that_was_replaced_is_let_go(tmp_path, engines):
    ids, vectors, _ = conformance.rows_of(False)
    at = saved(tmp_path, "Flat", ids, vectors, "l2", None)
    before = opened(engines, "l2", at)
    parsed = weakref.ref(before.opened.numbers)
    del before
    assert parsed() is not None, "it stays open for whoever comes next"
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors + 1)
    faiss.write_index(index, at.where)
    os.utime(at.where, ns=(1, 1))
    assert np.array_equal(opened(engines, "l2", at).rows(np.arange(3)), vectors[:3] + 1)
    assert parsed() is None


def test_files_of_one_name_in_two_folders_are_two(tmp_path, engines):
    ids, vectors, _ = conformance.rows_of(True)
    other = pa.array([f"other {i:04}" for i in range(len(ids))])
    for folder, names in (("a", ids), ("b", other)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "v").write_text("\n".join(i.ljust(12) for i in names.to_pylist()), encoding="utf-8")
        os.utime(tmp_path / folder / "v", ns=(1, 1))
    found = []
    for folder in ("a", "b"):
        (tmp_path / "c").mkdir(exist_ok=True)
        np.save(tmp_path / "v.npy", vectors)
        (tmp_path / "v.npy").rename(tmp_path / "c" / "v")
        at = attachment("npy", str(tmp_path / "c" / "v"), ids=str(tmp_path / folder / "v"))
        found.append(opened(engines, "l2", at))
        assert found[-1].count() == len(ids), "vectors and ids, though both are called v"
    index = saved(tmp_path, "Flat", ids, vectors, "l2", None)
    for folder in ("a", "b"):
        found.append(opened(engines, "l2", attachment("faiss", index.where, ids=str(tmp_path / folder / "v"))))
    assert [b.ids()[0].as_py().split()[0] for b in found] == ["item", "other"] * 2
    assert len({b.state for b in found}) == 4


def test_one_faiss_index_is_held_to_the_width_of_each_version(tmp_path, engines):
    ids, vectors, _ = conformance.rows_of(False)
    at = saved(tmp_path, "Flat", ids, vectors, "l2", None)
    opened(engines, "l2", at)
    with pytest.raises(DimensionMismatch, match="has 8 dimensions, m/2 has 9"):
        attached("g", Writer("m/2", 9, "l2", False), "", at, engines).search(np.ones((1, 9)), 1, metric="l2")


def test_a_faiss_index_that_cannot_give_vectors_back(tmp_path, engines, monkeypatch):
    def make(ids, vectors, metric, labels):
        at = saved(tmp_path, "Flat", ids, vectors, metric, "map")
        plain = faiss.IndexIDMap(faiss.IndexFlat(8, faiss.METRIC_L2))
        plain.add_with_ids(vectors, ids.to_numpy())
        faiss.write_index(plain, at.where)
        monkeypatch.setattr("registry.backends.faiss_file.reads", lambda index: False)
        return opened(engines, metric, at)

    conformance.check(make, metrics=["l2"], strings=[False])


def test_qdrant(engines):
    qdrant = pytest.importorskip("qdrant_client")
    models = qdrant.models
    distances = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "l2": models.Distance.EUCLID}
    where = "http://qdrant.invalid:6333"
    client = engines.get(("qdrant", where), lambda: qdrant.QdrantClient(":memory:"))

    def make(ids, vectors, metric, labels):
        name = uuid.uuid4().hex
        at = attachment("qdrant", where, table=name, vector="image", labels={"class": "kind"})
        client.create_collection(name, {"image": models.VectorParams(size=8, distance=distances[metric])})
        points = [
            models.PointStruct(id=i, vector={"image": x.tolist()}, payload={"kind": label})
            for i, x, label in zip(ids.to_pylist(), vectors, labels, strict=True)
        ]
        client.upsert(name, points)
        return opened(engines, metric, at)

    conformance.check(make, uuids=True, metrics=["cosine", "l2"])


def test_milvus(tmp_path, engines):
    pymilvus = pytest.importorskip("pymilvus")
    where = str(tmp_path / "milvus.db")
    client = engines.get(("milvus", where), lambda: pymilvus.MilvusClient(where))
    metrics = {"cosine": "COSINE", "dot": "IP", "l2": "L2"}

    def make(ids, vectors, metric, labels):
        name = f"c{uuid.uuid4().hex}"
        at = attachment("milvus", where, table=name, id="key", labels={"class": "kind"})
        schema = client.create_schema()
        strings = ids.type == pa.string()
        schema.add_field(
            "key", pymilvus.DataType.VARCHAR if strings else pymilvus.DataType.INT64, is_primary=True,
            **({"max_length": 100} if strings else {}),
        )  # fmt: skip
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=8)
        schema.add_field("kind", pymilvus.DataType.VARCHAR, max_length=100)
        params = client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type=metrics[metric])
        client.create_collection(name, schema=schema, index_params=params)
        rows = zip(ids.to_pylist(), vectors, labels, strict=True)
        client.insert(name, [{"key": i, "vector": x.tolist(), "kind": label} for i, x, label in rows])
        client.load_collection(name)
        return opened(engines, metric, at)

    conformance.check(make, metrics=["dot"], strings=[True])
    conformance.check(make, metrics=["l2"], strings=[False])


def test_a_qdrant_request_names_few_ids(engines, monkeypatch):
    qdrant = pytest.importorskip("qdrant_client")
    models, where = qdrant.models, "http://qdrant.invalid:6333"
    client = engines.get(("qdrant", where), lambda: qdrant.QdrantClient(":memory:"))
    client.create_collection("c", models.VectorParams(size=8, distance=models.Distance.EUCLID))
    ids, vectors, labels = conformance.rows_of(False)
    points = zip(ids.to_pylist(), vectors.tolist(), labels, strict=True)
    client.upsert("c", [models.PointStruct(id=i, vector=x, payload={"kind": label}) for i, x, label in points])
    backend = opened(engines, "l2", attachment("qdrant", where, table="c", labels={"class": "kind"}))
    wanted = backend.search(vectors[:20], 5, metric="l2", without=ids.slice(0, 40))
    asked, batch = [], client.query_batch_points
    monkeypatch.setattr(client, "query_batch_points", lambda name, some: asked.append(len(some)) or batch(name, some))
    for named, steps in ((1 << 18, [20]), (200, [4] * 5), (30, [])):
        monkeypatch.setattr("registry.backends.collection.NAMED", named)
        monkeypatch.setattr("registry.backends.qdrant.NAMED", named)
        asked.clear()
        found = backend.search(vectors[:20], 5, metric="l2", without=ids.slice(0, 40))
        assert asked == steps and np.array_equal(found[0], wanted[0]) and np.allclose(found[1], wanted[1], rtol=1e-3)
    client.set_payload("c", {"kind": 7}, points=[int(ids[3].as_py())])
    with pytest.raises(InvalidInput, match="'class' of qdrant c is of many types"):
        backend.look()


def test_milvus_is_not_made_and_says_when_it_refuses(tmp_path, engines):
    pytest.importorskip("pymilvus")
    import grpc

    at = attachment("milvus", str(tmp_path / "typo.db"), table="c")
    with pytest.raises(CorruptFile, match=r"there is no file .*typo\.db"):
        opened(engines, "l2", at)
    assert list(tmp_path.iterdir()) == []

    class Refuses(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
            )

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Refuses()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(Unavailable, match="refused the credentials: put its key into SAMESPACE_MILVUS_KEY"):
            opened(engines, "l2", attachment("milvus", f"http://127.0.0.1:{port}", table="c"))
    finally:
        server.stop(None)


def test_the_suite_finds_what_does_not_hold(tmp_path):
    class Wrong(LanceBackend):
        def search(self, queries, k, *, metric, without=None, among=None) -> tuple:
            return Backend.search(self, queries, k, metric="l2", without=without, among=among)

    def make(ids, vectors, metric, labels):
        dataset = Dataset(str(tmp_path / "g" / uuid.uuid4().hex), OpenDatasets())
        table = checked(Target("g", "int", (), vectors.shape[1], "float32"), ids, vectors, None).table
        version = dataset.publish(dataset.stage(table, 0), table.schema, 0)
        return Wrong("g", "m/1", "int", dataset, version, len(ids))

    with pytest.raises(AssertionError, match="the 1 nearest: scores are exact"):
        conformance.check(make, metrics=["cosine"], strings=[False])
