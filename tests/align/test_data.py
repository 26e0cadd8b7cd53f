"""`align.data`: splits, ids, filters, smaller sets, .npz files."""

from __future__ import annotations

import doctest
import hashlib
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from align.data import Dataset, dataset, load, parse_classes, sampling
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound, SamespaceError


def arrays(n=6, m=4, shape=(1, 8, 8), classes=2):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 255, (n, *shape)).astype(np.uint8),
        "y_train": np.arange(n) % classes,
        "x_test": rng.integers(0, 255, (m, *shape)).astype(np.uint8),
        "y_test": np.arange(m) % classes,
    }


def attempt(action):
    """What an action gives, or the error of ours that it raises."""
    try:
        return action()
    except SamespaceError as error:
        return error


def mine(**change):
    return Dataset(**{"name": "mine", "class_names": ("a", "b"), **arrays(), **change})


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

    def test_labels_in_a_column_and_ids(self, tmp_path):
        given_arrays = {**arrays(), "ids_train": np.arange(10, 16), "ids_test": np.arange(4)}
        np.savez(tmp_path / "f.npz", **{**given_arrays, "y_train": given_arrays["y_train"][:, None]})
        d = load(tmp_path / "f.npz")
        assert np.array_equal(d.y_train, given_arrays["y_train"])
        assert (d.ids_train.tolist(), d.ids_test.tolist()) == (list(range(10, 16)), [0, 1, 2, 3])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"y_train": np.array([0, 1, 2, 3, 4, 10**15])}, "number the classes from 0"),
            ({"y_train": np.array([0, 1, 2, 3, 4, -1])}, "labels -1 to"),
            ({"y_train": np.int64(3)}, "must be integers"),
            ({"y_train": np.zeros((6, 2), np.int64)}, "must be integers"),
            ({"class_names": np.array([["a", "b"]])}, "class_names must be texts"),
            ({"x_train": np.zeros((6, 1, 8, 8)), "x_test": np.zeros((4, 1, 8, 8))}, "uint8 or float32"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, change, message):
        np.savez(tmp_path / "f.npz", **{**arrays(), **change})
        with pytest.raises(InvalidInput, match=message):
            load(tmp_path / "f.npz")

    @settings(deadline=None, max_examples=60)
    @given(content=st.binary(max_size=60), cut=st.integers(0, 400), flip=st.integers(0, 2000))
    def test_no_damage_gets_past(self, tmp_path_factory, content, cut, flip):
        """Bytes of any kind, a file cut short, and one with a byte changed: an error of ours, or the same data."""
        folder = tmp_path_factory.mktemp("damage")
        np.savez_compressed(folder / "whole.npz", **arrays())
        whole = (folder / "whole.npz").read_bytes()
        changed = bytearray(whole)
        changed[flip % len(whole)] ^= 0x55
        for name, data in (("any", content), ("cut", whole[:cut]), ("changed", bytes(changed))):
            path = folder / f"{name}.npz"
            path.write_bytes(data)
            found = attempt(lambda path=path: load(path))
            if isinstance(found, Dataset):
                assert np.array_equal(found.x_train, arrays()["x_train"])
            else:
                assert len(str(found).splitlines()) == 1 and len(str(found)) < 500


class TestPickles:
    """What unpickling would run is never read, and the message does not recommend it."""

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_by_content(self, tmp_path, protocol):
        content = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1, 2]}, protocol=protocol)
        (tmp_path / "train").write_bytes(content)
        with pytest.raises(CorruptFile, match=r"can run any code|no.* \.npz"):
            load(tmp_path / "train")

    @pytest.mark.parametrize("name", ["data.pkl", "data.pickle", "model.pt", "MODEL.PTH"])
    def test_by_name(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(CorruptFile, match=r"pickled.*numpy\.savez"):
            load(tmp_path / name)

    def test_the_original_cifar_folder(self, tmp_path):
        for name in ("train", "test", "meta"):
            (tmp_path / name).write_bytes(pickle.dumps({b"data": 1}, protocol=2))
        with pytest.raises(CorruptFile, match="train is pickled"):
            load(tmp_path)

    def test_what_torch_saves(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "archive.npz", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"x": 1}))
        with pytest.raises(CorruptFile, match="pickled"):
            load(tmp_path / "archive.npz")

    def test_objects_in_arrays(self, tmp_path):
        np.savez(tmp_path / "evil.npz", **{**arrays(), "y_test": np.array([object()], dtype=object)})
        with pytest.raises(CorruptFile, match="Python objects") as caught:
            load(tmp_path / "evil.npz")
        assert "allow_pickle" not in str(caught.value)

    def test_arrays_that_nobody_asked_for_are_left_alone(self, tmp_path):
        np.savez(tmp_path / "mine.npz", **arrays(), note=np.array([{}], dtype=object))
        assert load(tmp_path / "mine.npz").name == "mine"


