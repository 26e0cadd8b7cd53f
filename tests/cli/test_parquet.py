"""`samespace gallery append` from Parquet: ids, vectors and labels out of one file, all or nothing."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import connect


@pytest.fixture
def call(samespace, tmp_path):
    def run(*arguments, code=0):
        return samespace("--home", tmp_path / "home", *arguments, code=code)

    run("model", "register", "m", "--dim", "8")
    run("model", "register", "half", "--dim", "8")
    run("benchmark", "create", "bench", "--label", "class")
    return run


@pytest.fixture
def vectors(rows):
    return rows(40, 8)


def write(path, vectors, **columns):
    table = {"id": [f"item {i}" for i in range(len(vectors))], "class": [i % 4 for i in range(len(vectors))]}
    table["vector"] = pa.array(list(vectors), pa.list_(pa.float32(), 8))
    pq.write_table(pa.table({**table, **columns}), path, row_group_size=9)
    return path


def test_ids_labels_and_vectors_come_from_their_columns(call, tmp_path, vectors):
    path = write(tmp_path / "v.parquet", vectors)
    said = call("--json", "gallery", "append", "bench", "--version", "m/1", "--vectors", path)
    assert json.loads(said.stdout) == {"gallery": "bench", "version": "m/1", "rows": 40}
    with connect(tmp_path / "home") as reg:
        given = reg.fetch("bench", ids=["item 0", "item 39"], into="m/1")
        assert np.array_equal(given.vectors, vectors[[0, 39]])
    report = call("evaluate", "bench")
    assert "m/1" in report.stdout, "the labels are there, so it can be measured"


def test_columns_of_other_names_and_ids_that_are_numbers(call, tmp_path, vectors):
    call("benchmark", "create", "numbers", "--id-type", "int", "--label", "kind")
    path = write(tmp_path / "v.pq", vectors, key=np.arange(40), emb=pa.array(list(vectors * 2)))
    call(
        "gallery", "append", "numbers", "--version", "m/1", "--vectors", path, "--ids", "key", "--vector-column", "emb",
        "-l", "kind=class",
    )  # fmt: skip
    with connect(tmp_path / "home") as reg:
        assert np.array_equal(reg.fetch("numbers", ids=[7], into="m/1").vectors, 2 * vectors[[7]])
        assert reg.gallery("numbers").items == 40


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"vector": [[1.0] * 8] * 39 + [[float("nan")] * 8]}, (), "vectors row 39 holds NaN"),
        ({"vector": [[1.0] * 8] * 39 + [[0.0] * 8]}, (), "vectors row 39 holds only zeros"),
        ({"vector": [[1.0] * 8] * 39 + [[1.0] * 7]}, (), "holds 7 values in row 39, 8 before"),
        ({"vector": [[1.0] * 7] * 40}, (), "vectors have 7 dimensions, the space has 8"),
        ({"vector": ["text"] * 40}, (), "must hold a list of numbers, got string"),
        ({"id": ["same"] * 40}, (), "id 'same' stands twice"),
        ({"id": [None, *map(str, range(39))]}, (), "column 'id' has no value in row 0"),
        ({"id": list(range(40))}, (), "ids of this gallery are of type string"),
        ({"class": [0] * 39 + [None]}, (), "column 'class' has no value in row 39"),
        ({}, ("--ids", "key"), "no columns 'key': it has id, class, vector"),
        ({}, ("--vector-column", "emb"), "no columns 'emb'"),
        ({}, ("-l", "colour=class"), "has no label column 'colour'"),
        ({}, ("-l", "class"), "--labels takes KEY=VALUE"),
        ({}, ("--version", "m/9"), "m/9"),
    ],
)
def test_mistakes_are_one_line_and_store_nothing(call, tmp_path, vectors, change, options, said):
    path = write(tmp_path / "v.parquet", vectors, **change)
    done = call("gallery", "append", "bench", "--version", "m/1", "--vectors", path, *options, code=1)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert json.loads(call("--json", "gallery", "list").stdout)[0]["items"] == 0


def test_new_items_need_their_labels(call, tmp_path, vectors):
    table = pq.read_table(write(tmp_path / "v.parquet", vectors)).drop_columns(["class"])
    pq.write_table(table, tmp_path / "v.parquet")
    append = ("gallery", "append", "bench", "--vectors", tmp_path / "v.parquet", "--version")
    assert "give its label 'class'" in call(*append, "m/1", code=1).stderr
    call("gallery", "append", "bench", "--version", "m/1", "--vectors", write(tmp_path / "w.parquet", vectors))
    call(*append, "half/1")  # its items are known by now


def test_files_that_are_none(call, tmp_path, vectors):
    (tmp_path / "v.parquet").write_bytes(write(tmp_path / "w.parquet", vectors).read_bytes()[:200])
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("v.parquet", "text.parquet"):
        done = call("gallery", "append", "bench", "--version", "m/1", "--vectors", tmp_path / name, code=1)
        assert f"{name} cannot be read as Parquet" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_matrix_has_no_columns(call, tmp_path, vectors):
    np.save(tmp_path / "v.npy", vectors)
    append = ("gallery", "append", "bench", "--version", "m/1", "--vectors", tmp_path / "v.npy")
    assert "give one of the two" in call(*append, code=2).stderr
    done = call(*append, "--ids", tmp_path / "v.npy", "--vector-column", "vector", code=2)
    assert "--vector-column names a column of a Parquet file" in done.stderr
