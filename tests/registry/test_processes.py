"""Several processes in one home, and processes that are killed in the middle of a write."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import zlib

import numpy as np
import pytest

from registry import connect
from registry.errors import AlreadyExists

SPAWN = multiprocessing.get_context("spawn")
BATCH = 5


def vector(id):
    """The one vector that may be stored under `id`, whoever writes it."""
    return np.random.default_rng(zlib.crc32(id.encode())).standard_normal(4).astype(np.float32)


def stored(reg):
    """Id -> vector, and that each id comes once and with its own vector."""
    found = {}
    for block in reg.scan("g", into="m/1"):
        for id, x in zip(block.ids.tolist(), block.vectors, strict=True):
            assert id not in found
            np.testing.assert_array_equal(x, vector(id))
            found[id] = x
    return found


def work(home, number, gate, results, turns=6):
    """Append what is mine, fight for what is everybody's, delete some of mine, and register versions."""
    try:
        with connect(home) as reg:
            gate.wait()
            mine, won, numbers = [], [], []
            for turn in range(turns):
                ids = [f"w{number}-{turn}-{i}" for i in range(BATCH)]
                reg.append("g", version="m/1", ids=ids, vectors=np.stack([vector(id) for id in ids]))
                mine += ids
                shared = [f"shared-{turn}-{i}" for i in range(BATCH)]
                try:
                    reg.append("g", version="m/1", ids=shared, vectors=np.stack([vector(id) for id in shared]))
                    won.append(turn)
                except AlreadyExists:
                    pass
                assert reg.delete("g", ids[:2]) == 2
                mine = [id for id in mine if id not in ids[:2]]
                assert reg.search("g", vector(ids[3])[None], version="m/1", k=1).ids[0, 0] == ids[3]
                numbers.append(reg.register_version("line", dim=4).number)
        results.put((mine, won, numbers))
    except BaseException as error:
        results.put(repr(error))
        raise


def test_processes_share_a_home(lite, home):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    gate, results = SPAWN.Barrier(4), SPAWN.Queue()
    processes = [SPAWN.Process(target=work, args=(home, n, gate, results)) for n in range(4)]
    for process in processes:
        process.start()
    done = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [d for d in done if isinstance(d, str)] == []
    expected = {id for mine, _, _ in done for id in mine} | {f"shared-{t}-{i}" for t in range(6) for i in range(BATCH)}
    assert set(stored(lite)) == expected
    assert sorted(turn for _, won, _ in done for turn in won) == list(range(6))  # each shared batch: one winner
    assert sorted(n for _, _, numbers in done for n in numbers) == list(range(1, 25))
    gallery = lite.gallery("g")
    assert (gallery.items, gallery.segments[0].rows) == (len(expected),) * 2
    appended = [c for c in lite.changes(limit=1000) if c.action == "gallery.appended"]
    assert sum(c.details["rows"] for c in appended) == 4 * 6 * BATCH + 6 * BATCH


def append_forever(home, start, said):
    """Append batches until killed; acknowledge each on the pipe after it was stored, and delete some of the old."""
    with connect(home) as reg:
        n = start
        while True:
            ids = [f"b{n}-{i}" for i in range(BATCH)]
            reg.append("g", version="m/1", ids=ids, vectors=np.stack([vector(id) for id in ids]))
            said.send(("stored", n))
            if n % 3 == 0:
                reg.delete("g", ids)
                said.send(("deleted", n))
            n += 1


def test_a_killed_process_loses_nothing_and_leaves_no_half(lite, home):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    rng, stored_ones, deleted, start = np.random.default_rng(0), set(), set(), 0
    for _ in range(10):
        heard, said = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=append_forever, args=(home, start, said))
        process.start()
        said.close()
        assert heard.poll(30)  # it has begun
        time.sleep(rng.uniform(0, 0.08))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while True:
            try:
                what, n = heard.recv()
            except EOFError:
                break
            (stored_ones if what == "stored" else deleted).add(n)
        start = max(stored_ones, default=start) + 2
        there = {}
        for id in stored(lite):
            there.setdefault(int(id[1:].split("-")[0]), []).append(id)
        assert all(len(ids) == BATCH for ids in there.values())  # a batch is whole or absent
        unsaid = {n for n in there if n not in stored_ones}
        assert unsaid <= {start - 1}  # only the batch that was in flight may be there unacknowledged
        gone = stored_ones - set(there)
        assert deleted <= gone
        assert gone - deleted <= {n for n in stored_ones if n % 3 == 0 and n == max(stored_ones)}
        stored_ones = {n for n in stored_ones if n in there} | unsaid
        deleted = set()
        assert lite.gallery("g").items == BATCH * len(there)
        # The next writer is not in the way of anything.
        ids = [f"b{start + 1000}-{i}" for i in range(BATCH)]
        lite.append("g", version="m/1", ids=ids, vectors=np.stack([vector(id) for id in ids]))
        assert lite.delete("g", ids) == BATCH


@pytest.mark.parametrize("moment", ["stage", "publish", "record"])
def test_killed_at_each_moment_of_an_append(lite, home, moment):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    for before in ([], ["a", "b"]):
        if before:
            lite.append("g", version="m/1", ids=before, vectors=np.stack([vector(id) for id in before]))
        process = SPAWN.Process(target=append_and_die, args=(home, moment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert sorted(stored(lite)) == before
        assert lite.gallery("g").items == len(before)
    lite.append("g", version="m/1", ids=["x", "c"], vectors=np.stack([vector("x"), vector("c")]))
    assert sorted(stored(lite)) == ["a", "b", "c", "x"]
    assert lite.gallery("g").items == 4


def append_and_die(home, moment):
    """Append x and y, and be killed right after `moment`."""
    from registry import writing
    from registry.gallery import Dataset

    place = writing if moment == "record" else Dataset
    real = getattr(place, moment)

    def fatal(*args):
        real(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, moment, fatal)
    with connect(home) as reg:
        reg.append("g", version="m/1", ids=["x", "y"], vectors=np.stack([vector("x"), vector("y")]))
