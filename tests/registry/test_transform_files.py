"""Transform files: what is saved comes back, what was damaged or swapped is refused, nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from registry import connect, transforms
from registry.errors import BadVector, CorruptFile, DimensionMismatch, InvalidInput, SamespaceError
from registry.transforms import Affine, LowRank, Mlp, Orthogonal, Prefix, Relative, SpaceTag, loads

RNG = np.random.default_rng(0)


def some(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


ALL = {
    "prefix": Prefix(from_dim=6, to_dim=4),
    "orthogonal": Orthogonal(weight=np.linalg.qr(some(6, 6))[0], bias=some(6), report={"r2": 0.1, "note": "ünï"}),
    "affine": Affine(weight=some(6, 3), bias=some(3), normalize=False, report={"nested": {"a": [1, None, True]}}),
    "lowrank": LowRank(down=some(6, 2), up=some(2, 5), bias=some(5)),
    "mlp": Mlp(weight=some(6, 3), bias=some(3), layers=((some(6, 7), some(7)),), out=some(7, 3)),
    "deep": Mlp(
        weight=some(6, 3),
        bias=some(3),
        layers=((some(6, 7), some(7)), (some(7, 4), some(4))),
        out=some(4, 3),
        normalize=False,
    ),
    "relative": Relative(anchors=some(5, 6)),
    "whitened": Relative(anchors=some(5, 6), similarity="whitened", mean=some(6), precision=np.eye(6), normalize=False),
    "l2": Relative(anchors=some(5, 6), similarity="l2", normalize=False),
    "product": Relative(anchors=some(5, 6), similarity="product"),
    "quantized": Relative(anchors=some(5, 6), quantum=0.25),
}
TAGS = (SpaceTag("m/2", "f" * 64), SpaceTag("m/1", "0" * 64))


@pytest.mark.parametrize("name", ALL)
def test_roundtrip_of_each_kind(name, tmp_path):
    given = ALL[name].between(*TAGS)
    given.save(tmp_path / "t.safetensors")
    back = transforms.load(tmp_path / "t.safetensors")
    assert type(back) is type(given)
    assert back.digest() == given.digest()
    assert (back.source, back.target, back.report, back.normalize) == (*TAGS, given.report, given.normalize)
    assert (back.source_dim, back.target_dim) == (given.source_dim, given.target_dim)
    x = some(7, 6)
    np.testing.assert_array_equal(back.apply(x), given.apply(x))
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


@pytest.mark.parametrize("name", ALL)
def test_equal_transforms_are_equal_bytes_and_their_parts_matter(name):
    given = ALL[name]
    assert loads(given.dumps()).dumps() == given.dumps()
    assert given.digest() != given.between(*TAGS).digest()
    assert given.between(*TAGS).digest() != given.between(*reversed(TAGS)).digest()


@pytest.mark.parametrize("name", ALL)
def test_apply_keeps_rows_apart_and_knows_its_width(name):
    given, x = ALL[name], some(7, 6)
    before = x.copy()
    whole = given.apply(x)
    assert (whole.shape, whole.dtype) == ((7, given.target_dim), np.float32)
    for i, row in enumerate(x):
        np.testing.assert_allclose(given.apply(row), whole[i], atol=1e-5)
    np.testing.assert_array_equal(x, before)
    if given.normalize:
        np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(given.apply(1000 * x), whole, atol=1e-5)
    for wrong in (some(7, 5), some(5), some(2, 7, 6), np.float32(1)):
        with pytest.raises(DimensionMismatch, match="maps 6 ->"):
            given.apply(wrong)


def test_apply_against_formulas():
    x = some(4, 6).astype(np.float64)
    u = x / np.linalg.norm(x, axis=1, keepdims=True)

    def unit(y):
        return y / np.linalg.norm(y, axis=1, keepdims=True)

    np.testing.assert_allclose(ALL["prefix"].apply(x), unit(u[:, :4]), atol=1e-5)
    t = ALL["orthogonal"]
    np.testing.assert_allclose(t.apply(x), unit(u @ t.weight + t.bias), atol=1e-5)
    t = ALL["affine"]
    np.testing.assert_allclose(t.apply(x), x @ t.weight + t.bias, atol=1e-4)
    np.testing.assert_allclose(ALL["relative"].apply(x), unit(u @ unit(ALL["relative"].anchors).T), atol=1e-5)
    t = ALL["whitened"]
    np.testing.assert_allclose(t.apply(x), (x - t.mean) @ t.precision @ (t.anchors - t.mean).T, atol=1e-4)


@given(st.sampled_from(sorted(ALL)), st.integers(0, 2**31), st.integers(1, 255))
def test_a_flipped_byte_is_found_or_changes_nothing(name, position, change):
    original = ALL[name].between(*TAGS)
    data = bytearray(original.dumps())
    data[position % len(data)] ^= change
    try:
        back = loads(bytes(data))
    except CorruptFile as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert back.digest() == original.digest()
        np.testing.assert_array_equal(back.apply(np.ones(6)), original.apply(np.ones(6)))


@given(st.sampled_from(sorted(ALL)), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(name, part):
    data = ALL[name].dumps()
    with pytest.raises(CorruptFile):
        loads(data[: int(part * len(data))])


@given(st.binary(max_size=200))
def test_noise_is_refused(data):
    with pytest.raises(CorruptFile):
        loads(data)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / "t.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CorruptFile, match="not a samespace transform"):
        transforms.load(tmp_path / "t.safetensors")
    assert not (tmp_path / "sprung").exists()


def forged(header, **arrays):
    """A file whose checksum is right, whatever it holds."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode() + arrays[name].tobytes())
    metadata = {"samespace": json.dumps({**header, "sha256": sha.hexdigest()})}
    return safetensors.numpy.save(arrays, metadata)


