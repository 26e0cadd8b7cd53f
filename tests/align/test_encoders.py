"""`align.encoders`: unit vectors, one file, a fingerprint that notices every change, and no code out of a file."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align import backbones
from align.encoders import Encoder, pick_device
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound, SamespaceError


def make(backbone="smallconv", dim=5, in_shape=(1, 8, 8), seed=0, mean=4.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = backbones.build(backbone, in_shape, dim)
    return Encoder(network, backbone, dim, in_shape, (mean,) * in_shape[0], (6.0,) * in_shape[0])


def attempt(action):
    """What an action gives, or the error of ours that it raises."""
    try:
        return action()
    except SamespaceError as error:
        return error


def images(n=9, shape=(1, 8, 8)):
    return np.random.default_rng(0).integers(0, 17, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize(
    ("backbone", "shape"), [("smallconv", (1, 8, 8)), ("smallresnet", (3, 32, 32)), ("resnet10", (3, 8, 8))]
)
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

    def test_places_to_write(self):
        with pytest.raises(DimensionMismatch, match=r"out must be \(9, 5\), got \(9, 4\)"):
            make().encode(images(), out=np.empty((9, 4), np.float32))
        with pytest.raises(InvalidInput, match="writable float32, got float64"):
            make().encode(images(), out=np.empty((9, 5)))
        with pytest.raises(InvalidInput, match="batch must be at least 1"):
            make().encode(images(), batch=0)

    def test_statistics(self):
        with pytest.raises(InvalidInput, match="mean and std"):
            Encoder(make().network, "smallconv", 5, (1, 8, 8), (0.0,), (0.0,))
        with pytest.raises(InvalidInput, match="mean and std"):
            Encoder(make().network, "smallconv", 5, (1, 8, 8), (0.0,), (float("nan"),))


class TestStreaming:
    def test_from_a_memory_map_into_another(self, tmp_path):
        x = images(300)
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        out = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (300, 5))
        encoder = make()
        assert encoder.encode(mapped, batch=64, out=out) is out
        out.flush()
        assert np.array_equal(np.load(tmp_path / "v.npy"), encoder.encode(x, batch=64))

    @pytest.mark.parametrize(("backbone", "shape"), [("smallconv", (1, 8, 8)), ("smallresnet", (3, 32, 32))])
    def test_the_number_of_threads_changes_nothing(self, backbone, shape):
        encoder, x, threads = make(backbone, 7, shape), images(200, shape), torch.get_num_threads()
        found = []
        try:
            for number in (1, 2, 3):
                torch.set_num_threads(number)
                found += [encoder.encode(x), encoder.encode(x)]
                assert torch.get_num_threads() == number, "the caller's setting is left as it was"
        finally:
            torch.set_num_threads(threads)
        assert all(np.array_equal(found[0], vectors) for vectors in found[1:])

    def test_an_error_in_a_thread_is_the_callers(self):
        class Torn(np.ndarray):
            def __getitem__(self, rows):
                if isinstance(rows, slice) and rows.start:
                    raise OSError("the disk is gone")
                return super().__getitem__(rows)

        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with pytest.raises(OSError, match="disk is gone"):
                make().encode(images(300).view(Torn), batch=64)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)


FOREIGN = """
from pathlib import Path
import torch
Path(__file__).with_suffix(".imported").touch()
class tiny(torch.nn.Module):
    def __init__(self, in_shape, dim):
        super().__init__()
        self.out = torch.nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], dim)
        self.tied = self.out
    def forward(self, x):
        return self.out(x.flatten(1))
