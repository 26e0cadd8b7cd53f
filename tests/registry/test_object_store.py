"""Galleries in an object store: the same answers as in a folder, whoever writes at once, is killed, or is not let in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from registry import connect, doctor, gallery, orphans, places, stores
from registry.backup import backup, restore
from registry.checking import check
from registry.database import Database, address_in
from registry.errors import AlreadyExists, CorruptFile, InvalidInput, Unavailable
from registry.layout import Layout
from registry.places import Place
from tests.registry.conftest import SECRET
from tests.registry.test_processes import BATCH, SPAWN, append_and_die, append_forever, stored, vector, work

pytestmark = pytest.mark.embedded

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture(scope="module")
def undecided(tmp_path_factory):
    """A home with a database that nobody opened yet; to copy it is faster than to migrate one."""
    home = tmp_path_factory.mktemp("undecided") / "home"
    home.mkdir()
    database = Database(address_in(home / "registry.db"))
    database.ensure()
    database.close()
    return home


@pytest.fixture
def far(home, address, undecided):
    """An empty registry whose galleries are in the store, with a version and a gallery."""
    shutil.copytree(undecided, home)
    with connect(home, galleries=address) as reg:
        reg.register_version("m", dim=4)
        reg.create_gallery("g")
        yield reg


def put(reg, ids):
    return reg.append("g", version="m/1", ids=ids, vectors=np.stack([vector(id) for id in ids]))


def opened(home):
    """The layout and the database of a home."""
    database = Database(address_in(home / "registry.db"))
    return Layout(home, stores.remembered(database, home, None)), database


def problems(home):
    layout, database = opened(home)
    found = [*check(database, layout), *doctor.examine(layout, database)[0]]
    database.close()
    return [f"{f.what}: {f.found}" for f in found if f.level == "problem"]


def test_everything_is_as_in_a_folder(tmp_path, address, rows):
    x, y = rows(60, 4), rows(60, 4, seed=1)
    labels = {"class": [i % 5 for i in range(60)]}
    found = []
    for name, place in (("near", None), ("far", address), ("beside", tmp_path / "vectors")):
        with connect(tmp_path / name, galleries=place) as reg:
            reg.register_version("m", dim=4)
            reg.register_version("m", dim=4)
            reg.create_gallery("b", id_type="int", labels=["class"])
            for start in range(0, 60, 20):
                part = slice(start, start + 20)
                ids, some = range(start, start + 20), {"class": labels["class"][part]}
                reg.append("b", version="m/1", ids=ids, vectors=x[part], labels=some)
                reg.append("b", version="m/2", ids=ids, vectors=y[part])
            reg.add_previews("b", [3, 4], texts=["three", "four"])
            assert reg.delete("b", [4, 7]) == 2
            scanned = [block.vectors for block in reg.scan("b", into="m/1", rows=7)]
            reg.evaluate("b")
            found.append(
                [
                    np.concatenate(scanned),
                    reg.fetch("b", ids=[59, 0, 8], into="m/2").vectors,
                    reg.search("b", y[:9], version="m/2", k=5).ids,
                    [cell.value for cell in reg.evaluations("b")],
                    [item.preview for item in reg.items("b", previews=True).items],
                    reg.gallery("b").items,
                ]
            )
        assert place is None or list((tmp_path / name / "galleries").iterdir()) == []
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_address_is_remembered(far, home, address, tmp_path, rows):
    put(far, ["a"])
    with connect(home) as again, connect(home, galleries=f"{address}/") as named:
        assert sorted(stored(again)) == sorted(stored(named)) == ["a"]
    for other in ("s3://bucket/elsewhere", home / "galleries", tmp_path / "vectors"):
        with pytest.raises(InvalidInput, match=f"the galleries of this registry are at {address}"):
            connect(home, galleries=other)
    connect(tmp_path / "plain").close()
    with pytest.raises(InvalidInput, match="are in its home, not s3://bucket/late"):
        connect(tmp_path / "plain", galleries="s3://bucket/late")
    connect(tmp_path / "plain", galleries=tmp_path / "plain" / "galleries").close()
    with pytest.raises(AlreadyExists, match="perhaps the galleries of another registry"):
        connect(tmp_path / "second", galleries=address)
    with pytest.raises(ValueError, match=f"the galleries are at {address}"):
        far._home.database.downgrade("0004")  # whose release would look for them in the home
    assert sorted(stored(far)) == ["a"]
    with pytest.raises(InvalidInput, match="a server knows where its galleries are"):
        connect("http://127.0.0.1:1", galleries=address)


def test_of_those_who_want_a_place_one_gets_it(address):
    def attempt(_):
        try:
            return len(stores.claim(Place(address)))
        except AlreadyExists:
            return 0

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [0, 0, 0, 32]


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:pa55word@bucket/prefix", "s3://bucket/p?secret=pa55word", "s3://", "s3://b", "s3://bucket//p", "",
        "s3://bucket/../p", "s3://bucket/p%2e", "https://pa55word@host/p", "gs://bucket/p", "s3://Bucket/p", "a\0b",
        "s3://bucket/" + "p" * 500, 3,
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_and_not_repeated(home, address):
    with pytest.raises(InvalidInput) as refused:
        connect(home, galleries=address)
    assert "pa55word" not in str(refused.value) and "\n" not in str(refused.value)


def test_the_command_line(samespace, tmp_path, address, monkeypatch):
    home = tmp_path / "h"
    samespace("--home", home, "--galleries", address, "model", "register", "m", "--dim", 4)
    monkeypatch.setenv("SAMESPACE_GALLERIES", "s3://bucket/other")
    assert "are at " + address in samespace("--home", home, "db", "check", code=1).output
    monkeypatch.setenv("SAMESPACE_GALLERIES", address)
    assert "SAMESPACE_GALLERIES" in samespace("--home", home, "doctor").output
    monkeypatch.setenv("SAMESPACE_GALLERIES", "s3://key:pa55word@bucket/p")
    assert "pa55word" not in samespace("--home", home, "doctor", code=1).output


def test_backups_go_from_anywhere_to_anywhere(far, home, address, tmp_path):
    put(far, ["a", "b", "c"])
    far.delete("g", ["b"])
    layout, database = opened(home)
    made = backup(layout, database, tmp_path / "backup")
    database.close()
    homes = {"near": None, "far": f"{address}-restored", "beside": tmp_path / "vectors"}
    for name, galleries in homes.items():
        assert restore(tmp_path / "backup", tmp_path / name, galleries=galleries) == made
        with connect(tmp_path / name) as again:
            assert sorted(stored(again)) == ["a", "c"]
            put(again, ["d"])
        assert problems(tmp_path / name) == []
    assert sorted(stored(far)) == ["a", "c"]
    with pytest.raises(AlreadyExists, match="name a place that holds nothing"):
        restore(tmp_path / "backup", tmp_path / "more", galleries=address)
    next((tmp_path / "backup").rglob("data/*.lance")).unlink()
    with pytest.raises(CorruptFile):
        restore(tmp_path / "backup", tmp_path / "more", galleries=f"{address}-more")
    assert not (tmp_path / "more").exists()


def test_a_restore_that_fails_leaves_nothing_in_the_store(far, home, address, tmp_path, monkeypatch):
    from registry import backup as backups

    put(far, ["a"])
    layout, database = opened(home)
    backup(layout, database, tmp_path / "backup")
    database.close()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(backups, "_put_in_place", fail)
    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "backup", tmp_path / "new", galleries=f"{address}-new")
    assert Place(f"{address}-new").files() == []


def test_checks_and_what_was_left_behind(far, home, address, monkeypatch):
    put(far, ["a"])
    put(far, ["b"])
    assert problems(home) == []
    layout, database = opened(home)
    with (Place(address) / "gone" / "m-1.lance" / "data" / "x.lance").writer() as file:
        file.write(b"12345")
    staged = layout.segment_of("g", "m/1") / "data" / "staged.lance"
    with staged.writer() as file:
        file.write(b"123")
    assert doctor.examine(layout, database)[1] == []  # somebody may be writing them
    monkeypatch.setattr(orphans, "_LEFT_ALONE", timedelta(seconds=-2))
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta(0))
    left = {orphan.what: orphan.bytes for orphan in orphans.remove_orphans(database, layout)}
    assert left["folder of no gallery"] == 5 and left["staged data of a killed append"] == 3
    assert left["old Lance versions"] > 0
    assert doctor.examine(layout, database)[1] == []
    assert sorted(stored(far)) == ["a", "b"]
    put(far, ["c"])
    next(file for file in (layout.segment_of("g", "m/1") / "data").files()).place.remove()
    assert [line for line in problems(home) if "m-1.lance: its file data/" in line]
    with connect(home) as again, pytest.raises(CorruptFile, match="restore it from a backup"):
        stored(again)
    database.close()


def test_processes_write_at_once(far, home):
    far.register_version("line", dim=4)
    gate, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=work, args=(home, n, gate, results, 2)) for n in range(2)]
    for process in processes:
        process.start()
    done = [results.get(timeout=200) for _ in processes]
    for process in processes:
        process.join()
    assert [d for d in done if isinstance(d, str)] == []
    expected = {id for mine, _, _ in done for id in mine} | {f"shared-{t}-{i}" for t in range(2) for i in range(BATCH)}
    assert set(stored(far)) == expected
    assert sorted(turn for _, won, _ in done for turn in won) == [0, 1]
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


def test_killed_right_after_it_published(far, home):
    put(far, ["a"])
    process = SPAWN.Process(target=append_and_die, args=(home, "publish"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert sorted(stored(far)) == ["a"]
    put(far, ["x", "c"])
    assert sorted(stored(far)) == ["a", "c", "x"]


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


def test_no_more_is_asked_than_is_needed(far, home, store, rows):
    x = rows(40_000, 64)
    far.register_version("wide", dim=64)
    far.create_gallery("w", id_type="int")
    far.append("w", version="wide/1", ids=range(20_000), vectors=x[:20_000])
    asked = []
    for start in range(20_000, 40_000, 4000):
        with store.asking() as log:
            far.append("w", version="wide/1", ids=range(start, start + 4000), vectors=x[start : start + 4000])
        asked.append(len([one for one in log if one[0] != "GET" or "/data/" not in one[1]]))
    assert len({*asked[1:]}) == 1 and max(asked) <= 20  # beside the ids of each file, the same however many there are
    with store.asking() as log:
        found = far.fetch("w", ids=[17, 39_999], into="wide/1").vectors
    np.testing.assert_array_equal(found, x[[17, 39_999]])
    reads = [_span(one[2]) for one in log if "/data/" in one[1]]
    assert sum(reads) < x.nbytes / 4, "the ids and two rows, not all vectors"
    far.search("w", x[:3], version="wide/1", k=2)
    with store.asking() as log:
        far.search("w", x[3:6], version="wide/1", k=2)
    assert log == []


def _span(range):
    """How many bytes a request asked for."""
    if range is None:
        return 1 << 40
    first, last = range.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1