GOOD = {
    "kind": "affine",
    "source_dim": 2,
    "target_dim": 2,
    "normalize": True,
    "report": {},
    "source": None,
    "target": None,
}


def test_a_forged_but_whole_file_loads():
    assert loads(forged(GOOD, weight=some(2, 2), bias=some(2))).source_dim == 2


@pytest.mark.parametrize(
    ("header", "arrays"),
    [
        ({}, {}),
        ({**GOOD, "kind": "mystery"}, {}),
        ({**GOOD, "kind": None}, {}),
        ({**GOOD, "kind": ["affine"]}, {}),
        (GOOD, {}),
        (GOOD, {"weight": some(2, 2)}),
        (GOOD, {"weight": some(2, 2), "bias": some(3)}),
        (GOOD, {"weight": np.full((2, 2), np.nan, np.float32), "bias": some(2)}),
        ({k: v for k, v in GOOD.items() if k != "report"}, {"weight": some(2, 2), "bias": some(2)}),
        ({**GOOD, "source": {"space": "m/1"}}, {"weight": some(2, 2), "bias": some(2)}),
        ({**GOOD, "source": "m/1"}, {"weight": some(2, 2), "bias": some(2)}),
        ({**GOOD, "kind": "prefix", "target_dim": 3}, {}),
        ({**GOOD, "kind": "prefix", "target_dim": "1"}, {}),
        ({**GOOD, "kind": "relative"}, {"anchors": some(2, 2)}),
        ({**GOOD, "kind": "relative", "similarity": "whitened"}, {"anchors": some(2, 2)}),
    ],
)
def test_a_file_that_holds_no_transform_is_refused_as_such(header, arrays):
    with pytest.raises(CorruptFile):
        loads(forged(header, **arrays))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_would_poison_every_vector_are_refused(value):
    weight = np.eye(3)
    weight[1, 1] = value
    with pytest.raises(BadVector, match="weight of this affine"):
        Affine(weight=weight, bias=np.zeros(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Prefix(from_dim=3, to_dim=4),
        lambda: Prefix(from_dim=3, to_dim=0),
        lambda: Affine(weight=np.eye(3), bias=np.zeros(2)),
        lambda: Affine(weight=np.zeros(3), bias=np.zeros(3)),
        lambda: Relative(anchors=np.ones(3)),
        lambda: Relative(anchors=np.empty((0, 3))),
        lambda: Relative(anchors=np.eye(3), similarity="dot"),
        lambda: Relative(anchors=np.eye(3), similarity="whitened"),
        lambda: Relative(anchors=np.eye(3), similarity="whitened", mean=np.zeros(3), precision=np.eye(2)),
        lambda: Relative(anchors=np.eye(3), mean=np.zeros(3), precision=np.eye(3)),
        lambda: Relative(anchors=np.eye(3)[:1], similarity="l2"),
        lambda: Relative(anchors=np.ones((4, 3)), similarity="product"),
        lambda: Relative(anchors=np.eye(3), quantum=-0.1),
        lambda: Relative(anchors=np.eye(3), quantum=np.nan),
        lambda: Relative(anchors=np.eye(3), quantum=True),
    ],
)
def test_parts_that_do_not_fit_are_refused(make):
    with pytest.raises(InvalidInput):
        make()


def test_a_transform_does_not_change_with_the_arrays_it_was_made_of():
    weight = np.eye(3, dtype=np.float32)
    one = Affine(weight=weight, bias=np.zeros(3))
    digest = one.digest()
    weight[:] = 5
    assert one.digest() == digest
    with pytest.raises(ValueError, match="read-only"):
        one.weight[0, 0] = 5


@pytest.fixture
def stored(lite, home):
    for _ in range(2):
        lite.register_version("m", dim=6)
    info = lite.add_transform(ALL["orthogonal"], source="m/2", target="m/1")
    return lite, home / "transforms" / f"{info.id}.safetensors"


def refused_after(home, damage):
    """What a newly opened registry says after `damage` was done to the file."""
    damage()
    with connect(home) as registry, pytest.raises(SamespaceError) as caught:
        registry.convert(some(1, 6), source="m/2", into="m/1", allow_unmeasured=True)
    return caught.value


def test_a_file_replaced_in_the_home_is_refused(stored, home):
    _, path = stored
    other = Orthogonal(weight=np.eye(6), bias=np.zeros(6)).between(*TAGS)
    error = refused_after(home, lambda: path.write_bytes(other.dumps()))
    assert type(error) is CorruptFile
    assert "another transform" in str(error)


def test_a_file_damaged_in_the_home_is_refused(stored, home):
    _, path = stored
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    error = refused_after(home, lambda: path.write_bytes(bytes(data)))
    assert type(error) is CorruptFile
    assert "checksum" in str(error)


def test_a_file_lost_from_the_home_is_reported(stored, home):
    _, path = stored
    error = refused_after(home, path.unlink)
    assert type(error) is CorruptFile
    assert "gone" in str(error)


def test_a_transform_cannot_be_changed_by_whoever_holds_it():
    report = {"pairs": 3, "of": {"gallery": "g"}}
    t = Affine(weight=np.eye(2), bias=np.zeros(2), report=report)
    report["of"]["gallery"] = "another"
    assert t.report["of"]["gallery"] == "g"
    with pytest.raises(TypeError):
        t.report["pairs"] = 4
    relative = Relative(anchors=np.eye(2))
    for array in (t.weight, t.bias, relative.anchors, relative._measure.columns):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
