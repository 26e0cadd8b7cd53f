"""Images packed as JPEG sheets, and the CIFAR-100 and Omniglot files that lie beside a checkout."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from align.data import load
from registry.errors import CorruptFile, InvalidInput

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{SHARED / name} is not there: it lies beside the checkout, not in it")
    return SHARED / name


def pack(tiles):
    """JPEG sheets of 50x50 tiles (n, 32, 32, 3), and their offsets; by a plain loop."""
    blobs = []
    for start in range(0, len(tiles), 2500):
        sheet = np.zeros((1600, 1600, 3), np.uint8)
        for number, tile in enumerate(tiles[start : start + 2500]):
            row, column = divmod(number, 50)
            sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = tile
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=95, subsampling=0)
        blobs.append(np.frombuffer(file.getvalue(), np.uint8))
    return np.concatenate(blobs), np.cumsum([0, *map(len, blobs)])


@pytest.fixture(scope="module")
def packed():
    """2,600 flat training images of many colours and 3 test images, packed."""
    colours = np.random.default_rng(0).integers(0, 256, (2603, 3))
    tiles = np.broadcast_to(colours[:, None, None, :], (2603, 32, 32, 3)).astype(np.uint8)
    arrays = {"class_names": np.array(["red", "green"])}
    for part, rows in (("train", slice(2600)), ("test", slice(2600, None))):
        arrays[f"jpg_{part}"], arrays[f"off_{part}"] = pack(tiles[rows])
        arrays[f"y_{part}"] = (np.arange(len(tiles[rows])) % 2).astype(np.int16)
    return arrays, tiles


class TestSheets:
    def test_tiles_come_out_in_their_order(self, packed, tmp_path):
        arrays, tiles = packed
        np.savez(tmp_path / "anything.npz", **arrays)
        d = load(tmp_path / "anything.npz")
        assert (d.x_train.shape, d.x_test.shape, d.class_names) == ((2600, 3, 32, 32), (3, 3, 32, 32), ("red", "green"))
        for x, given in ((d.x_train, tiles[:2600]), (d.x_test, tiles[2600:])):
            assert np.abs(x.transpose(0, 2, 3, 1).astype(int) - given).max() <= 4, "what JPEG at quality 95 changes"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: {"off_train": a["off_train"][:-1]}, "must cut jpg_train"),
            (lambda a: {"off_train": a["off_train"][::-1]}, "must cut jpg_train"),
            (lambda a: {"off_train": a["off_train"].astype(float)}, "must cut jpg_train"),
            (lambda a: {"jpg_train": a["jpg_train"][:-1]}, "must cut jpg_train"),
            (lambda a: {"y_train": np.zeros(5001, np.int16)}, "into 3 sheets"),
            (lambda a: {"jpg_train": a["jpg_train"] ^ 255}, "sheet 0 of jpg_train is not a JPEG"),
            (lambda a: {"jpg_test": np.frombuffer(small(), np.uint8), "off_test": np.array([0, len(small())])}, "8x8"),
        ],
    )
    def test_damage(self, packed, tmp_path, change, message):
        arrays = packed[0]
        np.savez(tmp_path / "bad.npz", **{**arrays, **change(arrays)})
        with pytest.raises(CorruptFile, match=message):
            load(tmp_path / "bad.npz")

    def test_layout_means_nothing_here(self, packed, tmp_path):
        np.savez(tmp_path / "a.npz", **packed[0])
        with pytest.raises(InvalidInput, match="no use for layout"):
            load(tmp_path / "a.npz", layout="nchw")

    def test_without_names_it_is_no_data_set(self, packed, tmp_path):
        arrays = {name: a for name, a in packed[0].items() if name != "class_names"}
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(InvalidInput, match="lacks x_train"):
            load(tmp_path / "a.npz")


def small():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def test_cifar_100():
    path = shared("cifar100_jpeg95.npz")
    started = time.process_time()
    d = load(path)
    assert time.process_time() - started < 20, "about 2 s"
    assert (d.x_train.shape, d.x_test.shape, d.x_train.dtype) == ((50000, 3, 32, 32), (10000, 3, 32, 32), np.uint8)
    assert (set(np.bincount(d.y_train)), set(np.bincount(d.y_test)), len(d.class_names)) == ({500}, {100}, 100)
    assert d.class_names[:2] == ("apple", "aquarium_fish")
    assert d.x_train.mean((0, 2, 3)) == pytest.approx([129.3, 124.1, 112.4], abs=0.5), "the published means"
    with np.load(path, allow_pickle=False) as file:  # one tile, cut out by hand: number 2,500 + 50 * 3 + 7
        start, stop = file["off_train"][1:3]
        sheet = np.asarray(Image.open(io.BytesIO(file["jpg_train"][start:stop].tobytes())))
    assert np.array_equal(d.x_train[2657].transpose(1, 2, 0), sheet[96:128, 224:256])


def test_omniglot_is_an_open_set():
    d = load(shared("omniglot28.npz"))
    assert (d.x_train.shape, d.x_test.shape) == ((19280, 1, 28, 28), (13180, 1, 28, 28))
    assert set(d.y_train) == set(range(964)) and set(d.y_test) == set(range(964, 1623)), "no label means two things"
    assert len(set(d.class_names)) == 1623
    assert set(np.bincount(d.y_test)[964:]) == {20}
    half = d.only("0-481")
    assert len(half.x_train) == 482 * 20 and not len(half.x_test)
    v = d.validation(0.2, unseen=True)
    assert len(set(v.y_test)) == 193 and not set(v.y_test) & set(v.y_train)
