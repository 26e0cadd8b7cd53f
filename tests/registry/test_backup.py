"""Backups: whole and consistent whoever writes meanwhile, refused when touched, restored in full or not at all."""

from __future__ import annotations

import json
import shutil
import stat
import threading
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import select

from registry import backup as backups
from registry import connect, gallery
from registry.backup import backup, restore, verified
from registry.checking import check
from registry.database import Database, address_in
from registry.errors import AlreadyExists, CorruptFile, InvalidInput, MigrationNeeded
from registry.findings import has_problem
from registry.gallery import Dataset, OpenDatasets
from registry.layout import Layout
from registry.tables import Base, OperationRow, TokenRow, WebhookRow
from registry.transforms import Orthogonal

pytestmark = pytest.mark.embedded  # it looks into the home


def database_of(home, url=None):
    return Database(url or address_in(Layout(home).database))


def take(home, target, url=None):
    database = database_of(home, url)
    try:
        return backup(Layout(home), database, target)
    finally:
        database.close()


def facts(home, url=None):
    """All rows of all tables."""
    database = database_of(home, url)
    with database.reading() as session:
        tables = Base.metadata.sorted_tables
        rows = {t.name: session.execute(select(t).order_by(*t.primary_key)).all() for t in tables}
    database.close()
    return rows


def checked(home, url=None):
    database = database_of(home, url)
    findings = check(database, Layout(home))
    database.close()
    assert not has_problem(findings), findings


def fill(reg, rows):
    """A little of everything."""
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=4, parent="m/1", tags={"why": "a test"})
    reg.set_alias("m", "live", 2)
    reg.create_gallery("g", labels=["class"])
    labels = {"class": ["x", "y", "x", "y"]}
    reg.append("g", version="m/1", ids=list("abcd"), vectors=rows(4, 4), labels=labels)
    reg.append("g", version="m/2", ids=list("abcd"), vectors=rows(4, 4, 1))
    reg.delete("g", ["d"])
    reg.create_gallery("empty", id_type="int")
    reg.add_canaries("m/1", ["one", "two"], rows(2, 4))
    turned = np.linalg.qr(rows(4, 4))[0]
    reg.add_transform(Orthogonal(weight=turned, bias=np.zeros(4)), source="m/2", target="m/1")
    reg.add_anchors("few", gallery="g", ids=["a", "b"])
    with reg._home.database.writing() as session:
        session.add(TokenRow(name="t", digest="0" * 64, role="reader", galleries=["g"]))
        session.add(WebhookRow(name="w", url="http://h", secret="s", events=["x"]))  # noqa: S106 - a test's
        session.add(OperationRow(who="t", key="k", digest="0" * 64, result=3))


@pytest.fixture(scope="module")
def full(tmp_path_factory, rows):
    """A home with a little of everything, in `home`, and a backup of it, in `b`; both to be copied."""
    folder = tmp_path_factory.mktemp("full")
    with connect(folder / "home") as reg:
        fill(reg, rows)
    take(folder / "home", folder / "b")
    return folder


@pytest.fixture
def taken(full, tmp_path):
    """The backup, to be spoiled."""
    return shutil.copytree(full / "b", tmp_path / "b")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("sqlite", "sqlite"),
        pytest.param("postgres", "sqlite", marks=pytest.mark.postgres),
        pytest.param("sqlite", "postgres", marks=pytest.mark.postgres),
    ],
)
def test_a_backup_of_either_database_restores_into_either(home, tmp_path, rows, request, source, target):
    url = {"sqlite": None}
    if "postgres" in (source, target):
        url["postgres"] = request.getfixturevalue("postgres_url")
    with connect(home, database=url[source]) as reg:
        fill(reg, rows)
        before, there = facts(home, url[source]), reg.fetch("g", ids=list("abc"), into="m/1")
    made = take(home, tmp_path / "b", url[source])
    assert verified(tmp_path / "b") == made
    assert made.galleries == 2
    new = tmp_path / "new"
    assert restore(tmp_path / "b", new, address=url[target]) == made
    assert facts(new, url[target]) == before
    assert (new / "registry.db").exists() == (target == "sqlite")
    checked(new, url[target])
    with connect(new, database=url[target]) as reg:
        again = reg.fetch("g", ids=list("abc"), into="m/1")
        np.testing.assert_array_equal(again.vectors, there.vectors)
        assert len(reg.canaries("m/1")) == 2
        # It goes on from here: every table has a next number, every dataset a next version.
        assert reg.register_version("m", dim=4).number == 3
        reg.create_gallery("next")
        reg.append("g", version="m/1", ids=["d", "e"], vectors=rows(2, 4, 2), labels={"class": ["x", "y"]})
        assert reg.delete("g", ["a"]) == 1
        assert reg.search("g", rows(2, 4, 2), version="m/1", k=1).ids[:, 0].tolist() == ["d", "e"]
        assert reg.gallery("g").items == 4
    checked(new, url[target])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "home", "new"]


