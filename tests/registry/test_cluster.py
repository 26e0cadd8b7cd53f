"""A registry on a Ray cluster of two local nodes, of which one is killed while it computes: the answers of one process."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from registry import connect
from registry.transforms import Orthogonal

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'samespace[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.embedded]

_SOON = {
    "health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}  # fmt: skip
"""A node is held for dead after a second instead of after fifteen."""


class _Nodes:
    """Two nodes, a CPU each; this process is at the first, and the second is there to be killed."""

    def __init__(self, cluster):
        self._cluster, self._second = cluster, None

    @property
    def address(self):
        return self._cluster.address

    def both(self):
        """Have two, by a new one if the second was killed."""
        if self._second is None:
            self._second = self._cluster.add_node(num_cpus=1, object_store_memory=128 << 20)
            self._cluster.wait_for_nodes()

    def kill(self):
        """Kill the second node, with all of its processes."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 1, "object_store_memory": 256 << 20, "include_dashboard": False, "_system_config": _SOON}
        made = Cluster(initialize_head=True, head_node_args=head)
        ray.init(made.address, namespace="samespace", log_to_driver=False, logging_level="error")
        yield _Nodes(made)
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def nodes(cluster):
    cluster.both()
    return cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory, rows):
    """A benchmark of two versions with a bridge between them, in many files, some rows of it deleted."""
    home = tmp_path_factory.mktemp("cluster") / "home"
    with connect(home) as reg:
        for _ in range(2):
            reg.register_version("products", dim=32, fingerprint={"n": os.urandom(4).hex()})
        reg.create_gallery("bench", id_type="int", labels=["class"])
        x = rows(4400, 32)
        turn = np.linalg.qr(rows(32, 32, 1))[0].astype(np.float32)
        noise = 0.3 * rows(4400, 32, 2)
        for start in range(0, 4400, 1100):
            ids = np.arange(start, start + 1100)
            labels = {"class": ids % 50}
            reg.append("bench", version="products/1", ids=ids, vectors=x[ids], labels=labels)
            reg.append("bench", version="products/2", ids=ids[:1000], vectors=(x[ids] @ turn + noise[ids])[:1000])
        reg.delete("bench", np.arange(10, 4400, 77))
        still = np.zeros(32, dtype=np.float32)
        reg.add_transform(Orthogonal(weight=turn, bias=still), source="products/1", target="products/2")
        reg.add_transform(Orthogonal(weight=turn.T.copy(), bias=still), source="products/2", target="products/1")
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
    for found in (before, after):
        assert found.ids.tolist() == expected.ids.tolist() and found.path == expected.path
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert alone.ids.tolist() == expected.ids[:1].tolist()


def test_shards_are_read_anew_when_their_segment_changes(nodes, tmp_path, rows):
    with connect(tmp_path / "home", ray=nodes.address) as reg:
        reg.register_version("products", dim=8)
        reg.create_gallery("shop", id_type="int")
        reg.append("shop", version="products/1", ids=[1, 2], vectors=rows(2, 8))
        assert reg.search("shop", rows(2, 8), version="products/1", k=1).ids.tolist() == [[1], [2]]
        reg.append("shop", version="products/1", ids=[3], vectors=rows(1, 8, 1))
        reg.delete("shop", [1])
        found = reg.search("shop", np.concatenate([rows(2, 8), rows(1, 8, 1)]), version="products/1", k=3)
        assert found.ids[1:, 0].tolist() == [2, 3] and 1 not in found.ids
        assert found.ids[:, 2].tolist() == [-1, -1, -1] and np.isneginf(found.scores[:, 2]).all()