class TestChecks:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x_train": np.zeros((6, 8, 8), np.uint8)}, "x_train must be"),
            ({"x_train": np.zeros((6, 1, 8, 8))}, "float32"),
            ({"x_test": np.full((4, 1, 8, 8), np.nan, np.float32)}, "NaN"),
            ({"x_train": np.zeros((0, 1, 8, 8), np.uint8), "y_train": np.zeros(0, np.int64)}, "n > 0"),
            ({"x_train": np.zeros((6, 1, 0, 8), np.uint8)}, "x_train must be"),
            ({"y_train": np.zeros(5, np.int64)}, "y_train must be"),
            ({"y_test": np.array([0, 1, 2, 0])}, "2 classes"),
            ({"y_test": np.array([0, 1, -1, 0])}, "2 classes"),
            ({"ids_train": np.arange(6), "ids_test": np.arange(4)}, "never repeat"),
            ({"ids_train": np.arange(5), "ids_test": np.arange(5, 10)}, "one for each item"),
            ({"ids_train": np.arange(6.0), "ids_test": np.arange(6.0, 10)}, "int64"),
        ],
    )
    def test_refuses(self, change, message):
        with pytest.raises(InvalidInput, match=message):
            mine(**change)

    def test_shapes_must_agree(self):
        other = arrays(shape=(1, 9, 9))["x_test"]
        with pytest.raises(DimensionMismatch, match="same"):
            mine(x_test=other)

    def test_no_training_item_left(self):
        d = Dataset(name="mine", class_names=("a", "b", "c"), **arrays())
        with pytest.raises(InvalidInput, match="no training item"):
            d.only("2")

    def test_classes_without_test_items_can_be_trained_on(self):
        part = mine(y_test=np.zeros(4, np.int64)).only("1")
        assert (len(part.x_train), part.x_test.shape, part.ids_test.dtype) == (3, (0, 1, 8, 8), np.int64)


class TestDigest:
    def test_is_the_sha_256_of_all_bytes_however_they_lie_in_memory(self):
        d = mine()
        sha = hashlib.sha256(b"a\nb")
        for name in ("x_train", "y_train", "x_test", "y_test", "ids_train", "ids_test"):
            a = getattr(d, name)
            sha.update(f"{name} {a.dtype.str} {a.shape}".encode() + a.tobytes())
        assert d.digest() == sha.hexdigest()
        turned = np.ascontiguousarray(d.x_train.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        assert mine(x_train=turned).digest() == d.digest()

    def test_notices_a_pixel_beyond_the_first_block(self):
        x = np.zeros((3, 3, 1024, 1024), np.uint8)  # 3 MiB an image, blocks of 4
        y = np.zeros(3, np.int64)
        before = mine(x_train=x, y_train=y, x_test=x[:1], y_test=y[:1]).digest()
        x[2, 2, 1023, 1023] = 1
        assert mine(x_train=x, y_train=y, x_test=x[:1], y_test=y[:1]).digest() != before


class TestSmaller:
    def test_take_in_proportion_keeps_order_and_test_part(self):
        y = np.repeat([0, 1, 2], [50, 30, 20])
        d = Dataset("mine", np.zeros((100, 1, 4, 4), np.uint8), y, np.ones((2, 1, 4, 4), np.uint8), y[:2], ("a",) * 3)
        few = d.take(9, seed=1)
        assert np.bincount(few.y_train).tolist() == [4, 3, 2]
        assert np.array_equal(np.sort(few.ids_train), few.ids_train) and set(few.ids_train) <= set(d.ids_train)
        assert np.array_equal(few.ids_test, d.ids_test)
        assert not np.array_equal(d.take(9, seed=2).ids_train, few.ids_train)

    def test_take_per_class_is_nested(self):
        d = load("digits")
        few, more = d.take(per_class=3, seed=5), d.take(per_class=7, seed=5)
        assert np.bincount(few.y_train).tolist() == [3] * 10
        assert set(few.ids_train) < set(more.ids_train) < set(d.ids_train)
        assert np.array_equal(few.x_train, d.x_train[np.isin(d.ids_train, few.ids_train)])

    def test_take_leaves_classes_out_that_have_nothing(self):
        d = load("digits").only("2,5")
        assert np.bincount(d.take(per_class=4).y_train).tolist() == [0, 0, 4, 0, 0, 4]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "n or per_class"),
            ({"n": 3, "per_class": 1}, "n or per_class"),
            ({"n": 0}, "from 1"),
            ({"n": 7}, "has 6 training items"),
            ({"per_class": 4}, "3 training items of class 'a'"),
            ({"per_class": True}, "whole number"),
            ({"n": 2, "seed": -1}, "seed"),
        ],
    )
    def test_take_refuses(self, options, message):
        with pytest.raises(InvalidInput, match=message):
            mine().take(**options)

    def test_validation_holds_nothing_of_the_test_part(self):
        d = load("digits")
        v = d.validation(0.25, seed=3)
        assert set(v.ids_train) | set(v.ids_test) == set(d.ids_train)
        assert not set(v.ids_train) & set(v.ids_test)
        share = np.bincount(v.y_test) / np.bincount(d.y_train)
        assert share == pytest.approx(0.25, abs=0.01)
        assert np.array_equal(v.x_test, d.x_train[np.isin(d.ids_train, v.ids_test)])
        assert v.digest() == d.validation(0.25, seed=3).digest() != d.validation(0.25, seed=4).digest()
        assert v.name == "digits-validation"

    def test_validation_on_unseen_classes(self):
        d = load("digits").only("0-7")
        v = d.validation(0.25, seed=1, unseen=True)
        assert len(set(v.y_test)) == 2 and not set(v.y_test) & set(v.y_train)
        assert len(v.y_test) + len(v.y_train) == len(d.y_train)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"fraction": 0}, "between 0 and 1"),
            ({"fraction": float("nan")}, "between 0 and 1"),
            ({"fraction": "0.5"}, "between 0 and 1"),
            ({"fraction": 0.01}, "6 training items"),
            ({"fraction": 0.99}, "6 training items"),
            ({"fraction": 0.1, "unseen": True}, "2 classes"),
        ],
    )
    def test_validation_refuses(self, options, message):
        with pytest.raises(InvalidInput, match=message):
            mine().validation(**options)

    @settings(deadline=None, max_examples=50)
    @given(
        y=arrays_of.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 3)),
        n=st.integers(1, 40),
        fraction=st.floats(0.01, 0.99),
        unseen=st.booleans(),
    )
    def test_any_labels_give_the_asked_number_or_an_error(self, y, n, fraction, unseen):
        d = Dataset(
            "mine", np.zeros((len(y), 1, 2, 2), np.uint8), y, np.zeros((1, 1, 2, 2), np.uint8), y[:1], ("a",) * 4
        )
        if n <= len(y):
            part = d.take(n)
            assert len(part.y_train) == n
            exact = n * np.bincount(y, minlength=4) / len(y)
            assert np.abs(np.bincount(part.y_train, minlength=4) - exact).max() < 1
        try:
            v = d.validation(fraction, unseen=unseen)
        except InvalidInput:
            return
        assert sorted([*v.ids_train, *v.ids_test]) == list(range(len(y)))
        if unseen:
            assert not set(v.y_train) & set(v.y_test)


