"""`align.data.embeddings`: Parquet and .npy in chunks, and what of them is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data import Embeddings, embeddings, gather
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound, SamespaceError

N, DIM = 50, 6


@pytest.fixture
def vectors(rows):
    return rows(N, DIM)


def lists(x, kind="fixed"):
    """Vectors (n, d) as an Arrow column."""
    value = pa.from_numpy_dtype(x.dtype)
    types = {"fixed": pa.list_(value, x.shape[1]), "list": pa.list_(value), "large": pa.large_list(value)}
    return pa.array(list(x), types[kind])


def attempt(action):
    """What an action gives, or the error of ours that it raises."""
    try:
        return action()
    except SamespaceError as error:
        return error


def write(path, x, *, kind="fixed", rows=16, **columns):
    table = pa.table({"id": [f"item {i}" for i in range(len(x))], "vector": lists(x, kind), **columns})
    pq.write_table(table, path, row_group_size=rows)
    return path


class TestParquet:
    @pytest.mark.parametrize("kind", ["fixed", "list", "large"])
    @pytest.mark.parametrize(("given", "read"), [("f2", "f2"), ("f4", "f4"), ("f8", "f4")])
    def test_reads_what_was_written(self, tmp_path, vectors, kind, given, read):
        x = vectors.astype(given)
        path = write(tmp_path / "v.parquet", x, kind=kind, **{"class": np.arange(N) % 3})
        chunks = list(embeddings(path, labels={"kind": "class"}, rows=7))
        assert max(map(len, chunks)) <= 7 and sum(map(len, chunks)) == N
        assert np.array_equal(np.concatenate([c.vectors for c in chunks]), x.astype(read))
        assert chunks[0].vectors.dtype == np.dtype(read)
        assert [id for c in chunks for id in c.ids] == [f"item {i}" for i in range(N)]
        assert np.array_equal(np.concatenate([c.labels["kind"] for c in chunks]), np.arange(N) % 3)

    def test_names_of_columns_and_ids_that_are_given(self, tmp_path, vectors):
        table = pa.table({"key": np.arange(N, dtype=np.uint32), "emb": lists(vectors)})
        pq.write_table(table, tmp_path / "v.bin")  # known by its content
        whole = gather(embeddings(tmp_path / "v.bin", ids="key", vector="emb", rows=8))
        assert (whole.ids.dtype, whole.ids.tolist()) == (np.int64, list(range(N)))
        given_ids = gather(embeddings(tmp_path / "v.bin", ids=np.arange(N)[::-1], vector="emb", rows=8))
        assert given_ids.ids.tolist() == list(range(N))[::-1]
        assert np.array_equal(given_ids.vectors, vectors)

    def test_dictionaries_are_text(self, tmp_path, vectors):
        names = pa.array(["a", "b"] * (N // 2)).dictionary_encode()
        path = write(tmp_path / "v.parquet", vectors, name=names)
        assert gather(embeddings(path, labels={"name": "name"}, rows=9)).labels["name"].tolist() == ["a", "b"] * (
            N // 2
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"vector": "no"}, "no columns 'no': it has id, vector, flag"),
            ({"vector": "id"}, "column 'id' must hold a list of numbers, got string"),
            ({"ids": "no"}, "no columns 'no'"),
            ({"ids": "flag"}, "whole numbers or text, got bool"),
            ({"labels": {"class": "vector"}}, "whole numbers or text"),
            ({"ids": np.arange(3)}, "3 ids for 50 vectors"),
            ({"labels": {"class": [0.5] * N}}, "labels 'class' must be whole numbers or texts"),
            ({"ids": np.zeros((N, 2), int)}, "ids must be whole numbers or texts"),
            ({"rows": 0}, "rows must be at least 1"),
        ],
    )
    def test_refuses_before_it_reads(self, tmp_path, vectors, options, message):
        path = write(tmp_path / "v.parquet", vectors, flag=[True] * N)
        with pytest.raises(InvalidInput, match=message):
            embeddings(path, **options)

    def test_a_column_twice(self, tmp_path, vectors):
        table = pa.Table.from_arrays(
            [lists(vectors), lists(vectors), pa.array(range(N))], names=["vector", "vector", "id"]
        )
        pq.write_table(table, tmp_path / "v.parquet")
        with pytest.raises(InvalidInput, match="2 columns 'vector'"):
            embeddings(tmp_path / "v.parquet")

    @pytest.mark.parametrize(
        ("column", "values", "message", "error"),
        [
            ("vector", [[1.0, 2.0]] * 20 + [[1.0]], "1 values in row 20, 2 before", DimensionMismatch),
            ("vector", [[1.0, 2.0]] * 20 + [None], "no value in row 20", InvalidInput),
            ("vector", [[1.0, 2.0]] * 20 + [[1.0, None]], "no value in row 20", InvalidInput),
            ("id", [*range(20), None], "no value in row 20", InvalidInput),
            ("id", [*map(str, range(20)), None], "no value in row 20", InvalidInput),
        ],
    )
    def test_names_the_row_that_is_wrong(self, tmp_path, column, values, message, error):
        columns = {"id": list(range(21)), "vector": [[1.0, 2.0]] * 21, column: values}
        pq.write_table(pa.table(columns), tmp_path / "v.parquet", row_group_size=8)
        with pytest.raises(error, match=message):
            list(embeddings(tmp_path / "v.parquet", rows=8))

    def test_ids_beyond_64_bits(self, tmp_path):
        pq.write_table(pa.table({"id": pa.array([2**64 - 1], pa.uint64()), "vector": [[1.0]]}), tmp_path / "v.parquet")
        with pytest.raises(InvalidInput, match="beyond 64 bits"):
            list(embeddings(tmp_path / "v.parquet"))

    def test_text_that_is_none(self, tmp_path, vectors):
        table = pq.read_table(write(tmp_path / "v.parquet", vectors))
        path = tmp_path / "v.parquet"
        pq.write_table(table, path, compression="none")
        path.write_bytes(path.read_bytes().replace(b"item 7", b"item\xff7"))
        with pytest.raises(CorruptFile, match=r"v\.parquet cannot be read as Parquet"):
            list(embeddings(path))

    @settings(deadline=None, max_examples=60)
    @given(place=st.integers(0, 100_000), change=st.integers(1, 255), cut=st.booleans())
    def test_damage_is_an_error_of_ours(self, tmp_path_factory, place, change, cut):
        folder = tmp_path_factory.mktemp("damage")
        path = folder / "v.parquet"
        table = pa.table({"id": list(range(20)), "vector": lists(np.ones((20, 3), np.float32))})
        pq.write_table(table, path, write_page_checksum=True)
        data = bytearray(path.read_bytes())
        place %= len(data)
        data[place] ^= change
        path.write_bytes(bytes(data[:place]) if cut else bytes(data))
        found = attempt(lambda: list(embeddings(path)))
        if isinstance(found, list):
            assert all(chunk.vectors.ndim == 2 for chunk in found)
        else:
            assert len(str(found).splitlines()) == 1

    def test_memory_does_not_grow_with_the_file(self, tmp_path):
        """One row group of 310 MB, in a process that may not hold it: read in blocks, and put together on disk."""
        x = np.random.default_rng(0).standard_normal((160_000, 512), dtype=np.float32)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 512)
        pq.write_table(
            pa.table({"id": np.arange(len(x)), "vector": flat}), tmp_path / "v.parquet", row_group_size=len(x)
        )
        code = f"""
