"""Galleries in an object store: the same answers as in a folder, and the address is remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from registry import connect, doctor, gallery, orphans, stores
from registry.backup import backup, restore
from registry.errors import AlreadyExists, CorruptFile, InvalidInput
from registry.places import Place
from tests.registry.conftest import opened, problems, put
from tests.registry.test_processes import stored
from web import create_app
from web.current import registry_of

pytestmark = pytest.mark.embedded


def test_everything_is_as_in_a_folder(tmp_path, address, rows):
    x, y = rows(60, 4), rows(60, 4, seed=1)
    labels = {"class": [i % 5 for i in range(60)]}
    found = []
    for name, place in (("near", None), ("far", address)):
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
    app = create_app(home, galleries=address)
    assert app.test_client().get("/api/v1/versions/m/1", base_url="http://localhost").json["dim"] == 4
    registry_of(app).close()


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


def test_small_files_are_merged_and_old_states_go(far, home, monkeypatch):
    monkeypatch.setattr(gallery, "_SMALL_FILES", 2)
    put(far, ["a"])
    early = far.scan("g", into="m/1")
    for n in range(4):
        put(far, [f"i{n}"])
    layout, database = opened(home)
    segment, version = layout.segment_of("g", "m/1"), far.gallery("g").segments[0].lance_version
    assert len(far._home.segment("g", "m/1").at(version).get_fragments()) < 5
    assert [id for block in early for id in block.ids] == ["a"]  # whoever began to read goes on
    before = len((segment / "_versions").files())
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta(0))
    for n in range(4, 6):
        put(far, [f"i{n}"])
    assert len((segment / "_versions").files()) < before
    assert sorted(stored(far)) == ["a", *(f"i{n}" for n in range(6))]
    assert problems(home) == []
    database.close()


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
