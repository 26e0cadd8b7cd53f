"""A registry on a Ray cluster of two local nodes, of which one is killed while it computes: the answers of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import psutil
import pytest

from bench import on_ray
from registry import connect
from registry.cluster.encoding import opened
from registry.cluster.nodes import Cluster, answered, unpacked
from registry.cluster.parts import require_seen
from registry.errors import InvalidInput, Unavailable
from registry.transforms import Orthogonal

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'samespace[ray]'")
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

pytestmark = [pytest.mark.ray, pytest.mark.embedded]


class _Nodes(on_ray.Nodes):
    """Two nodes, a CPU each; this process is at the first, and the second is there to be killed."""

    @contextmanager
    def only_the_second(self):
        """Keep the first node's CPU busy while the block runs."""
        where = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        busy = ray.remote(lambda: time.sleep(60)).options(num_cpus=1, scheduling_strategy=where).remote()
        try:
            _until(lambda: ray.available_resources().get("CPU", 0) == 1)
            yield
        finally:
            ray.cancel(busy, force=True)

    def kill_when_busy(self):
        """Kill the second node once it computes."""
        _until(lambda: ray.available_resources().get("CPU", 0) == 0)
        time.sleep(0.5)
        self.kill()


def _until(is_so):
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def _searchers():
    """The processes that hold shards."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if "_Shard" in " ".join(process.cmdline()) else []
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    encoders = tmp_path_factory.mktemp("encoders")
    (encoders / "slow_encoder.py").write_text(_ENCODER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(encoders))  # of the nodes
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = _Nodes(on_ray.SOON)
        yield made
        made.end()


@pytest.fixture
def nodes(cluster):
    cluster.both()
    return cluster


def turn_of(rows):
    """What turns vectors (n, 32) of the first version into those of the second."""
    return np.linalg.qr(rows(32, 32, 1))[0].astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory, rows):
    """A benchmark of two versions with a bridge from the first to the second, in many files, some rows of it deleted."""
    home = tmp_path_factory.mktemp("cluster") / "home"
    with connect(home) as reg:
        for _ in range(2):
            reg.register_version("products", dim=32, fingerprint={"n": os.urandom(4).hex()})
        reg.create_gallery("bench", id_type="int", labels=["class"])
        x = rows(4400, 32)
        turn = turn_of(rows)
        noise = 0.3 * rows(4400, 32, 2)
        for start in range(0, 4400, 1100):
            ids = np.arange(start, start + 1100)
            labels = {"class": ids % 50}
            reg.append("bench", version="products/1", ids=ids, vectors=x[ids], labels=labels)
            reg.append("bench", version="products/2", ids=ids[:1060], vectors=(x[ids] @ turn + noise[ids])[:1060])
        reg.delete("bench", np.arange(10, 4400, 77))
        still = np.zeros(32, dtype=np.float32)
        reg.add_transform(Orthogonal(weight=turn, bias=still), source="products/1", target="products/2")
        reg.create_gallery("shop")
        for file in range(6):
            ids, vectors = [f"item {file} {i}" for i in range(16400)], rows(16400, 32, 3 + file)
            reg.append("shop", version="products/1", ids=ids, vectors=vectors)
            reg.append("shop", version="products/2", ids=ids[:40], vectors=vectors[:40])
        reg.delete("shop", [f"item {file} {i}" for file in range(3) for i in range(5, 16400, 77)])
    return home


def test_a_scan_gives_the_blocks_of_one_process_though_a_node_dies(nodes, home):
    with connect(home) as reg:
        expected = list(reg.scan("shop", into="products/2", rows=5000, allow_unmeasured=True))
    with connect(home, ray=nodes.address) as reg:
        blocks = reg.scan("shop", into="products/2", rows=5000, allow_unmeasured=True)
        found = []
        for block in blocks:  # other parts are under way by then
            found.append(block)
            if len(found) == 2:
                nodes.kill()
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.ids.tolist() == other.ids.tolist() and one.path == other.path
        np.testing.assert_array_equal(one.vectors, other.vectors)
        assert one.vectors.flags.writeable  # the caller's own


def test_an_evaluation_measures_what_one_process_does_though_a_node_dies(nodes, home):
    with connect(home) as reg:
        reg.evaluate("bench")
        expected = reg.evaluations("bench")
    with connect(home, ray=nodes.address) as reg:
        reg.evaluate("bench", progress=lambda done, _: nodes.kill() if done == 1 else None)
        found = reg.evaluations("bench")
    assert len(found) == len(expected)

    def figures(e):
        return e.metric, e.query, e.gallery, e.query_path, e.gallery_path, e.value, e.low, e.high, e.gain, e.verdict

    assert sorted(map(figures, found)) == sorted(map(figures, expected))
    assert not {e.measurement for e in found} & {e.measurement for e in expected}


def test_a_search_finds_what_one_process_does_though_a_node_dies(nodes, home, rows):
    """Both versions stored items: one segment is searched as it is, one through a map, and no item comes twice."""
    queries = rows(60, 32, 99)
    with connect(home) as reg:
        expected = reg.search("shop", queries, version="products/2", k=25, allow_unmeasured=True)
    with connect(home, ray=nodes.address) as reg:
        before = reg.search("shop", queries, version="products/2", k=25, allow_unmeasured=True)
        nodes.kill()
        begun = time.monotonic()
        after = reg.search("shop", queries, version="products/2", k=25, allow_unmeasured=True)
        assert time.monotonic() - begun < 15
        alone = reg.search("shop", queries[:1], version="products/2", k=25, allow_unmeasured=True)
        reg.append("shop", version="products/1", ids=["new"], vectors=queries[:1] @ turn_of(rows).T)
        reg.delete("shop", [expected.ids[1, 0]])
        anew = reg.search("shop", queries[:2], version="products/2", k=1, allow_unmeasured=True)
        assert _searchers()
    _until(lambda: not _searchers())  # a registry that is closed keeps no memory of the nodes
    for found in (before, after):
        assert found.ids.tolist() == expected.ids.tolist() and found.path == expected.path
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert alone.ids.tolist() == expected.ids[:1].tolist()
    assert anew.ids[:, 0].tolist() == ["new", expected.ids[1, 1]]


def test_an_index_is_built_as_in_one_process_though_a_node_dies(nodes, tmp_path, rows):
    vectors = rows(4000, 16)
    with connect(tmp_path / "home", ray=nodes.address) as reg:
        reg.register_version("products", dim=16)
        reg.create_gallery("shop", id_type="int")
        reg.append("shop", version="products/1", ids=np.arange(4000), vectors=vectors)
        told = []

        made = []
        build = threading.Thread(
            target=lambda: made.append(
                reg.build_index("shop", kind="ivf", settings={"nlist": 16}, progress=lambda *at: told.append(at))
            )
        )
        with nodes.only_the_second():
            build.start()
            nodes.kill_when_busy()
        build.join()
        (made,) = made
        found = reg.search("shop", vectors[:50], version="products/1", k=1)
    with connect(tmp_path / "home") as reg:
        alone = reg.build_index("shop", kind="ivf", settings={"nlist": 16})
        assert reg.search("shop", vectors[:50], version="products/1", k=1).ids.tolist() == found.ids.tolist()
    assert told == [(0, 4000), (4000, 4000)] and found.ids[:, 0].tolist() == list(range(50))
    assert (made.recall, made.bytes, made.settings) == (alone.recall, alone.bytes, alone.settings)
    assert not list((tmp_path / "home" / "indexes").glob("*.part"))


_ENCODER = """
import time
import numpy as np