@pytest.mark.parametrize("module", [dataset, sampling])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


class TestLayout:
    """Which axis of an .npz file's images holds the channels."""

    def save(self, tmp_path, shape):
        given_arrays = arrays(shape=shape)
        np.savez(tmp_path / "mine.npz", **given_arrays)
        return given_arrays["x_train"], tmp_path / "mine.npz"

    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 9), (4, 8, 8)])
    def test_channels_first(self, tmp_path, shape):
        x, path = self.save(tmp_path, shape)
        assert np.array_equal(load(path).x_train, x)

    @pytest.mark.parametrize("shape", [(8, 8, 1), (8, 9, 3)])
    def test_channels_last(self, tmp_path, shape):
        x, path = self.save(tmp_path, shape)
        read = load(path).x_train
        assert read.flags.c_contiguous
        assert read[2, shape[2] - 1, 5, 7] == x[2, 5, 7, shape[2] - 1]

    def test_no_channels(self, tmp_path):
        x, path = self.save(tmp_path, (8, 3))
        assert np.array_equal(load(path).x_train, x[:, None])

    @pytest.mark.parametrize(("shape", "words"), [((3, 8, 3), "both"), ((13, 8, 8), "neither"), ((1, 1, 1), "both")])
    def test_what_is_not_clear_must_be_said(self, tmp_path, shape, words):
        x, path = self.save(tmp_path, shape)
        with pytest.raises(InvalidInput, match=f"{words}.*layout='nchw'"):
            load(path)
        assert np.array_equal(load(path, layout="nchw").x_train, x)
        assert np.array_equal(load(path, layout="nhwc").x_train, x.transpose(0, 3, 1, 2))

    def test_options_that_mean_nothing_are_refused(self, tmp_path):
        _, path = self.save(tmp_path, (8, 8))
        for source, options in ((path, {"layout": "nchw"}), (path, {"size": 8}), ("digits", {"layout": "nchw"})):
            with pytest.raises(InvalidInput, match="no use for"):
                load(source, **options)
        with pytest.raises(InvalidInput, match="one of nchw, nhwc"):
            load(path, layout="chw")

    @pytest.mark.parametrize("shape", [(), (8,), (1, 8, 8, 8)])
    def test_other_numbers_of_axes(self, tmp_path, shape):
        _, path = self.save(tmp_path, shape)
        with pytest.raises(InvalidInput, match="x_train must be"):
            load(path)

    def test_parts_must_agree(self, tmp_path):
        np.savez(tmp_path / "f.npz", **{**arrays(), "x_test": arrays(shape=(8, 8, 1))["x_test"]})
        with pytest.raises(DimensionMismatch, match="same axes"):
            load(tmp_path / "f.npz")
