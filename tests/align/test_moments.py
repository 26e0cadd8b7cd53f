"""`align.moments`: one pass, any split, any source, and no cancellation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align import moments
from align.moments import Moments, accumulate
from registry.errors import BadVector, DimensionMismatch, InvalidInput


def pairs(n=500, dx=5, dy=3, seed=0, mean=0.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) + mean
    y = (x - mean) @ rng.standard_normal((dx, dy)) + rng.standard_normal((n, dy)) - 2 * mean
    return x.astype(dtype), y.astype(dtype)


def exact(x, y, normalize=False) -> Moments:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if normalize:
        x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    a, b, n = x - x.mean(0), y - y.mean(0), len(x)
    spreads = float(np.square(a).sum() / n), float(np.square(b).sum() / n)
    return Moments(n, x.mean(0), y.mean(0), *spreads, a.T @ a / n, a.T @ b / n, b.T @ b / n)


def assert_same(found: Moments, expected: Moments, tolerance=1e-5):
    assert found.n == expected.n
    for name in ("mean_x", "mean_y", "spread_x", "spread_y", "cxx", "cxy", "cyy"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=tolerance, rtol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # NumPy, and the torch path on its CPU
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-5), (np.float32, 1e-5), (np.float64, 1e-5)])
def test_equals_the_formulas(device, normalize, dtype, tolerance):
    x, y = pairs(dtype=dtype)
    assert_same(accumulate(x, y, normalize=normalize, device=device), exact(x, y, normalize), tolerance)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_large_mean_does_not_swallow_the_covariance(device):
    x, y = pairs(n=20_000, mean=1000.0, dtype=np.float32)
    found, expected = accumulate(x, y, device=device), exact(x, y)
    np.testing.assert_allclose(found.cxy, expected.cxy, atol=1e-3)
    np.testing.assert_allclose(found.mean_x, expected.mean_x, rtol=1e-7)


def test_a_late_large_mean_is_no_worse_than_float64_would_allow():
    """Each part is about its own shift, and merging knows both."""
    x, y = pairs(n=1000)
    left, right = accumulate(x[:500], y[:500], device="cpu"), accumulate(x[500:] + 100, y[500:] + 100, device="cpu")
    both = exact(np.concatenate([x[:500], x[500:] + 100]), np.concatenate([y[:500], y[500:] + 100]))
    assert_same(left.merge(right), both, 1e-3)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
@pytest.mark.parametrize("rows", [1, 7, 500])
def test_a_first_block_unlike_the_others_costs_no_precision(device, rows):
    """Its mean is no shift for the rest: a thousand away, with the variance asked for being 1."""
    x, y = pairs(n=20_000, mean=1000.0, dtype=np.float32)
    x[:rows], y[:rows] = x[:rows] - 1000, y[:rows] + 2000
    parts = [(x[:rows], y[:rows]), *((x[a : a + 500], y[a : a + 500]) for a in range(rows, 20_000, 500))]
    found, expected = accumulate(parts, device=device), exact(x, y)
    scale = max(np.abs(expected.cxx).max(), np.abs(expected.cyy).max())
    for name in ("cxx", "cxy", "cyy"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=4e-6 * scale)
    rest, expected = accumulate(iter(parts[1:]), device=device), exact(x[rows:], y[rows:])
    np.testing.assert_allclose(rest.cxy, expected.cxy, atol=1e-3)


def test_chunks_of_one_row_do_not_start_anew_each_time(monkeypatch):
    """A restart costs d^2: rows that come one by one must not each look like a mean that strayed."""
    x, y = pairs(n=2000, mean=3.0)
    restarts: list[None] = []
    restart = moments._Sums._restart
    monkeypatch.setattr(moments._Sums, "_restart", lambda self: (restarts.append(None), restart(self))[1])
    found = accumulate(((x[i : i + 1], y[i : i + 1]) for i in range(2000)), device="cpu")
    assert_same(found, exact(x, y), 1e-4)
    assert len(restarts) < 20


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 499), max_size=6, unique=True), st.floats(-50, 50))
def test_any_split_merges_into_one_pass(cuts, mean):
    x, y = pairs(mean=mean)
    bounds = [0, *sorted(cuts), len(x)]
    parts = [(x[a:b], y[a:b]) for a, b in itertools.pairwise(bounds)]
    whole = accumulate(x, y, device="cpu")
    merged = accumulate(*parts[0], device="cpu")
    for part in parts[1:]:
        merged = merged.merge(accumulate(*part, device="cpu"))
    assert_same(merged, whole, 1e-4)
    assert_same(accumulate(iter(parts), device="cpu"), whole, 1e-4)


def test_blocks_of_any_size(monkeypatch):
    x, y = pairs()
    monkeypatch.setitem(moments._ROWS, "cpu", 7)
    assert_same(accumulate(x, y, device="cpu"), exact(x, y))


def test_memory_maps(tmp_path):
    x, y = pairs(dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y.astype(np.float16))
    maps = [np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy")]
    assert_same(accumulate(*maps, device="cpu"), exact(x, y.astype(np.float16)))


def test_only_what_is_asked_for():
    x, y = pairs()
    found = accumulate(x, y, parts=("xy",), device="cpu")
    assert found.cxx is None
    assert found.cyy is None
    np.testing.assert_allclose(found.cxy, exact(x, y).cxy, atol=1e-5)
    assert found.spread_x == pytest.approx(exact(x, y).spread_x, rel=1e-5)
    with pytest.raises(InvalidInput, match="hold no yy"):
        found.part("yy")


def test_one_side_alone():
    x, _ = pairs()
    found = accumulate(x, parts=("xx",), device="cpu")
    np.testing.assert_allclose(found.cxx, np.cov(x.T, bias=True), atol=1e-5)


def test_progress_counts_rows():
    x, y = pairs()
    seen: list[tuple[int, int | None]] = []
    accumulate(x, y, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (500, 500)
    accumulate([(x, y), (x, y)], device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1000, None)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1e-25, 1e25])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_bad_row_is_named_by_its_place_in_the_whole(device, value, side):
    x, y = pairs()
    (x if side == "source" else y)[333] = value
    parts = [(x[a : a + 100], y[a : a + 100]) for a in range(0, 500, 100)]
    with pytest.raises(BadVector, match=f"{side} row 333 ") as caught:
        accumulate(parts, device=device)
    assert caught.value.row == 333
    assert "\n" not in str(caught.value)


X, Y = pairs(n=6)


@pytest.mark.parametrize(
    ("source", "target", "error", "says"),
    [
        (X, Y[:5], InvalidInput, "source has 6 rows and target 5"),
        (X[:0], Y[:0], InvalidInput, "no rows"),
        ([], None, InvalidInput, "no rows"),
        ([(X, Y), (X[:, :2], Y)], None, DimensionMismatch, "chunk at row 6"),
        ([X], None, InvalidInput, "chunks must be pairs"),
        (3, None, InvalidInput, "source must be"),
        (X[0], Y, InvalidInput, "source must be a matrix"),
        (np.full((6, 2), "a"), Y, InvalidInput, "floating-point"),
    ],
)
def test_bad_input(source, target, error, says):
    with pytest.raises(error, match=says):
        accumulate(source, target, device="cpu")


def test_moments_of_other_spaces_do_not_merge():
    with pytest.raises(DimensionMismatch, match="do not merge"):
        accumulate(X, Y, device="cpu").merge(accumulate(Y, X, device="cpu"))


def test_the_precision_of_torch_is_left_as_it_was():
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        accumulate(X, Y, device="cpu:0")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
