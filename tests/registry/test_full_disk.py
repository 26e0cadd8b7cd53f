"""A disk without room: what is told, that nothing acknowledged is lost, and that it works again when there is room."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from registry import connect
from registry.backup import backup, restore
from registry.checking import check
from registry.database import Database, address_in
from registry.errors import Unavailable
from registry.findings import has_problem
from registry.layout import Layout
from registry.transforms import Orthogonal

pytestmark = pytest.mark.embedded


@contextmanager
def room(size):
    """Let no file of this process grow beyond `size` bytes: a write that would is refused, as on a full disk."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def held(lite, rows):
    lite.register_version("m", dim=256)
    lite.register_version("m", dim=256)
    lite.create_gallery("g", id_type="int")
    lite.append("g", version="m/1", ids=range(2000), vectors=rows(2000, 256))  # 2 MB
    return lite


def whole(reg, home, rows, items):
    found = np.concatenate([block.vectors for block in reg.scan("g", into="m/1")])
    np.testing.assert_array_equal(found[:2000], rows(2000, 256))
    assert len(found) == reg.gallery("g").items == items
    database = Database(address_in(home / "registry.db"))
    assert not has_problem(check(database, Layout(home)))
    database.close()


def test_appends(held, home, rows):
    files = len(list((home / "galleries").rglob("data/*")))
    batch = {"version": "m/1", "ids": range(5000, 7000), "vectors": rows(2000, 256, seed=1)}
    with room(1 << 20):
        with pytest.raises(Unavailable, match=r"m-1\.lance cannot be written: .*nothing was stored") as refused:
            held.append("g", **batch)
        assert "\n" not in str(refused.value)
        whole(held, home, rows, 2000)
        assert held.append("g", version="m/1", ids=[9999], vectors=rows(1, 256, seed=2)) == 1  # for which there is room
    assert held.append("g", **batch) == 2000
    whole(held, home, rows, 4001)
    assert len(list((home / "galleries").rglob("data/*"))) == files + 4, "what was half written is gone"


def test_backups_and_restores(held, home, rows, tmp_path):
    database = Database(address_in(home / "registry.db"))
    with room(1 << 20), pytest.raises(Unavailable, match=r"cannot be written: .*no backup was made"):
        backup(Layout(home), database, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    backup(Layout(home), database, tmp_path / "backup")
    database.close()
    with room(1 << 20), pytest.raises(Unavailable, match=r"cannot be made: .*nothing was restored"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "home"]
    restore(tmp_path / "backup", tmp_path / "new")
    with connect(tmp_path / "new") as again:
        whole(again, tmp_path / "new", rows, 2000)


def test_files_of_transforms(held, home):
    big = Orthogonal(weight=np.linalg.qr(np.random.default_rng(0).standard_normal((256, 256)))[0], bias=np.zeros(256))
    with room(1 << 16), pytest.raises(Unavailable, match=r"safetensors cannot be written: .*nothing was stored"):
        held.add_transform(big, source="m/2", target="m/1")
    assert list((home / "transforms").iterdir()) == [] and held.transforms() == []
    held.add_transform(big, source="m/2", target="m/1")
    assert len(held.search("g", np.ones((1, 256)), version="m/2", k=3, allow_unmeasured=True).ids[0]) == 3


FULL = """
import sys, zlib
from pathlib import Path
import numpy as np
from registry import connect
from registry.errors import Unavailable

home = Path(sys.argv[1])
filler = home / "filler"
filler.write_bytes(bytes(2 << 20))
vectors = np.random.default_rng(0).standard_normal((40_000, 64)).astype("f")
with connect(home / "home") as reg:
    reg.register_version("m", dim=64)
    reg.create_gallery("g", id_type="int")
    stored, refused = 0, 0
    while stored < len(vectors) and not refused:
        part = vectors[stored : stored + 2000]
        try:
            stored += reg.append("g", version="m/1", ids=range(stored, stored + 2000), vectors=part)
        except Unavailable as error:
            print(error)
            refused = 1
    assert 0 < stored < len(vectors)
    def there():
        return np.concatenate([block.vectors for block in reg.scan("g", into="m/1")])
    assert np.array_equal(there(), vectors[:stored])
    filler.unlink()
    part = vectors[stored : stored + 2000]
    stored += reg.append("g", version="m/1", ids=range(stored, stored + 2000), vectors=part)
    assert np.array_equal(there(), vectors[:stored]) and reg.gallery("g").items == stored
print("whole")
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="a small file system needs unshare")
def test_a_file_system_that_fills_up(tmp_path):
    """A file system of 10 MB, mounted where only the child sees it."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    shell = 'mount -t tmpfs -o size=10m none "$0" || exit 77; exec "$@"'
    child = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(
        [*mount, shell, str(tmp_path), *child],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small file system can be mounted here: {done.stderr:.200}")
    assert done.returncode == 0, done.stderr
    told, end = done.stdout.splitlines()
    assert (end == "whole" and "cannot be written" in told) or "disk is full" in told
