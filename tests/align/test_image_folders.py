"""`align.data.load` of folders of images, with real files: which count, how they are numbered, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align.data import Dataset, load
from registry.errors import CorruptFile, InvalidInput, SamespaceError


def write(path, value, size=(6, 5)):
    """An image file of one value, grey or (r, g, b); w x h = size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size[::-1], *np.shape(value)), value, np.uint8)).save(path)


def fill(folder, per_class=4):
    for label, name in enumerate(("cat", "dog")):
        for item in range(per_class):
            write(folder / name / f"{item}.png", 10 * label + item)


def attempt(action):
    """What an action gives, or the error of ours that it raises."""
    try:
        return action()
    except SamespaceError as error:
        return error


@pytest.fixture
def halves(tmp_path):
    fill(tmp_path / "pets")
    return tmp_path / "pets"


class TestRead:
    def test_classes_alone_are_split_half_and_half(self, halves):
        d = load(halves, seed=1)
        assert (d.name, d.class_names, d.in_shape, d.x_train.dtype) == ("pets", ("cat", "dog"), (1, 5, 6), np.uint8)
        assert np.bincount(d.y_train).tolist() == np.bincount(d.y_test).tolist() == [2, 2]
        for part in ("train", "test"):
            x, y, ids = (getattr(d, f"{field}_{part}") for field in ("x", "y", "ids"))
            # The value of an image says which file it was: 10 * label + item.
            assert np.array_equal(x[:, 0, 0, 0], 10 * y + ids - 4 * y)

    def test_the_seed_decides(self, halves):
        assert load(halves, seed=1).digest() == load(halves, seed=1).digest() != load(halves, seed=2).digest()

    def test_train_and_test(self, tmp_path):
        fill(tmp_path / "train")
        fill(tmp_path / "test", per_class=2)
        d = load(tmp_path)
        assert d.y_train.tolist() == [0] * 4 + [1] * 4 and d.y_test.tolist() == [0, 0, 1, 1]
        assert d.ids_train.tolist() == list(range(8)) and d.ids_test.tolist() == [8, 9, 10, 11]
        assert d.x_test[:, 0, 0, 0].tolist() == [0, 1, 10, 11]

    def test_classes_of_one_part_only_have_numbers_of_their_own(self, tmp_path):
        for name in ("b", "d"):
            write(tmp_path / "train" / name / "0.png", 1)
        for name in ("a", "c"):
            write(tmp_path / "test" / name / "0.png", 1)
        d = load(tmp_path)
        assert (d.class_names, d.y_train.tolist(), d.y_test.tolist()) == (("a", "b", "c", "d"), [1, 3], [0, 2])

    def test_a_class_may_be_called_train(self, tmp_path):
        for name in ("train", "car"):
            for item in range(2):
                write(tmp_path / name / f"{item}.png", 1)
        assert load(tmp_path).class_names == ("car", "train")

    def test_colour(self, halves):
        write(halves / "cat" / "9.png", (7, 8, 9))
        d = load(halves)
        assert d.in_shape == (3, 5, 6)
        x, ids = np.concatenate([d.x_train, d.x_test]), np.concatenate([d.ids_train, d.ids_test])
        assert x[ids == 4][0, :, 0, 0].tolist() == [7, 8, 9]
        assert x[ids == 3][0, :, 0, 0].tolist() == [3, 3, 3], "a grey image among them keeps its values"

    def test_a_palette_is_colour_and_one_bit_is_grey(self, tmp_path):
        fill(tmp_path)
        Image.fromarray(np.full((5, 6, 3), (255, 0, 0), np.uint8)).quantize(4).save(tmp_path / "cat" / "0.png")
        Image.fromarray(np.full((5, 6), 255, np.uint8)).convert("1").save(tmp_path / "dog" / "0.png")
        d = load(tmp_path)
        x, ids = np.concatenate([d.x_train, d.x_test]), np.concatenate([d.ids_train, d.ids_test])
        assert x[ids == 0][0, :, 0, 0].tolist() == [255, 0, 0]
        assert x[ids == 4][0, :, 0, 0].tolist() == [255] * 3

    def test_several_formats(self, halves):
        for name in ("9.jpg", "9.bmp", "9.pgm", "9.webp"):
            write(halves / "dog" / name, 50)
        assert len(load(halves).y_train) == 2 + 4

    def test_sizes(self, halves):
        write(halves / "dog" / "9.png", 20, size=(12, 10))
        with pytest.raises(InvalidInput, match=r"9\.png is 10x12, .*0\.png is 5x6: pass size="):
            load(halves)
        assert load(halves, size=4).in_shape == (1, 4, 4)
        d = load(halves, size=(10, 12))
        assert d.in_shape == (1, 10, 12)
        x, ids = np.concatenate([d.x_train, d.x_test]), np.concatenate([d.ids_train, d.ids_test])
        assert (x[ids == 8] == 20).all() and (x[ids == 3] == 3).all()

    def test_dot_files_and_files_beside_classes_are_passed_over(self, halves):
        before = load(halves).digest()
        (halves / "cat" / ".DS_Store").write_text("x")
        (halves / ".git" / "objects").mkdir(parents=True)
        (halves / "LICENSE.txt").write_text("x")
        assert load(halves).digest() == before


