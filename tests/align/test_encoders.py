"""`align.encoders` and `align.backbones`: unit vectors, one file, a fingerprint that notices every change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from align import backbones
from align.encoders import Encoder, pick_device
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound


def make(backbone="smallconv", dim=5, in_shape=(1, 8, 8), seed=0, mean=4.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = backbones.build(backbone, in_shape, dim)
    return Encoder(network, backbone, dim, in_shape, (mean,) * in_shape[0], (6.0,) * in_shape[0])


def images(n=9, shape=(1, 8, 8)):
    return np.random.default_rng(0).integers(0, 17, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize(("backbone", "shape"), [("smallconv", (1, 8, 8)), ("smallresnet", (3, 32, 32))])
def test_saves_and_loads_the_same_space(tmp_path, backbone, shape):
    encoder = make(backbone, 7, shape)
    encoder.save(tmp_path / "e.safetensors")
    again = Encoder.load(tmp_path / "e.safetensors")
    x = images(shape=shape)
    vectors = encoder.encode(x)
    assert (vectors.shape, vectors.dtype) == ((9, 7), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(again.encode(x), vectors)
    assert again.fingerprint() == encoder.fingerprint()
    assert [p.name for p in tmp_path.iterdir()] == ["e.safetensors"]


def test_batches_types_and_emptiness_do_not_matter():
    encoder, x = make(), images()
    whole = encoder.encode(x)
    assert encoder.encode(x, batch=2) == pytest.approx(whole, abs=1e-6)
    assert np.array_equal(encoder.encode(x.astype(np.float32)), whole)
    assert encoder.encode(x[:0]).shape == (0, 5)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert np.array_equal(encoder.encode(frozen), whole)


def test_fingerprint_notices_each_change():
    first = make().fingerprint()
    assert first == make().fingerprint()
    changed = make(seed=1).fingerprint()
    assert {k for k in first if first[k] != changed[k]} == {"weights"}
    assert {k for k in first if first[k] != make(mean=3.0).fingerprint()[k]} == {"preprocessing"}
    needed = {"weights", "preprocessing", "pooling", "dtype", "normalization", "dim", "metric", "libraries"}
    assert needed <= first.keys()


def test_loading_leaves_random_numbers_alone(tmp_path):
    make().save(tmp_path / "e.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Encoder.load(tmp_path / "e.safetensors")
    assert torch.equal(torch.rand(2), expected)


class TestRefusals:
    def test_other_images(self):
        with pytest.raises(DimensionMismatch, match=r"\(n, 1, 8, 8\), got \(2, 3, 8, 8\)"):
            make().encode(images(2, (3, 8, 8)))
        with pytest.raises(InvalidInput, match="float64"):
            make().encode(images().astype(np.float64))

    @pytest.mark.parametrize("device", ["gpu!", "cuda:99"])
    def test_devices(self, device):
        with pytest.raises(InvalidInput, match="device"):
            pick_device(device)

    def test_files(self, tmp_path):
        path = tmp_path / "e.safetensors"
        with pytest.raises(NotFound, match="no encoder file"):
            Encoder.load(path)
        make().save(path)
        data = bytearray(path.read_bytes())
        path.write_bytes(data[:40])
        with pytest.raises(CorruptFile, match="not a samespace encoder"):
            Encoder.load(path)
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptFile, match="checksum"):
            Encoder.load(path)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("resnet9000", (1, 8, 8), 4), "use one of smallconv, smallresnet"),
            (("smallconv", (1, 8, 8), 0), "dim"),
            (("smallconv", (1, 3, 8), 4), "at least 4x4"),
            (("smallresnet", (3, 4, 4), 4), "at least 8x8"),
        ],
    )
    def test_backbones(self, arguments, message):
        with pytest.raises(InvalidInput, match=message):
            backbones.build(*arguments)

    def test_statistics(self):
        with pytest.raises(InvalidInput, match="mean and std"):
            Encoder(make().network, "smallconv", 5, (1, 8, 8), (0.0,), (0.0,))
