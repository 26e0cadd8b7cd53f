"""Galleries in an object store: whoever writes at once, is killed, or is not let in, loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import time

import numpy as np
import pytest

from registry import connect, gallery, places, writing
from registry.errors import Unavailable
from tests.registry.conftest import SECRET, problems, put
from tests.registry.test_processes import BATCH, SPAWN, append_forever, stored, work

pytestmark = pytest.mark.embedded


def test_processes_write_at_once(far, home):
    far.register_version("line", dim=4)
    gate, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=work, args=(home, n, gate, results, 1)) for n in range(2)]
    for process in processes:
        process.start()
    done = [results.get(timeout=200) for _ in processes]
    for process in processes:
        process.join()
    assert [d for d in done if isinstance(d, str)] == []
    expected = {id for mine, _, _ in done for id in mine} | {f"shared-{t}-{i}" for t in range(1) for i in range(BATCH)}
    assert set(stored(far)) == expected
    assert sorted(turn for _, won, _ in done for turn in won) == [0]
    assert problems(home) == []


def test_a_killed_writer_loses_nothing_and_leaves_no_half(far, home):
    rng, there, start = np.random.default_rng(0), set(), 0
    for _ in range(2):
        heard, said = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=append_forever, args=(home, start, said))
        process.start()
        said.close()
        assert heard.poll(30)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        acknowledged = set()
        while True:
            try:
                what, n = heard.recv()
            except EOFError:
                break
            (acknowledged.add if what == "stored" else acknowledged.discard)(n)
        batches = [int(id[1:].split("-")[0]) for id in stored(far)]
        assert all(batches.count(n) == BATCH for n in batches)
        last = max([start, *acknowledged])
        assert {n for n in acknowledged if n != last} <= set(batches) <= there | acknowledged | {last, last + 1}
        there, start = set(batches), last + 2
        assert put(far, [f"b{start + 1000}-0"]) == 1  # the next writer rolls back whatever was begun
        assert far.delete("g", [f"b{start + 1000}-0"]) == 1
    assert problems(home) == []


def test_stopped_right_after_it_published(far, home, monkeypatch):
    put(far, ["a"])

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "record", stop)
        with pytest.raises(KeyboardInterrupt):
            put(far, ["x", "y"])
        with pytest.raises(KeyboardInterrupt):
            far.delete("g", ["a"])
    assert sorted(stored(far)) == ["a"]
    put(far, ["x", "c"])
    assert sorted(stored(far)) == ["a", "c", "x"]
    assert problems(home) == []


def calls(reg):
    return {
        "append": lambda: put(reg, ["new"]),
        "delete": lambda: reg.delete("g", ["a"]),
        "fetch": lambda: reg.fetch("g", ids=["a"], into="m/1"),
        "scan": lambda: list(reg.scan("g", into="m/1")),
        "search": lambda: reg.search("g", np.ones((1, 4)), version="m/1"),
    }


@pytest.mark.parametrize(("status", "says"), [(403, "refused the credentials"), (503, "cannot be reached")])
def test_a_store_that_does_not_answer(far, home, store, status, says, monkeypatch):
    monkeypatch.setattr(places, "_RETRIES", 0)
    put(far, ["a"])
    with connect(home) as fresh:  # which has nothing in memory
        for name, call in calls(fresh).items():
            with store.answering(status), pytest.raises(Unavailable, match=says) as refused:
                call()
            message = str(refused.value)
            assert SECRET not in message and "\n" not in message, name
        assert fresh.gallery("g").items == 1 and fresh.versions()  # facts need no store
        with store.answering(status):
            assert any("storage: " in line and says in line for line in problems(home))
        assert sorted(stored(fresh)) == ["a"]
        put(fresh, ["b"])
    assert sorted(stored(far)) == ["a", "b"]
    assert problems(home) == []


def test_a_store_that_breaks_off_in_the_middle_of_an_append(far, home, store, monkeypatch):
    monkeypatch.setattr(places, "_RETRIES", 0)
    put(far, ["a"])
    real = gallery.Dataset._committed
    for n, after in enumerate((False, True)):

        def breaking(*args, after=after):
            done = real(*args) if after else None
            store.status = 503
            return done or real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(gallery.Dataset, "_committed", breaking)
            with pytest.raises(Unavailable):
                put(far, [f"lost{n}"])
        store.status = None
        assert sorted(stored(far)) == ["a"]
    put(far, ["lost0", "b"])
    assert sorted(stored(far)) == ["a", "b", "lost0"]
    assert problems(home) == []


def test_places_that_cannot_be_claimed(home, store, address, monkeypatch):
    monkeypatch.setattr(places, "_RETRIES", 0)
    with pytest.raises(Unavailable, match="no such bucket"):
        connect(home, galleries="s3://nowhere/galleries")
    with store.answering(403), pytest.raises(Unavailable, match="refused the credentials"):
        connect(home, galleries=address)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(Unavailable, match="cannot be reached"):
            connect(home, galleries=address)
    monkeypatch.undo()