"""


class TestTrust:
    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        """An encoder file whose backbone is `mynets:tiny`, saved by somebody who had that module."""
        sys.modules.pop("mynets", None)
        (tmp_path / "mynets.py").write_text(FOREIGN)
        with monkeypatch.context() as there:
            there.syspath_prepend(tmp_path)
            make("mynets:tiny").save(tmp_path / "e.safetensors")
            self.vectors = make("mynets:tiny").encode(images())
        (tmp_path / "mynets.imported").unlink()
        del sys.modules["mynets"]
        monkeypatch.syspath_prepend(tmp_path)
        yield tmp_path / "e.safetensors"
        sys.modules.pop("mynets", None)

    @pytest.mark.parametrize("trust", [(), False, ("other:tiny",), "other:tiny", "xmynets:tinyx", ("mynets",), []])
    def test_a_file_imports_nothing_by_itself(self, file, trust):
        with pytest.raises(InvalidInput, match=r"names the backbone 'mynets:tiny'.*trust='mynets:tiny'"):
            Encoder.load(file, trust=trust)
        assert not file.with_name("mynets.imported").exists()

    @pytest.mark.parametrize("trust", [True, "mynets:tiny", ("other:net", "mynets:tiny")])
    def test_unless_the_caller_trusts_it(self, file, trust):
        assert np.array_equal(Encoder.load(file, trust=trust).encode(images()), self.vectors)
        assert file.with_name("mynets.imported").exists()

    def test_a_damaged_file_is_told_before_anything_runs(self, file):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(CorruptFile, match="checksum"):
            Encoder.load(file, trust=True)
        assert not file.with_name("mynets.imported").exists()


class TestHeaders:
    """The header is not part of the weights' digest: whatever it says must be harmless."""

    def edited(self, tmp_path, change):
        encoder = make()
        facts = change(encoder.fingerprint())
        path = tmp_path / "e.safetensors"
        arrays = {name: a.contiguous() for name, a in encoder.network.state_dict().items()}
        path.write_bytes(safetensors.torch.save(arrays, {"samespace-encoder": json.dumps(facts)}))
        return path

    @pytest.mark.parametrize(
        "change",
        [
            {"dim": 6},
            {"dim": 65536},
            {"dim": 10**12},
            {"dim": True},
            {"dim": "5"},
            {"backbone": "smallresnet"},
            {"backbone": 5},
            {"libraries": ["torch"]},
            {"libraries": None},
            {"weights": None},
            {"preprocessing": {"in_shape": [1, 8], "mean": [0], "std": [1]}},
            {"preprocessing": {"in_shape": [1, 16, 16], "mean": [0], "std": [1]}},
            {"preprocessing": {"in_shape": [65536, 60000, 60000], "mean": [0] * 65536, "std": [1] * 65536}},
            {"preprocessing": {"in_shape": [1, 8, 8], "mean": ["0"], "std": [1]}},
            {"preprocessing": {"in_shape": [1, 8, 8], "mean": [float("nan")], "std": [1]}},
            {"preprocessing": []},
        ],
    )
    def test_edited(self, tmp_path, change):
        with pytest.raises(CorruptFile, match=r"e\.safetensors"):
            Encoder.load(self.edited(tmp_path, lambda facts: {**facts, **change}))

    @pytest.mark.parametrize("missing", ["dim", "backbone", "weights", "preprocessing", "libraries"])
    def test_missing(self, tmp_path, missing):
        with pytest.raises(CorruptFile, match="not a samespace encoder"):
            Encoder.load(self.edited(tmp_path, lambda facts: {k: v for k, v in facts.items() if k != missing}))

    def test_a_backbone_of_a_newer_release(self, tmp_path):
        with pytest.raises(InvalidInput, match="'hugeconv' is not known"):
            Encoder.load(self.edited(tmp_path, lambda facts: {**facts, "backbone": "hugeconv"}))

    @settings(deadline=None, max_examples=40)
    @given(place=st.integers(0, 4000), change=st.integers(1, 255))
    def test_any_changed_byte_is_an_error_of_ours_or_harmless(self, tmp_path_factory, place, change):
        folder = tmp_path_factory.mktemp("damage")
        make().save(folder / "e.safetensors")
        data = bytearray((folder / "e.safetensors").read_bytes())
        data[place] ^= change
        (folder / "e.safetensors").write_bytes(bytes(data))
        found = attempt(lambda: Encoder.load(folder / "e.safetensors"))
        if not isinstance(found, Encoder):
            assert len(str(found).splitlines()) == 1