def encode(ids):
    time.sleep(0.1)
    return np.cos(np.asarray(ids, dtype=np.float32)[:, None] * np.arange(1, 9, dtype=np.float32))

def uneven(ids):
    return np.ones((len(ids) + (1 if ids[0] == 0 else -1), 8))
"""


def test_a_backfill_loses_and_repeats_nothing_though_a_node_dies(nodes, tmp_path, rows):
    with connect(tmp_path / "home", ray=nodes.address) as reg:
        for _ in range(3):
            reg.register_version("products", dim=8, fingerprint={"n": os.urandom(4).hex()})
        reg.create_gallery("shop", id_type="int")
        reg.append("shop", version="products/1", ids=np.arange(640), vectors=rows(640, 8))
        planned = reg.plan_backfill("shop", into="products/2", encoder="slow_encoder:encode", batch=128)
        done = reg.run_backfill(planned.id, progress=lambda done, _: nodes.kill() if done == 128 else None)
        assert (done.status, done.done, done.written) == ("finished", 640, 640)
        stored = reg.fetch("shop", ids=np.arange(640), into="products/2")
        np.testing.assert_array_equal(
            stored.vectors, np.cos(np.outer(np.arange(640), np.arange(1, 9)).astype(np.float32))
        )
        with pytest.raises(InvalidInput, match="a module that its nodes can import"):
            reg.run_backfill(reg.plan_backfill("shop", into="products/3").id, encode=lambda ids: np.ones((len(ids), 8)))


def test_a_node_that_cannot_import_an_encoder_is_named(cluster):
    encode = opened(Cluster(cluster.address), "not_there:encode", None)
    with pytest.raises(Unavailable, match=r"the node .* install what it needs on every node: .* 'not_there'"):
        encode({"ids": list(range(32))})


def test_each_piece_of_a_batch_is_counted(cluster):
    """One vector too many of the first piece and one too few of the second would give every item a neighbour's."""
    encode = opened(Cluster(cluster.address), "slow_encoder:uneven", None)
    with pytest.raises(InvalidInput, match=r"gave (17 vectors for 16|15 vectors for 16) inputs"):
        encode({"ids": list(range(32))})


