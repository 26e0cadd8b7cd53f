"""Search indexes: what they find, what they cover, and what happens when builds or files fail."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from registry import connect
from registry.errors import InvalidInput, NotFound, Unavailable
from registry.indexes import backend, standing
from registry.indexes.kinds import chosen_kind, recipe
from tests.registry.indexed import indexed

N, D = 400, 16
ROOT = Path(__file__).parents[2]


def filled(reg, name="shelf", *, n=N, metric="cosine", id_type="string", labels=(), model="m", seed=0):
    x = np.random.default_rng(seed).standard_normal((n, D)).astype("f")
    ids = [f"i{j}" for j in range(n)] if id_type == "string" else list(range(n))
    if model not in [m.name for m in reg.models()]:
        reg.register_version(model, dim=D, metric=metric, normalized=False)
    reg.create_gallery(name, id_type=id_type, labels=list(labels))
    given = {label: [f"c{j % 5}" for j in range(n)] for label in labels} or None
    reg.append(name, version=f"{model}/1", ids=ids, vectors=x, labels=given)
    return np.array(ids, dtype=object if id_type == "string" else np.int64), x


def queries(n=30, seed=9):
    return np.random.default_rng(seed).standard_normal((n, D)).astype("f")


def recall(found, exact):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.ids.tolist(), exact.ids.tolist(), strict=True)])


@pytest.fixture(scope="module")
def shelves(tmp_path_factory):
    """A registry with a gallery of each metric and id type, and the exact answers of each."""
    with connect(tmp_path_factory.mktemp("indexes") / "home") as reg:
        made = {}
        for metric in ("cosine", "dot", "l2"):
            for id_type in ("string", "int"):
                name = f"{metric}-{id_type}"
                filled(reg, name, metric=metric, id_type=id_type, model=metric)
                made[name] = reg.search(name, queries(), version=f"{metric}/1", k=10)
        yield reg, made


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf", "ivfpq", "opq"])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("id_type", ["string", "int"])
def test_every_kind_finds_what_it_says(shelves, kind, metric, id_type):
    reg, exact = shelves
    name = f"{metric}-{id_type}"
    info = indexed(reg, name, kind=kind)
    hits = reg.search(name, queries(), version=f"{metric}/1", k=10)
    assert (info.kind, info.rows, info.rows_now, info.k) == (kind, N, N, 10)
    assert recall(hits, exact[name]) == pytest.approx(info.recall, abs=0.15)
    if kind in ("exact", "hnsw", "ivf"):
        assert info.recall >= 0.93
        same = hits.ids == exact[name].ids
        np.testing.assert_allclose(hits.scores[same], exact[name].scores[same], rtol=1e-4, atol=1e-5)
    assert (np.diff(hits.scores, axis=1) <= 0).all(), "larger is closer, best first"
    assert hits.ids.dtype == exact[name].ids.dtype


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
@pytest.mark.parametrize(("compression", "least"), [("half", 0.9), ("int8", 0.8), ("lowrank", 0.15)])
def test_compression_is_smaller_and_its_loss_is_measured(shelves, kind, compression, least):
    reg, exact = shelves
    whole = indexed(reg, "cosine-string", kind=kind)
    info = indexed(reg, "cosine-string", kind=kind, compression=compression)
    hits = reg.search("cosine-string", queries(), version="cosine/1", k=10)
    assert info.bytes < whole.bytes
    assert info.recall >= least
    assert recall(hits, exact["cosine-string"]) == pytest.approx(info.recall, abs=0.15)


def test_build_search_append_delete_drop(reg):
    ids, x = filled(reg, labels=["class"])
    exact = reg.search("shelf", queries(), version="m/1", k=10)
    told = []
    info = reg.build_index("shelf", kind="hnsw", recall=1.0, progress=lambda *at: told.append(at))
    assert told[0] == (0, N) and told[-1] == (N, N)
    assert reg.indexes() == reg.indexes("shelf") == [info]
    assert (info.gallery, info.version, info.kind, info.compression) == ("shelf", "m/1", "hnsw", "none")
    assert info.exact_bytes == N * D * 4 and info.bytes > info.exact_bytes and info.settings["ef_search"] >= 10
    assert recall(reg.search("shelf", queries(), version="m/1", k=10), exact) > 0.97
    best = ids[3]
    assert reg.search("shelf", x[3:4], version="m/1", k=1).ids[0, 0] == best
    reg.delete("shelf", [best])
    assert best not in reg.search("shelf", x[3:4], version="m/1", k=N).ids
    reg.append("shelf", version="m/1", ids=[best, "new"], vectors=queries()[:2], labels={"class": ["c1", "c2"]})
    again = reg.search("shelf", queries()[:2], version="m/1", k=1)
    assert again.ids.tolist() == [[best], ["new"]], "by its new vector, without a new build"
    assert reg.search("shelf", x[3:4], version="m/1", k=1).ids[0, 0] != best, "and not by the old one"
    assert [(i.rows, i.rows_now) for i in reg.indexes("shelf")] == [(N, N + 1)]
    reg.drop_index("shelf", "m/1")
    assert reg.indexes("shelf") == []
    with pytest.raises(NotFound, match="have no index"):
        reg.drop_index("shelf", "m/1")
    assert [c.action for c in reg.changes(limit=1)] == ["index.dropped"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "annoy"}, "choose one of auto, exact, hnsw, ivf, ivfpq, opq"),
        ({"compression": "zip"}, "choose one of none, half, int8, pq, lowrank"),
        ({"kind": "hnsw", "compression": "pq"}, "use the kind ivfpq or opq"),
        ({"kind": "opq", "compression": "half"}, "opq compresses by pq"),
        ({"kind": "hnsw", "settings": {"nlist": 3}}, "it has m, ef_construction, ef_search"),
        ({"kind": "hnsw", "settings": {"m": 1000}}, "m must be a whole number from 2 to 128"),
        ({"kind": "ivf", "settings": {"nlist": 500}}, "at most the 400 rows"),
        ({"kind": "ivfpq", "settings": {"pq_m": 3}}, "must divide the 16 dimensions"),
        ({"kind": "exact", "compression": "lowrank", "settings": {"rank": 17}}, "at most the 16 dimensions"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(reg, given, says):
    filled(reg)
    with pytest.raises(InvalidInput, match=says):
        reg.build_index("shelf", **given)
    assert reg.indexes() == []


def test_the_version_must_be_named_where_several_wrote(reg):
    ids, _ = filled(reg, n=20)
    with pytest.raises(NotFound, match="no gallery"):
        reg.build_index("nowhere")
    reg.register_version("m", dim=D)
    with pytest.raises(NotFound, match="m/2 stored nothing"):
        reg.build_index("shelf", "m/2")
    reg.append("shelf", version="m/2", ids=ids.tolist(), vectors=queries(20))
    with pytest.raises(InvalidInput, match="m/1, m/2: name the version"):
        reg.build_index("shelf")


def test_kinds_are_chosen_by_size():
    assert [chosen_kind(n, 128) for n in (100, 20_000, 20_001, 10_000_000, 20_000_000)] == [
        "exact", "exact", "hnsw", "hnsw", "opq",
    ]  # fmt: skip
    assert chosen_kind(100, 128, "pq") == "opq"
    assert recipe("ivf", "pq", None, rows=5000, dim=32).kind == "ivfpq"


@pytest.mark.parametrize("n", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("kind", ["auto", "hnsw", "ivf"])
def test_a_handful_of_rows_can_be_indexed(shelves, n, kind):
    reg, _ = shelves
    name = f"few-{n}-{kind}"
    _, x = filled(reg, name, n=n, model="cosine")
    indexed(reg, name, kind=kind)
    hits = reg.search(name, x, version="cosine/1", k=n + 2)
    assert hits.ids[:, 0].tolist() == [f"i{j}" for j in range(n)]
    assert (hits.ids[:, n:] == "").all() and np.isneginf(hits.scores[:, n:]).all()


# Rows that come and go


def test_a_graph_gives_as_many_as_there_are(lite, monkeypatch):
    monkeypatch.setattr(standing, "_FEW_ROWS", 4)
    ids, _ = filled(lite)
    indexed(lite, "shelf", kind="hnsw", settings={"m": 2, "ef_construction": 4, "ef_search": 1})
    lite.delete("shelf", ids[::3].tolist())
    left = set(ids) - set(ids[::3])
    for found in lite.search("shelf", queries(5), version="m/1", k=N).ids:
        assert set(found) - {""} == left


def test_new_rows_are_merged_in_order_and_read_once(lite):
    ids, x = filled(lite, id_type="int")
    indexed(lite, "shelf", kind="exact")
    for start in range(3):
        more = np.arange(1000 + 10 * start, 1010 + 10 * start)
        lite.append("shelf", version="m/1", ids=more, vectors=queries(10, seed=20 + start))
        x = np.concatenate([x, queries(10, seed=20 + start)])
        ids = np.concatenate([ids, more])
        hits = lite.search("shelf", queries(), version="m/1", k=7)
        near = (queries() / np.linalg.norm(queries(), axis=1)[:, None]) @ (x / np.linalg.norm(x, axis=1)[:, None]).T
        assert hits.ids.tolist() == ids[np.argsort(-near, axis=1)[:, :7]].tolist()


def test_an_index_is_asked_for_a_mapped_query_too(lite):
    """A new version arrives: its queries are led to the old space, in front of the old index."""
    from registry.transforms import Orthogonal

    _, x = filled(lite)
    lite.register_version("m", dim=D)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0].astype("f")
    lite.add_transform(Orthogonal(weight=turn, bias=np.zeros(D)), source="m/2", target="m/1")
    indexed(lite, "shelf", kind="hnsw")
    hits = lite.search("shelf", x[:50] @ turn.T, version="m/2", k=3, allow_unmeasured=True)
    assert np.mean(hits.ids[:, 0] == [f"i{j}" for j in range(50)]) > 0.95
    assert "search" in _stored(lite, "m/2").capabilities


def test_the_index_is_not_used_where_stored_vectors_are_mapped(lite):
    from registry.transforms import Prefix

    _, x = filled(lite)
    lite.register_version("m", dim=4)
    lite.add_transform(Prefix(from_dim=D, to_dim=4), source="m/1", target="m/2")
    indexed(lite, "shelf", kind="exact")
    hits = lite.search("shelf", x[:5, :4], version="m/2", k=1, allow_unmeasured=True)
    assert hits.ids[:, 0].tolist() == [f"i{j}" for j in range(5)]


def _stored(reg, version):
    from registry import searching

    plan = searching._planned(reg._home, "shelf", version, allow_unmeasured=True, beside=None)
    return plan.segments[0][0].stored


# Failures


def test_a_killed_build_leaves_nothing(lite):
    _, x = filled(lite)
    before = indexed(lite, "shelf", kind="exact")

    def kill(*_):
        for children in Path("/proc/self/task").glob("*/children"):
            for pid in children.read_text().split():
                if b"registry.indexes.job" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)

    with pytest.raises(Unavailable, match="nothing changed, try again"):
        lite.build_index("shelf", kind="hnsw", progress=kill)
    assert lite.indexes() == [before]
    assert sorted(p.name for p in Path(lite.home, "indexes").iterdir()) == [f"{before.id}.faiss", f"{before.id}.rows"]
    assert lite.search("shelf", x[:1], version="m/1", k=1).ids[0, 0] == "i0"


def test_what_a_caller_raises_ends_the_build(lite):
    filled(lite)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lite.build_index("shelf", kind="hnsw", progress=stop)
    assert lite.indexes() == [] and not list(Path(lite.home, "indexes").iterdir())


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "swapped"])
def test_a_damaged_index_is_told_of_and_search_is_exact(lite, samespace, damage):
    filled(lite)
    exact = lite.search("shelf", queries(), version="m/1", k=10)
    info = indexed(lite, "shelf", kind="ivfpq")
    file = Path(lite.home, "indexes", f"{info.id}.faiss")
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "swapped":
        file.write_bytes(Path(lite.home, "indexes", f"{info.id}.rows").read_bytes())
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data[: len(data) - (7 if damage == "cut" else 0)])
    with connect(lite.home) as fresh:
        hits = fresh.search("shelf", queries(), version="m/1", k=10)
    assert hits.ids.tolist() == exact.ids.tolist()
    shown = samespace("--home", lite.home, "db", "check").output
    assert "index of m/1 in shelf" in shown and "gallery index build shelf" in shown


def test_rebuilding_leaves_no_gap(lite):
    """Searches run all the while, each right; the old files go."""
    filled(lite)
    exact = lite.search("shelf", queries(), version="m/1", k=5)
    wrong, done = [], threading.Event()

    def search():
        try:
            while not done.is_set():
                hits = lite.search("shelf", queries(), version="m/1", k=5)
                if hits.ids.tolist() != exact.ids.tolist():
                    wrong.append(hits)
        except Exception as error:
            wrong.append(error)

    def build():
        try:
            indexed(lite, "shelf", kind="exact")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(6):
            indexed(lite, "shelf", kind="exact", seed=seed)
        together = [threading.Thread(target=build) for _ in range(2)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(lite.indexes()) == 1 and len(list(Path(lite.home, "indexes").iterdir())) == 2


def test_writing_while_an_index_is_built(lite):
    """What is written meanwhile is found, and what is deleted meanwhile is not."""
    ids, x = filled(lite)

    def write(done, of):
        if done == 0:
            lite.delete("shelf", [ids[0]])
            lite.append("shelf", version="m/1", ids=["late"], vectors=-x[:1])

    info = lite.build_index("shelf", kind="exact", progress=write)
    assert (info.rows, info.rows_now) == (N, N)
    assert lite.search("shelf", -x[:1], version="m/1", k=1).ids[0, 0] == "late"
    assert ids[0] not in lite.search("shelf", x[:1], version="m/1", k=N).ids


# Plans


@pytest.mark.embedded
def test_what_another_process_wrote_is_seen_at_once(reg, home, database_url):
    ids, x = filled(reg)
    indexed(reg, "shelf", kind="exact")
    assert reg.search("shelf", x[:1], version="m/1", k=1).ids[0, 0] == ids[0]
    there = (
        "import sys, numpy as np\nfrom registry import connect\n"
        "with connect(sys.argv[1], database=sys.argv[2] or None) as reg:\n"
        "    for line in sys.stdin:\n"
        "        id, gone = line.split()\n"
        "        reg.delete('shelf', [gone])\n"
        "        reg.append('shelf', version='m/1', ids=[id], vectors=np.eye(16, dtype='f')[:1])\n"
        "        print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", there, str(home), database_url or ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=ROOT,
    ) as other:  # fmt: skip
        last = ids[0]
        for step in range(5):
            assert last in reg.search("shelf", x[:1], version="m/1", k=N + 9).ids
            other.stdin.write(f"new{step} {last}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"
            found = reg.search("shelf", np.eye(16, dtype="f")[:1], version="m/1", k=N + 9).ids[0]
            assert found[0] == f"new{step}" and last not in found
            last = f"new{step}"
        other.stdin.close()


def test_a_plan_is_made_anew_after_a_write_and_only_then(lite):
    plans, made = lite._home.plans, []

    def plan():
        made.append(len(made))
        return made[-1]

    assert [plans.get("a", plan) for _ in range(3)] == [0, 0, 0]
    lite.register_version("m", dim=D)
    assert [plans.get("a", plan) for _ in range(3)] == [1, 1, 1]
    child = os.fork()  # as the workers of a server are, with a connection that is not theirs
    if child == 0:
        code = 1
        try:
            code = 0 if plans.get("a", plan) == 2 and plans.get("a", plan) == 2 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert plans.get("a", plan) == 1


@pytest.mark.embedded
def test_an_index_that_was_let_go_is_opened_again(reg, monkeypatch):
    monkeypatch.setattr(backend, "_OPEN", 1)
    for name in ("a", "b"):
        filled(reg, name, model=name)
        indexed(reg, name, kind="hnsw")
    found = [reg.search(name, queries(), version=f"{name}/1", k=3) for name in ("a", "b")]
    reg._home.plans.forget()
    np.testing.assert_array_equal(reg.search("a", queries(), version="a/1", k=3).ids, found[0].ids)
    np.testing.assert_array_equal(reg.search("b", queries(), version="b/1", k=3).ids, found[1].ids)