class TestRefusals:
    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
    def test_files_that_are_no_images(self, halves, content):
        (halves / "dog" / "notes.png").write_bytes(content)
        with pytest.raises(CorruptFile, match=r"notes\.png is not an image"):
            load(halves)

    def test_an_image_cut_short(self, halves):
        whole = (halves / "dog" / "0.png").read_bytes()
        (halves / "dog" / "0.png").write_bytes(whole[:45])
        with pytest.raises(CorruptFile, match=r"0\.png cannot be decoded"):
            load(halves)

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F", "CMYK"])
    def test_pixels_that_eight_bits_would_change(self, halves, mode):
        suffix = {"F": "tiff", "CMYK": "jpg"}.get(mode, "png")
        Image.new(mode, (6, 5)).save(halves / "dog" / f"0.{suffix}")
        with pytest.raises(SamespaceError, match=rf"0\.{suffix} (has pixels of mode|is not an image)"):
            load(halves)

    def test_a_transparent_palette(self, halves):
        Image.new("P", (6, 5)).save(halves / "dog" / "0.png", transparency=0)
        with pytest.raises(InvalidInput, match="with transparency"):
            load(halves)

    def test_links(self, halves, tmp_path):
        (halves / "dog" / "link.png").symlink_to(halves / "cat" / "0.png")
        with pytest.raises(InvalidInput, match=r"link\.png is a symbolic link"):
            load(halves)
        (halves / "dog" / "link.png").unlink()
        (halves / "bird").symlink_to(halves / "cat", target_is_directory=True)
        with pytest.raises(InvalidInput, match="bird is a symbolic link"):
            load(halves)
        (halves / "bird").unlink()
        (tmp_path / "here").symlink_to(halves, target_is_directory=True)
        assert load(tmp_path / "here").digest() == load(halves).digest(), "the folder that was named may be one"

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda f: (f / "dog" / "old").mkdir(), "old is no file"),
            (lambda f: (f / "bird").mkdir(), "bird holds no images"),
            (lambda f: write(f / "bird" / "0.png", 1), "bird holds one image"),
            (lambda f: write(f / "train" / "dog" / "0.png", 1), "one of train and test"),
        ],
    )
    def test_folders(self, halves, make, message):
        make(halves)
        with pytest.raises(InvalidInput, match=message):
            load(halves)

    def test_no_classes(self, tmp_path):
        write(tmp_path / "0.png", 1)
        with pytest.raises(InvalidInput, match="has no class folders"):
            load(tmp_path)

    @pytest.mark.parametrize("size", [0, -1, (4,), (4, 0), 10**6, True, "8", 2.0])
    def test_size(self, halves, size):
        with pytest.raises(InvalidInput, match="size must be pixels"):
            load(halves, size=size)

    @settings(deadline=None, max_examples=40)
    @given(place=st.integers(0, 10_000), change=st.integers(1, 255), cut=st.booleans())
    def test_a_damaged_file_is_named_or_harmless(self, tmp_path_factory, place, change, cut):
        folder = tmp_path_factory.mktemp("damage")
        fill(folder, per_class=2)
        file = folder / "dog" / "1.png"
        data = bytearray(file.read_bytes())
        place %= len(data)
        data[place] ^= change
        file.write_bytes(bytes(data[:place]) if cut else bytes(data))
        found = attempt(lambda: load(folder))
        if isinstance(found, Dataset):
            assert found.in_shape == (1, 5, 6)
        else:
            assert "1.png" in str(found) and len(str(found).splitlines()) == 1
