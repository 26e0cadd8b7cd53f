"""`samespace gallery export`, and what was exported read back: appended, and attached."""

import json
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from registry import connect
from registry.exporting import export
from registry.transforms import Prefix
from registry.types import Embeddings


@pytest.fixture
def call(samespace, tmp_path, rows):
    def run(*arguments, code=0):
        return samespace("--home", tmp_path / "home", *arguments, code=code)

    with connect(tmp_path / "home") as reg:
        reg.register_version("m", dim=8)
        reg.register_version("m", dim=4)
        reg.add_transform(Prefix(from_dim=8, to_dim=4), source="m/1", target="m/2")
        for name, ids in (("texts", [f"é {i}" for i in range(50)]), ("numbers", np.arange(50) * 3)):
            reg.create_gallery(name, id_type="string" if name == "texts" else "int")
            reg.append(name, version="m/1", ids=ids, vectors=rows(50, 8))
    return run


@pytest.mark.parametrize("name", ["texts", "numbers"])
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_gallery_goes_out_and_comes_back(call, tmp_path, rows, name, form):
    target = tmp_path / ("out/all.parquet" if form == "parquet" else "out/all")
    said = call("--json", "gallery", "export", name, target, "--into", "m/1")
    assert json.loads(said.stdout)["rows"] == 50
    assert [p.name for p in target.parent.iterdir()] == [target.name], "nothing is left beside it"
    with connect(tmp_path / "home") as reg:
        id_type = reg.gallery(name).id_type
        reg.create_gallery("again", id_type=id_type)
        attached = reg.attach("there", version="m/1", kind=form, where=str(target))
        assert (attached.items, attached.id_type) == (50, id_type)
    vectors = (
        ("--vectors", target)
        if form == "parquet"
        else ("--vectors", target / "vectors.npy", "--ids", target / "ids.npy")
    )
    call("gallery", "append", "again", "--version", "m/1", *vectors)
    with connect(tmp_path / "home") as reg:
        ids = next(block.ids for block in reg.scan(name, into="m/1"))
        for other in ("again", "there"):
            assert np.array_equal(reg.fetch(other, ids=ids, into="m/1").vectors, rows(50, 8))


def test_it_is_mapped_into_the_space_that_is_asked_for(call, tmp_path, rows):
    done = call("gallery", "export", "texts", tmp_path / "v.parquet", "--into", "m/2", code=1)
    assert "nobody measured" in done.stderr or "measured" in done.stderr
    call("gallery", "export", "texts", tmp_path / "v.parquet", "--into", "m/2", "--allow-unmeasured")
    found = np.stack(pq.read_table(tmp_path / "v.parquet")["vector"].to_numpy())
    cut = rows(50, 8)[:, :4]
    assert np.allclose(found, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)


def test_mistakes_are_one_line_and_write_nothing(call, tmp_path):
    (tmp_path / "there").mkdir()
    with connect(tmp_path / "home") as reg:
        reg.create_gallery("empty")
    for name, target, said in (
        ("texts", "there", "exists"),
        ("empty", "a.parquet", "nothing to export"),
        ("empty", "b", "nothing"),
    ):
        done = call("gallery", "export", name, tmp_path / target, "--into", "m/1", code=1)
        assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "there"]


def test_one_long_id_takes_its_room_a_block_at_a_time(tmp_path, rows):
    long = "é" * 512
    blocks = [
        Embeddings(np.array(ids, object), rows(len(ids), 2), "m/1", {}) for ids in ([*map(str, range(50_000))], [long])
    ]
    tracemalloc.start()
    assert export(blocks, tmp_path / "v") == 50_001
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50e6 < (tmp_path / "v" / "ids.npy").stat().st_size
    found = np.load(tmp_path / "v" / "ids.npy", mmap_mode="r")
    assert found[[0, 49_999, 50_000]].tolist() == ["0", "49999", long]


def test_a_scan_that_fails_leaves_nothing(call, tmp_path):
    def blocks():
        with connect(tmp_path / "home") as reg:
            yield from reg.scan("texts", into="m/1", rows=10)
        raise RuntimeError("lost")

    for target in (tmp_path / "v.parquet", tmp_path / "v"):
        with pytest.raises(RuntimeError):
            export(blocks(), target)
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
