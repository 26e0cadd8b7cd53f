"""`align.data`: splits, ids, filters, files."""

from __future__ import annotations

import numpy as np
import pytest

from align import data
from align.data import Dataset, load, parse_classes
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound


def arrays(n=6, m=4, shape=(1, 8, 8), classes=2):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 255, (n, *shape)).astype(np.uint8),
        "y_train": np.arange(n) % classes,
        "x_test": rng.integers(0, 255, (m, *shape)).astype(np.uint8),
        "y_test": np.arange(m) % classes,
    }


class TestDigits:
    def test_is_whole_stratified_and_typed(self):
        d = load("digits", seed=3)
        assert (d.x_train.dtype, d.y_train.dtype, d.in_shape) == (np.uint8, np.int64, (1, 8, 8))
        assert len(d.x_train) + len(d.x_test) == 1797
        assert np.array_equal(np.sort(np.concatenate([d.ids_train, d.ids_test])), np.arange(1797))
        assert np.abs(np.bincount(d.y_train) - np.bincount(d.y_test)).max() <= 1
        assert d.x_train.max() == 16

    def test_seed_decides_the_split_and_ids_name_items_in_every_split(self):
        a, again, b = load("digits", seed=0), load("digits", seed=0), load("digits", seed=1)
        assert a.digest() == again.digest() != b.digest()
        by_id = {int(i): x for i, x in zip(b.ids_train, b.x_train, strict=True)}
        for i, x in zip(a.ids_train, a.x_train, strict=True):
            if int(i) in by_id:
                assert np.array_equal(x, by_id[int(i)])

    def test_only_keeps_labels(self):
        d = load("digits").only("0-4")
        assert set(d.y_train) == set(d.y_test) == set(range(5))
        assert d.class_names == tuple("0123456789")
        assert len(d.ids_train) == len(d.x_train)


class TestParseClasses:
    @pytest.mark.parametrize(
        ("text", "labels"), [("0-4", (0, 1, 2, 3, 4)), (" 7 , 1-2,2", (1, 2, 7)), ([3, 1], (1, 3)), ("9", (9,))]
    )
    def test_reads(self, text, labels):
        assert parse_classes(text, count=10) == labels

    @pytest.mark.parametrize("text", ["", "a", "4-2", "0-10", "1,,2", "-1", [], "1-2-3", [-1]])
    def test_refuses(self, text):
        with pytest.raises(InvalidInput, match="classes"):
            assert not parse_classes(text, count=10)


class TestFile:
    def test_reads_back(self, tmp_path):
        np.savez(tmp_path / "mine.npz", **arrays(), class_names=np.array(["cat", "dog"]))
        d = load(tmp_path / "mine.npz")
        assert (d.name, d.class_names, d.y_train.dtype) == ("mine", ("cat", "dog"), np.int64)
        assert d.ids_test.tolist() == [6, 7, 8, 9]

    def test_missing_file(self, tmp_path):
        with pytest.raises(NotFound, match="use 'digits' or the path"):
            load(tmp_path / "no.npz")

    def test_pickled_objects_are_refused(self, tmp_path):
        np.savez(tmp_path / "evil.npz", **{**arrays(), "y_test": np.array([object()], dtype=object)})
        with pytest.raises(CorruptFile, match="plain arrays"):
            load(tmp_path / "evil.npz")

    @pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
    def test_damaged(self, tmp_path, content):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(CorruptFile, match=r"bad\.npz"):
            load(tmp_path / "bad.npz")

    def test_a_single_array_is_no_data_set(self, tmp_path):
        np.save(tmp_path / "one.npy", np.zeros(3))
        with pytest.raises(CorruptFile, match=r"one\.npy"):
            load(tmp_path / "one.npy")

    def test_missing_array(self, tmp_path):
        given = arrays()
        del given["y_test"]
        np.savez(tmp_path / "part.npz", **given)
        with pytest.raises(InvalidInput, match="lacks y_test"):
            load(tmp_path / "part.npz")

    def test_labels_must_be_integers(self, tmp_path):
        np.savez(tmp_path / "f.npz", **{**arrays(), "y_train": np.zeros(6)})
        with pytest.raises(InvalidInput, match="must be integers, got float64"):
            load(tmp_path / "f.npz")


class TestChecks:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x_train": np.zeros((6, 8, 8), np.uint8)}, "x_train must be"),
            ({"x_train": np.zeros((6, 1, 8, 8))}, "float32"),
            ({"x_test": np.full((4, 1, 8, 8), np.nan, np.float32)}, "NaN"),
            ({"x_test": np.zeros((0, 1, 8, 8), np.uint8), "y_test": np.zeros(0, np.int64)}, "n > 0"),
            ({"y_train": np.zeros(5, np.int64)}, "y_train must be"),
            ({"y_test": np.array([0, 1, 2, 0])}, "2 classes"),
            ({"y_test": np.array([0, 1, -1, 0])}, "2 classes"),
            ({"ids_train": np.arange(6), "ids_test": np.arange(4)}, "never repeat"),
            ({"ids_train": np.arange(5), "ids_test": np.arange(5, 10)}, "one for each item"),
        ],
    )
    def test_refuses(self, change, message):
        with pytest.raises(InvalidInput, match=message):
            Dataset(**{"name": "mine", "class_names": ("a", "b"), **arrays(), **change})

    def test_shapes_must_agree(self):
        other = arrays(shape=(1, 9, 9))["x_test"]
        with pytest.raises(DimensionMismatch, match="same"):
            Dataset(name="mine", class_names=("a", "b"), **{**arrays(), "x_test": other})

    def test_no_training_item_left(self):
        d = Dataset(name="mine", class_names=("a", "b", "c"), **arrays())
        with pytest.raises(InvalidInput, match="no training item"):
            d.only("2")

    def test_empty_test_part_after_filter_is_refused(self):
        given = arrays()
        given["y_test"] = np.zeros(4, np.int64)
        d = data.Dataset(name="mine", class_names=("a", "b"), **given)
        with pytest.raises(InvalidInput, match="x_test"):
            d.only("1")