class Writer(threading.Thread):
    """Appends, deletes and registers until told to stop; remembers what was acknowledged."""

    def __init__(self, home, url):
        super().__init__()
        self.home, self.url, self.stopped, self.error = home, url, threading.Event(), None
        self.stored, self.touched, self.busy = set(), set(), threading.Event()

    def run(self):
        try:
            with connect(self.home, database=self.url) as reg:
                turn = 0
                while not self.stopped.is_set():
                    ids = [f"{turn}-{i}" for i in range(3)]
                    reg.append("g", version="m/1", ids=ids, vectors=[[turn + 1, i, 1] for i in range(3)])
                    self.stored |= {turn}
                    if turn % 3 == 2:
                        self.touched |= {turn - 1}
                        reg.delete("g", [f"{turn - 1}-{i}" for i in range(3)])
                    if turn % 4 == 0:
                        reg.register_version("line", dim=3)
                    turn += 1
                    if turn == 8:
                        self.busy.set()
        except BaseException as error:
            self.error = error
            self.busy.set()


def test_a_backup_under_load_is_consistent_and_has_all_that_was_acknowledged(
    reg, home, database_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(gallery, "_SMALL_FILES", 5)  # so that files are compacted all the time
    reg.register_version("m", dim=3, metric="l2")
    reg.create_gallery("g")
    writer = Writer(home, database_url)
    writer.start()
    try:
        assert writer.busy.wait(60)
        for n in range(2):
            before = set(writer.stored)
            take(home, tmp_path / f"b{n}", database_url)
            restore(tmp_path / f"b{n}", tmp_path / f"h{n}")
            touched = set(writer.touched)
            checked(tmp_path / f"h{n}")
            with connect(tmp_path / f"h{n}") as copy:
                found = {}
                for block in copy.scan("g", into="m/1"):
                    found |= dict(zip(block.ids.tolist(), block.vectors.tolist(), strict=True))
                turns = {int(id.split("-")[0]) for id in found}
                assert all(found[f"{t}-{i}"] == [t + 1, i, 1] for t in turns for i in range(3))
                assert len(found) == 3 * len(turns) == copy.gallery("g").items == copy.gallery("g").segments[0].rows
                assert before - touched <= turns
                copy.append("g", version="m/1", ids=["new"], vectors=[[9, 9, 9]])
                assert copy.search("g", [[9, 9, 9]], version="m/1", k=1).ids[0, 0] == "new"
    finally:
        writer.stopped.set()
        writer.join(60)
    assert writer.error is None


def test_a_state_that_was_just_replaced_stays_however_old_it_is(lite, home, monkeypatch):
    monkeypatch.setattr(gallery, "_SMALL_FILES", 1)  # so that every append clears up
    monkeypatch.setattr(gallery, "KEPT_FOR", timedelta(seconds=1))
    lite.register_version("m", dim=2)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a"], vectors=[[1, 0]])
    lite.append("g", version="m/1", ids=["b"], vectors=[[1, 0]])
    resting = lite.gallery("g").segments[0].lance_version
    threading.Event().wait(1.2)
    for id in "cd":  # the second finds that `resting` was written long ago, and replaced just now
        lite.append("g", version="m/1", ids=[id], vectors=[[1, 0]])
    dataset = Dataset(str(Layout(home).segment_of("g", "m/1")), OpenDatasets())
    assert dataset.at(resting).count_rows() == 2
    with pytest.raises(CorruptFile):
        dataset.at(1)


def test_nobody_else_may_read_a_backup(full, tmp_path):
    restore(full / "b", tmp_path / "new")
    for root in (full / "b", tmp_path / "new"):
        modes = {stat.S_IMODE(p.stat().st_mode): p for p in (root, *root.rglob("*"))}
        assert modes.keys() == {0o700, 0o600}, modes


def changed(text):
    def change(folder):
        file = folder / "manifest.json"
        file.write_text(text(json.loads(file.read_text())))

    return change


def cut(folder):
    file = next((folder / "files" / "galleries").rglob("data/*.lance"))
    file.write_bytes(file.read_bytes()[:-1])


def flipped(folder):
    data = bytearray((folder / "facts.db").read_bytes())
    data[5000] ^= 1
    (folder / "facts.db").write_bytes(data)


def linked(folder):
    file = next((folder / "files" / "transforms").iterdir())
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")


TAMPERED = {
    "a byte less": (cut, CorruptFile, "fails its checksum"),
    "a byte changed": (flipped, CorruptFile, r"facts\.db fails its checksum"),
    "a file gone": (lambda f: next((f / "files/canaries").iterdir()).unlink(), CorruptFile, "is missing"),
    "a link": (linked, CorruptFile, "is missing"),
    "another manifest": (changed(lambda m: json.dumps({**m, "galleries": 7})), CorruptFile, "fails its checksum"),
    "half a manifest": (changed(lambda m: json.dumps(m)[:99]), CorruptFile, "no manifest"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), InvalidInput, "was stopped"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_backup_that_was_touched_is_refused(taken, tmp_path, how):
    tamper, error, says = TAMPERED[how]
    tamper(taken)
    with pytest.raises(error, match=says):
        restore(taken, tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def forged(folder, **change):
    """Change the manifest, and its checksum with it."""
    content = json.loads((folder / "manifest.json").read_text()) | change
    del content["sha256"]
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": backups._digest(content)}))


def test_a_manifest_leads_nowhere_else(taken, tmp_path):
    for path in ("files/../../x", "/etc/passwd", "files/x", "registry.db"):
        forged(taken, files=[{"path": path, "bytes": 0, "sha256": ""}])
        with pytest.raises(CorruptFile):
            restore(taken, tmp_path / "new")


def test_a_backup_of_another_release(lite, home, tmp_path, rows):
    lite.register_version("m", dim=4)
    made = take(home, tmp_path / "b")
    # One of an older release is brought to this one's revision.
    facts_file = tmp_path / "b" / "facts.db"
    old = Database(address_in(facts_file))
    old.downgrade("0002")
    old.close()
    entry = {"path": "facts.db", "bytes": facts_file.stat().st_size}
    entry["sha256"] = backups.digest_of_file(facts_file, lambda _: None)
    forged(tmp_path / "b", files=[entry], revision="0002")
    assert restore(tmp_path / "b", tmp_path / "new").revision == "0002"
    with connect(tmp_path / "new") as reg:
        assert reg.version("m/1").dim == 4
    forged(tmp_path / "b", revision="9999")
    with pytest.raises(MigrationNeeded, match="upgrade samespace"):
        restore(tmp_path / "b", tmp_path / "newer")
    assert made.revision > "0002"
    # Nor does a backup change the database that it reads.
    database = database_of(home)
    database.downgrade("0002")
    with pytest.raises(MigrationNeeded, match="db upgrade"):
        take(home, tmp_path / "c")
    assert database.revision() == "0002"
    assert not (tmp_path / "c").exists()


def test_what_is_there_is_never_overwritten(lite, home, tmp_path):
    take(home, tmp_path / "b")
    with pytest.raises(AlreadyExists, match="holds something"):
        take(home, tmp_path / "b")
    with pytest.raises(AlreadyExists, match="holds something"):
        restore(tmp_path / "b", home)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="is a file"):
        take(home, tmp_path / "file")
    (tmp_path / "free").mkdir()
    restore(tmp_path / "b", tmp_path / "free")
    checked(tmp_path / "free")


@pytest.mark.postgres
def test_a_database_that_is_in_use_is_left_alone(lite, home, tmp_path, postgres_url):
    take(home, tmp_path / "b")
    with connect(tmp_path / "other", database=postgres_url) as reg:
        reg.register_version("mine", dim=2)
    with pytest.raises(AlreadyExists, match="name an empty database"):
        restore(tmp_path / "b", tmp_path / "new", address=postgres_url)
    assert not (tmp_path / "new").exists()
    with connect(tmp_path / "other", database=postgres_url) as reg:
        assert [v.ref for v in reg.versions()] == ["mine/1"]


def test_a_backup_that_fails_leaves_nothing(full, home, tmp_path):
    shutil.copytree(full / "home", home)
    next((home / "transforms").iterdir()).unlink()
    (tmp_path / "mounted").mkdir()
    for target in ("new", "mounted"):
        with pytest.raises(CorruptFile, match="db check"):
            take(home, tmp_path / target)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "mounted").iterdir()) == []


@pytest.mark.postgres
def test_a_restore_that_fails_leaves_nothing(taken, tmp_path, postgres_url, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backups, "copy_facts", fail)
        with pytest.raises(KeyboardInterrupt):
            restore(taken, tmp_path / "new", address=postgres_url)
    with monkeypatch.context() as patch:
        patch.setattr(backups, "_put_in_place", fail)
        with pytest.raises(KeyboardInterrupt):
            restore(taken, tmp_path / "new")
    with monkeypatch.context() as patch:  # the commit fails, after the folder was put in place
        patch.setattr(Database, "building", building_that_fails)
        with pytest.raises(ZeroDivisionError):
            restore(taken, tmp_path / "new", address=postgres_url)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]
    assert Database(postgres_url).revision() is None
    restore(taken, tmp_path / "new", address=postgres_url)
    checked(tmp_path / "new", postgres_url)


@contextmanager
def building_that_fails(database, real=Database.building):
    """`Database.building`, whose commit fails."""
    with real(database) as connection:
        yield connection
        raise ZeroDivisionError