def test_an_encoder_of_this_very_script_is_refused_at_once(monkeypatch):
    def encode(ids):
        return np.ones((len(ids), 8))

    encode.__module__, encode.__qualname__ = "__main__", "encode"
    monkeypatch.setattr(sys.modules["__main__"], "encode", encode, raising=False)
    for place in (encode, "__main__:encode"):
        with pytest.raises(InvalidInput, match=r"a module that its nodes can import, .* got '__main__:encode'"):
            opened(Cluster("nowhere:1"), place, None)


def test_a_part_that_kills_its_worker_is_sent_five_times(cluster, tmp_path):
    def dies(file):
        with open(file, "a") as tries:
            tries.write(".")
        os._exit(1)

    with pytest.raises(Unavailable, match="lost a part of the work 5 times"):
        list(Cluster(cluster.address).map(dies, [(str(tmp_path / "tries"),)]))
    assert (tmp_path / "tries").read_text() == "....."


def test_nodes_know_nothing_of_the_facts():
    """What a worker imports, of which each shard of a search has one, takes no database along."""
    tasks = "building, encoding, nodes, parts, ranking, scanning, shards"
    code = f"import sys; from registry.cluster import {tasks}; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_the_command_line_names_a_cluster(cluster, home, samespace, tmp_path):
    samespace("--home", home, "--ray", cluster.address, "evaluate", "bench", "--version", "products/1")
    for name, on in (("here", ()), ("there", ("--ray", cluster.address))):
        samespace("--home", home, *on, "gallery", "export", "bench", tmp_path / name, "--into", "products/1")
    for file in ("ids.npy", "vectors.npy"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()
    told = samespace("--home", "http://127.0.0.1:9", "--ray", cluster.address, "gallery", "list", code=1)
    assert "a server computes where it is" in told.output
    assert "shop" in samespace("--home", home, "--ray", "nowhere:1", "gallery", "list").output  # which asks no cluster
    assert "ray must be the address" in samespace("--home", home, "--ray", " ", "gallery", "list", code=1).output


def test_a_folder_that_a_node_does_not_see_is_named():
    with pytest.raises(
        Unavailable, match=r"is not there on the node .*: keep galleries in a folder that every node sees"
    ):
        require_seen("/no/such/folder")


def test_a_node_of_another_release_is_refused():
    answer = answered(require_seen, "0.0.0", "s3://bucket/g")
    with pytest.raises(InvalidInput, match=r"0\.0\.0 asks it: install the same release on every node"):
        unpacked(answer)


def test_a_cluster_that_is_not_there_is_told_at_once():
    """In a process of its own: this one is at a cluster, which it uses whatever is named."""
    code = "from registry.cluster.nodes import Cluster; Cluster('127.0.0.1:1').cpus()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Unavailable: no Ray cluster can be reached at 127.0.0.1:1" in done.stderr
