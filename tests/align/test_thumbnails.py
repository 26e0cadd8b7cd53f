"""Small pictures of a data set's images: sharp where they are enlarged, small where they are large, as bright as they were."""

import io

import numpy as np
import pytest
from PIL import Image

from align.data import load
from align.data.thumbnails import range_of, thumbnail
from registry.errors import InvalidInput
from registry.previews import LARGEST_PICTURE, media_type


def opened(data):
    assert media_type(data) == "image/png" and len(data) <= LARGEST_PICTURE
    return Image.open(io.BytesIO(data))


def test_digits_are_enlarged_pixel_by_pixel_and_spread():
    data = load("digits")
    image = opened(thumbnail(data.x_train[0], range_of(data.x_train)))
    assert (image.size, image.mode) == ((32, 32), "L")
    pixels = np.asarray(image)
    assert (pixels == pixels[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)).all()
    np.testing.assert_allclose(pixels[::4, ::4], data.x_train[0, 0] * (255 / 16), atol=0.5)


def test_colours_stay_and_large_images_shrink():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 300, 200), dtype=np.uint8)
    x[1] = np.array([250, 20, 90], np.uint8)[:, None, None]
    image = opened(thumbnail(x[1], range_of(x)))
    assert (image.size, image.mode) == ((64, 96), "RGB")
    assert (np.asarray(image) == [250, 20, 90]).all()
    assert opened(thumbnail(x[0], range_of(x))).size == (64, 96), "noise, which nothing can compress, still fits"
    square = x[:, :, :40, :40]
    assert (np.asarray(opened(thumbnail(square[0], range_of(square)))) == square[0].transpose(1, 2, 0)).all()


@pytest.mark.parametrize("x", [np.zeros((2, 1, 4, 4), np.float32), np.full((2, 1, 4, 4), -3.5, np.float32)])
def test_images_of_one_value_are_drawn_too(x):
    assert len(np.unique(np.asarray(opened(thumbnail(x[0], range_of(x)))))) == 1


def test_what_has_neither_one_channel_nor_three():
    x = np.zeros((1, 2, 8, 8), np.uint8)
    with pytest.raises(InvalidInput, match="1 or 3 channels can be drawn, got 2"):
        thumbnail(x[0], range_of(x))
