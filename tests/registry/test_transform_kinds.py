"""Low-rank maps, networks and slerp: what they compute, against plain formulas and torch; rows in any number."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import BadVector, CorruptFile, InvalidInput
from registry.transforms import Affine, LowRank, Mlp, Orthogonal, Prefix, Slerp, loads
from registry.transforms.slerp import interpolate

RNG = np.random.default_rng(0)


def some(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rotation(d):
    return np.linalg.qr(RNG.standard_normal((d, d)))[0].astype(np.float32)


LAYERS = ((some(8, 16), some(16)), (some(16, 9), some(9)))  # 6 dimensions and 2 of side information
ASIDE = Mlp(weight=some(6, 4), bias=some(4), layers=LAYERS, out=some(9, 4))
SLERP = Slerp(weight=rotation(6)[:, :5], bias=0.1 * some(5), alpha=0.3, report={"alpha": 0.3})
SIDED = {"mlp": (ASIDE, 2), "slerp": (SLERP, 5)}


def test_a_lowrank_map_is_the_affine_map_of_its_product():
    down, up, bias, x = some(6, 2), some(2, 5), some(5), some(20, 6)
    low = LowRank(down=down, up=up, bias=bias)
    assert (low.source_dim, low.target_dim, low.rank) == (6, 5, 2)
    np.testing.assert_allclose(low.apply(x), Affine(weight=down @ up, bias=bias).apply(x), atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("beside", [0, 2])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_network_computes_what_torch_computes(normalize, beside, depth):
    torch = pytest.importorskip("torch")
    sizes = [6 + beside, 16, 11, 8][: depth + 1]
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    linear, out = torch.nn.Linear(6, 4), torch.nn.Linear(sizes[-1], 4, bias=False)
    mine = Mlp(
        weight=linear.weight.detach().numpy().T,
        bias=linear.bias.detach().numpy(),
        layers=tuple((layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers),
        out=out.weight.detach().numpy().T,
        normalize=normalize,
    )
    x, side = some(50, 6), some(50, beside) if beside else None
    with torch.no_grad():
        rows = torch.tensor(x)
        rows = torch.nn.functional.normalize(rows) if normalize else rows
        h = rows if side is None else torch.cat([rows, torch.tensor(side)], dim=1)
        for layer in layers:
            h = layer(h).relu()
        expected = linear(rows) + out(h)
        expected = torch.nn.functional.normalize(expected) if normalize else expected
    np.testing.assert_allclose(mine.apply(x, side), expected.numpy(), atol=1e-5)


# Slerp


@settings(deadline=None)
@given(
    st.integers(2, 40), st.floats(0, 1), st.integers(0, 2**31), st.sampled_from(["f2", "f4", "f8"]), st.floats(-3, 3)
)
def test_slerp_goes_a_fraction_of_the_angle_on_the_great_circle(d, alpha, seed, dtype, shift):
    rng = np.random.default_rng(seed)
    old, new = (rng.standard_normal((7, d)).astype(dtype) for _ in range(2))
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    got = Slerp(weight=turn, bias=np.full(d, shift), alpha=alpha).apply(new, old)
    a, b = unit(old), unit(unit(new) @ turn + shift)
    theta = np.arccos(np.clip((a * b).sum(axis=1), -1, 1))
    if (np.sin(theta) < 1e-3).any():
        return  # no direction that the textbook formula could tell; see the next tests
    textbook = (np.sin((1 - alpha) * theta) / np.sin(theta))[:, None] * a + (np.sin(alpha * theta) / np.sin(theta))[
        :, None
    ] * b
    np.testing.assert_allclose(got, textbook, atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_the_ends_are_the_old_vector_and_the_rotated_new_one():
    turn, bias, new, old = rotation(6), some(6), some(9, 6), some(9, 6)
    ends = [Slerp(weight=turn, bias=bias, alpha=alpha).apply(new, old) for alpha in (0, 1)]
    np.testing.assert_allclose(ends[0], unit(old), atol=1e-6)
    np.testing.assert_allclose(ends[1], Orthogonal(weight=turn, bias=bias).apply(new), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_parallel_and_opposite_vectors_have_a_value(alpha):
    x = unit(some(50, 12)).astype(np.float32)
    np.testing.assert_allclose(interpolate(x, x, alpha), x, atol=1e-6)
    near = unit(x + 1e-5 * some(50, 12)).astype(np.float32)
    np.testing.assert_allclose(interpolate(x, near, alpha), x + alpha * (near - x), atol=1e-6)
    np.testing.assert_array_equal(interpolate(x, -x, alpha), -x if alpha > 0.5 else x)
    with np.errstate(all="raise"):
        found = Slerp(weight=np.eye(12), bias=np.zeros(12), alpha=alpha).apply(-x, x)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_slerp_is_indifferent_to_lengths_and_to_a_common_rotation():
    new, old, turn = some(9, 5), some(9, 5), rotation(5)
    one = Slerp(weight=np.eye(5), bias=np.zeros(5), alpha=0.4).apply(new, old)
    np.testing.assert_allclose(
        Slerp(weight=np.eye(5), bias=np.zeros(5), alpha=0.4).apply(9 * new, 0.1 * old), one, atol=1e-5
    )
    turned = Slerp(weight=turn, bias=np.zeros(5), alpha=0.4).apply(new, old @ turn)
    np.testing.assert_allclose(turned, one @ turn, atol=1e-5)


# Both kinds that need a side


@pytest.mark.parametrize("name", SIDED)
def test_a_kind_with_a_side_survives_its_file_and_insists_on_the_side(name):
    given_, width = SIDED[name]
    x, side = some(30, 6), some(30, width)
    back = loads(given_.dumps())
    assert (type(back), back.digest(), back.side_dim, back.report) == (
        type(given_),
        given_.digest(),
        width,
        given_.report,
    )
    np.testing.assert_array_equal(back.apply(x, side), given_.apply(x, side))
    np.testing.assert_allclose(back.apply(x[0], side[0]), given_.apply(x, side)[0], atol=1e-5)
    for wrong in (None, side[:29], side[:, 1:], side[0]):
        with pytest.raises(InvalidInput, match=f"{name} transform needs side \\(30, {width}\\)"):
            back.apply(x, wrong)
    with pytest.raises(InvalidInput, match="takes no side"):
        Affine(weight=np.eye(6), bias=np.zeros(6)).apply(x, side)


@given(st.sampled_from(sorted(SIDED)), st.integers(0, 2**31), st.integers(1, 255))
def test_a_flipped_byte_is_found_or_changes_nothing(name, position, change):
    original, width = SIDED[name]
    data = bytearray(original.dumps())
    data[position % len(data)] ^= change
    try:
        back = loads(bytes(data))
    except CorruptFile:
        return
    assert back.digest() == original.digest()
    np.testing.assert_array_equal(back.apply(np.ones(6), np.ones(width)), original.apply(np.ones(6), np.ones(width)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LowRank(down=some(6, 2), up=some(3, 5), bias=some(5)),
        lambda: LowRank(down=some(6, 2), up=some(2, 5), bias=some(4)),
        lambda: LowRank(down=some(6, 0), up=some(0, 5), bias=some(5)),
        lambda: LowRank(down=some(6), up=some(2, 5), bias=some(5)),
        lambda: Mlp(weight=some(6, 4), bias=some(3), layers=LAYERS, out=some(9, 4)),
        lambda: Mlp(weight=some(6, 4), bias=some(4), layers=(), out=some(6, 4)),
        lambda: Mlp(weight=some(9, 4), bias=some(4), layers=LAYERS, out=some(9, 4)),
        lambda: Mlp(weight=some(6, 4), bias=some(4), layers=LAYERS[::-1], out=some(9, 4)),
        lambda: Mlp(weight=some(6, 4), bias=some(4), layers=LAYERS, out=some(8, 4)),
        lambda: Mlp(weight=some(6, 4), bias=some(4), layers=((some(6, 3), some(2)),), out=some(3, 4)),
        lambda: Slerp(weight=np.eye(3), bias=np.zeros(3), alpha=-0.1),
        lambda: Slerp(weight=np.eye(3), bias=np.zeros(3), alpha=np.nan),
        lambda: Slerp(weight=np.eye(3), bias=np.zeros(3), alpha=True),
        lambda: Slerp(weight=np.eye(3), bias=np.zeros(3), alpha="0.5"),
        lambda: Slerp(weight=np.eye(3), bias=np.zeros(3), alpha=0.5, normalize=False),
    ],
)
def test_parts_that_do_not_fit_are_refused(make):
    with pytest.raises(InvalidInput) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_poisoned_layers_are_refused_by_name(value):
    bad = some(6, 3).astype(np.float64)
    bad[2, 1] = value
    with pytest.raises(BadVector, match=r"layers.0.weight of this mlp"):
        Mlp(weight=some(6, 4), bias=some(4), layers=((bad, some(3)),), out=some(3, 4))
    with pytest.raises(BadVector, match="up of this lowrank"):
        LowRank(down=some(5, 6), up=bad, bias=some(3))


def test_the_layers_of_a_network_cannot_be_changed():
    for w, b in ASIDE.layers:
        for array in (w, b):
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True


# Any number of rows


MANY = {
    "prefix": Prefix(from_dim=512, to_dim=256),
    "orthogonal": Orthogonal(weight=rotation(512)[:, :256], bias=some(256)),
    "raw": Affine(weight=some(512, 256), bias=some(256), normalize=False),
    "lowrank": LowRank(down=some(512, 8), up=some(8, 256), bias=some(256)),
    "mlp": Mlp(weight=some(512, 256), bias=some(256), layers=((some(512, 32), some(32)),), out=some(32, 256)),
    "slerp": Slerp(weight=rotation(512)[:, :256], bias=some(256), alpha=0.5),
}


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_many_rows_are_mapped_as_few_are_and_in_bounded_memory(name, dtype):
    transform, x = MANY[name], RNG.standard_normal((12_500, 512)).astype(dtype)
    side = RNG.standard_normal((12_500, 256)).astype(dtype) if transform.side_dim else None
    tracemalloc.start()
    whole = transform.apply(x, side)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (whole.shape, whole.dtype) == ((12_500, 256), np.float32)
    assert peak < whole.nbytes + (48 << 20), "temporaries are those of a block, not of all rows"
    for row in (0, 4095, 4096, 8191, 12_499):
        beside = None if side is None else side[row]
        scale = np.abs(whole[row]).max()
        np.testing.assert_allclose(transform.apply(x[row], beside), whole[row], atol=1e-4 * scale)
        one = transform.apply(x[row : row + 1], None if side is None else side[row : row + 1])
        np.testing.assert_array_equal(one[0], transform.apply(x[row], beside))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_what_is_returned_is_never_the_callers_own_array(normalize, n):
    x = some(n, 4)
    for transform in (
        Prefix(from_dim=4, to_dim=4, normalize=normalize),
        Affine(weight=np.eye(4), bias=np.zeros(4), normalize=normalize),
    ):
        got = transform.apply(x)
        assert got.shape == (n, 4)
        assert not np.shares_memory(got, x)


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1e12, 1e25])
def test_lengths_far_from_one_do_not_spoil_directions(size):
    x = (size * some(5, 4).astype(np.float64)).astype(np.float32)
    t = Affine(weight=size * np.eye(4), bias=np.zeros(4))
    np.testing.assert_allclose(t.apply(x), unit(x), atol=1e-5)
    with np.errstate(over="ignore"):  # NumPy warns of the overflow of a single row, which is then mended
        np.testing.assert_allclose(t.apply(x[0]), unit(x[0]), atol=1e-5)


def test_a_row_of_zeros_stays_zeros_and_hurts_no_other():
    x = some(3, 4)
    x[1] = 0
    got = Orthogonal(weight=rotation(4), bias=np.zeros(4)).apply(x)
    assert not got[1].any()
    np.testing.assert_allclose(np.linalg.norm(got[[0, 2]], axis=1), 1, atol=1e-6)
    assert not Orthogonal(weight=rotation(4), bias=np.zeros(4)).apply(x[1]).any()
