"""Flipped bits in the files of a home: a clear error or the right data, and where Lance cannot tell, it is known here."""

from __future__ import annotations

import shutil
import struct
from collections import Counter

import numpy as np
import pytest

from bench.corruption import KINDS, SAME, WRONG, flip, seen
from bench.hostility import DIM, fill
from registry import connect
from registry.errors import CorruptFile, SamespaceError

CLEAR = {error.__name__ for error in (SamespaceError, *SamespaceError.__subclasses__())} | {"BadVector"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    home = tmp_path_factory.mktemp("corruption") / "home"
    with connect(home) as registry:
        fill(registry)
    return home


@pytest.fixture
def home(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "home")


def flipped(home, kind, times):
    """What came of flips in the files of a kind, all together."""
    files = [file for file in sorted(home.glob(KINDS[kind])) if file.is_file()]
    assert files, kind
    return sum((flip(file, times, lambda: seen(home)) for file in files), start=Counter())


@pytest.mark.parametrize("kind", ["transform files", "canaries files"])
def test_our_own_files_are_never_wrong(home, kind):
    assert set(flipped(home, kind, 20)) <= {"CorruptFile", SAME}


@pytest.mark.parametrize("kind", ["Lance manifests", "Lance transactions and hints", "Lance data, items"])
def test_what_is_noticed_is_said_clearly(home, kind):
    assert set(flipped(home, kind, 4)) <= CLEAR | {SAME, WRONG}


def test_a_damaged_database_is_said_clearly(home):
    # A flipped digit of a moment is still told as a ValueError: no place knows that it came from the database.
    assert set(flipped(home, "registry.db", 30)) <= CLEAR | {SAME, WRONG, "unforeseen ValueError"}


def test_lance_keeps_no_checksum_of_vectors(home):
    """Should this ever fail, Lance has learnt it, and what we say about backups and disks can be shortened."""
    found = flipped(home, "Lance data, vectors", 10)
    assert set(found) <= CLEAR | {SAME, WRONG}
    assert found[WRONG] > found.total() // 4


def test_damage_that_makes_lance_panic_is_an_error_of_ours(home):
    (file,) = (home / "galleries" / "catalog" / "products-1.lance" / "_versions").glob("*.manifest")
    data = bytearray(file.read_bytes())
    assert data[-4:] == b"LANC"
    for place in (2**30, 2**62, 2**63 - 1):
        data[-16:-8] = struct.pack("<q", place)
        file.write_bytes(data)
        with connect(home) as registry, pytest.raises(CorruptFile, match="restore it from a backup"):
            registry.search("catalog", np.ones((1, DIM)), version="products/1")


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_database_that_is_none(home, damage):
    for file in home.glob("registry.db-*"):
        file.unlink(missing_ok=True)
    (home / "registry.db").write_bytes(damage)
    if not damage:  # an empty file is a new database, and what is in the folder is nobody's
        with connect(home) as registry:
            assert registry.models() == []
        return
    with pytest.raises(SamespaceError):
        connect(home)


def test_a_page_of_the_database_that_is_noise(home):
    for file in home.glob("registry.db-*"):
        file.unlink(missing_ok=True)
    sound = (home / "registry.db").read_bytes()
    rng = np.random.default_rng(0)
    for start in range(4096, len(sound), 4096):
        data = bytearray(sound)
        data[start : start + 4096] = rng.bytes(4096)
        (home / "registry.db").write_bytes(data)
        try:
            seen(home)
        except SamespaceError as error:
            assert "\n" not in str(error)  # noqa: PT017
        for file in home.glob("registry.db-*"):
            file.unlink(missing_ok=True)


@pytest.mark.parametrize("part", ["data", "_versions"])
def test_files_of_lance_that_are_gone_or_empty(home, part):
    (file,) = [f for f in (home / "galleries/catalog/products-1.lance" / part).iterdir() if f.suffix != ".json"]
    for damage in (lambda: file.write_bytes(b""), lambda: file.write_bytes(b"\0" * 500), file.unlink):
        damage()
        with connect(home) as registry, pytest.raises(CorruptFile, match="restore it from a backup"):
            list(registry.scan("catalog", into="products/1"))