import re, threading, time
from align.data import embeddings, gather
def held():
    return int(re.search(r"RssAnon:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
before, peak = held(), 0.0
def watch():
    global peak
    while True:
        peak = max(peak, held())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
given = gather(embeddings({str(tmp_path / "v.parquet")!r}, rows=2048), folder={str(tmp_path)!r})
print(len(given), float(given.vectors[-1, -1]), peak - before)
"""
        environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        n, last, grew = done.stdout.split()
        assert (int(n), float(last)) == (160_000, pytest.approx(float(x[-1, -1])))
        assert float(grew) < 160, "MB; the vectors alone are 312"
        assert [p.name for p in tmp_path.iterdir()] == ["v.parquet"], "the temporary file has no name to be left behind"


class TestNpy:
    def test_positions_are_the_ids(self, tmp_path, vectors):
        np.save(tmp_path / "v.npy", vectors)
        chunks = list(embeddings(tmp_path / "v.npy", rows=20, labels={"class": ["a"] * N}))
        assert [len(c) for c in chunks] == [20, 20, 10]
        assert np.array_equal(np.concatenate([c.vectors for c in chunks]), vectors)
        assert np.concatenate([c.ids for c in chunks]).tolist() == list(range(N))
        assert chunks[2].labels["class"].tolist() == ["a"] * 10

    def test_is_mapped_not_read(self, tmp_path, vectors):
        np.save(tmp_path / "v.npy", vectors)
        chunk = next(embeddings(tmp_path / "v.npy"))
        assert not chunk.vectors.flags.owndata and not chunk.vectors.flags.writeable

    @pytest.mark.parametrize(
        ("array", "error", "message"),
        [
            (np.zeros(4), InvalidInput, "must be a matrix"),
            (np.zeros((2, 2, 2)), InvalidInput, "must be a matrix"),
            (np.float32(1), CorruptFile, "neither Parquet nor"),
            (np.array([["a"]]), InvalidInput, "floating-point numbers"),
            (np.zeros((2, 2), complex), InvalidInput, "floating-point numbers"),
        ],
    )
    def test_other_arrays(self, tmp_path, array, error, message):
        np.save(tmp_path / "v.npy", array)
        with pytest.raises(error, match=message):
            embeddings(tmp_path / "v.npy")

    def test_objects(self, tmp_path):
        np.save(tmp_path / "v.npy", np.array([[{}]], dtype=object), allow_pickle=True)
        with pytest.raises(CorruptFile, match="neither Parquet nor") as caught:
            embeddings(tmp_path / "v.npy")
        assert "pickle" not in str(caught.value)

    def test_columns_need_a_table(self, tmp_path, vectors):
        np.save(tmp_path / "v.npy", vectors)
        with pytest.raises(InvalidInput, match="a matrix without columns, got the name 'id'"):
            embeddings(tmp_path / "v.npy", ids="id")

    @pytest.mark.parametrize("name", ["x.npz", "x.txt", "x.parquet", "x.pkl"])
    def test_other_files(self, tmp_path, name):
        if name == "x.npz":
            np.savez(tmp_path / name, v=np.ones((2, 2)))
        else:
            (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(CorruptFile, match=name):
            embeddings(tmp_path / name)

    def test_no_file(self, tmp_path):
        with pytest.raises(NotFound, match="no file"):
            embeddings(tmp_path / "none.npy")


class TestGather:
    def test_nothing(self, tmp_path):
        np.save(tmp_path / "v.npy", np.zeros((0, 3), np.float32))
        with pytest.raises(InvalidInput, match="empty"):
            gather(embeddings(tmp_path / "v.npy"))

    def test_what_does_not_go_together(self, vectors):
        one = Embeddings(np.arange(N), vectors)
        with pytest.raises(DimensionMismatch, match="4 dimensions, the first one 6"):
            gather([one, Embeddings(np.arange(N), vectors[:, :4])])
        with pytest.raises(InvalidInput, match=r"float32 .* float16"):
            gather([one, Embeddings(np.arange(N), vectors.astype(np.float16))])
        with pytest.raises(InvalidInput, match="'class'"):
            gather([one, Embeddings(np.arange(N), vectors, {"class": np.arange(N)})])

    def test_lengths(self, vectors):
        with pytest.raises(InvalidInput, match="3 ids for 50 vectors"):
            Embeddings(np.arange(3), vectors)
