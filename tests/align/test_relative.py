"""`align.relative`: a table of what changes a relative space and what does not, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from align.anchors import select
from align.relative import project, transform
from align.relative.on_torch import measure_of
from registry import transforms
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.vectors import normalize

SIMILARITIES = ("cosine", "whitened", "l2", "product")


def data(n=400, d=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)) * np.linspace(0.5, 2, d) + 0.5


def rotated(x, rng):
    return x @ np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0]


def scaled(x, rng):
    return x * rng.uniform(0.1, 10)


def shifted(x, rng):
    return x + rng.uniform(1, 2, x.shape[1])


def stretched(x, rng):
    u, v = (np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0] for _ in range(2))
    return x @ (u * np.geomspace(0.2, 5, x.shape[1])) @ v


def affine(x, rng):
    return shifted(stretched(x, rng), rng)


def swapped(x, rng):
    """Axes in another order, some turned round: a rotation that all norms bear."""
    return x[:, rng.permutation(x.shape[1])] * rng.choice([-1, 1], x.shape[1])


def on_device(x, anchors, similarity, **options):
    """`project` by torch, which the tests have on the CPU only."""
    return project(x, anchors, similarity, device="cpu:0", **options)


@pytest.mark.parametrize("projected", [project, on_device])
@pytest.mark.parametrize(
    ("similarity", "change", "invariant"),
    [
        ("cosine", rotated, True),
        ("cosine", scaled, True),
        ("cosine", shifted, False),
        ("cosine", affine, False),
        ("whitened", rotated, True),
        ("whitened", scaled, True),
        ("whitened", shifted, True),
        ("whitened", stretched, True),
        ("whitened", affine, True),
        ("l2", rotated, True),
        ("l2", scaled, True),
        ("l2", shifted, True),
        ("l2", affine, False),
        ("product", swapped, True),
        ("product", scaled, True),
        ("product", rotated, False),
        ("product", shifted, False),
        ("product", affine, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@settings(max_examples=6, deadline=None)
@given(strategy=st.sampled_from(["uniform", "prototype"]), seed=st.integers(0, 2**31))
def test_invariance(projected, similarity, change, invariant, strategy, seed):
    """The oracle is pointwise: each number before and after, not a statistic of them."""
    x = data()
    y = change(x, np.random.default_rng(seed))
    anchors = select(x, 20, strategy)
    # A mean of directions is no mean of rows: what a shift does to it is not the similarity's doing.
    a, b = (projected(rows, anchors.vectors(rows), similarity) for rows in (x, y))
    if invariant:
        np.testing.assert_allclose(a, b, atol=1e-5 if similarity == "cosine" else 4e-3)
    else:
        assert np.abs(a - b).max() > 1e-2


def test_the_blocks_of_product_have_invariances_of_their_own():
    x, rng = data(), np.random.default_rng(1)
    for change, kept in ((rotated, (0, 2)), (shifted, (1, 2, 3))):
        a, b = (project(rows, rows[:9], "product").reshape(-1, 4, 9) for rows in (x, change(x, rng)))
        same = [np.abs(a[:, i] - b[:, i]).max() < 2e-3 for i in range(4)]
        assert same == [i in kept for i in range(4)]


def loop(x, a, similarity):
    """What the docstrings say, pair by pair, in float64."""
    x, a = x.astype(np.float64), a.astype(np.float64)
    if similarity == "cosine":
        return np.asarray([[u @ v / np.linalg.norm(u) / np.linalg.norm(v) for v in a] for u in x])
    if similarity == "whitened":
        return (x - x.mean(0)) @ np.linalg.inv(np.cov(x.T, bias=True)) @ (a - x.mean(0)).T
    if similarity == "l2":
        return closeness(x, a, "euclidean")
    blocks = [loop(x, a, "cosine"), *(closeness(x, a, m) for m in ("cityblock", "euclidean", "chebyshev"))]
    return np.concatenate([b / np.linalg.norm(b, axis=1, keepdims=True) / 2 for b in blocks], axis=1)


def closeness(x, a, metric):
    gaps = cdist(a, a, metric)
    return 1 - cdist(x, a, metric) / gaps[np.triu_indices(len(a), 1)].mean()


@pytest.mark.parametrize("projected", [project, on_device])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_equals_a_plain_loop(projected, similarity, dtype):
    x, a = data().astype(dtype), data(10, seed=1).astype(dtype)
    found = projected(x, a, similarity)
    assert found.dtype == np.float32
    expected = loop(x, a, similarity)
    np.testing.assert_allclose(found, expected, atol={"cosine": 1e-5, "whitened": 2e-3}.get(similarity, 1e-3))


@pytest.mark.parametrize("similarity", ["cosine", "l2", "product"])  # a longer row can win an inner product
def test_a_row_is_closest_to_itself(similarity):
    x = data(40)
    blocks = project(x, x, similarity).reshape(40, -1, 40)
    assert (blocks.argmax(axis=2) == np.arange(40)[:, None]).all()


def test_larger_is_closer_for_l2():
    x, a = data(), data(12, seed=1)
    np.testing.assert_array_equal(
        np.argsort(project(x, a, "l2"), axis=None, kind="stable")[-1], np.argmin(cdist(x, a), axis=None)
    )


def test_more_anchors_than_set_the_unit():
    x = data(600, d=3)
    few = x[np.arange(256) * 600 // 256]
    gaps = cdist(few, few)[np.triu_indices(256, 1)].mean()
    for found in (project(x[:50], x, "l2"), on_device(x[:50], x, "l2")):
        np.testing.assert_allclose(found, 1 - cdist(x[:50], x) / gaps, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["cosine", "whitened", "l2"]), st.floats(0.01, 1.0), st.sampled_from(["cpu", "cpu:0"]))
def test_quantum_rounds_to_its_multiples(similarity, quantum, device):
    x = data(60)
    exact = project(x, x[:7], similarity, device=device)
    found = project(x, x[:7], similarity, quantum=quantum, device=device)
    steps = exact.astype(np.float64) / quantum
    clear = np.abs(steps - np.floor(steps) - 0.5) > 1e-3  # a tie may fall either way in float32
    np.testing.assert_allclose(found[clear], (np.round(steps) * quantum)[clear], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, exact, atol=0.5001 * quantum + 1e-4)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_no_quantum_and_zero_are_the_same(similarity):
    x = data(60)
    np.testing.assert_array_equal(project(x, x[:7], similarity, quantum=0), project(x, x[:7], similarity))


def test_quantum_of_product_comes_before_its_scaling():
    x, a = data(60), data(7, seed=1)
    blocks = [
        np.round(b / 0.25) * 0.25
        for b in (loop(x, a, "cosine"), *(closeness(x, a, m) for m in ("cityblock", "euclidean", "chebyshev")))
    ]
    expected = np.concatenate(
        [b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-9) / 2 for b in blocks], axis=1
    )
    for projected in (project, on_device):
        found = projected(x, a, "product", quantum=0.25)
        assert (np.abs(found - expected).max(axis=1) < 1e-3).mean() > 0.95, "all but rows with a tie"


@pytest.mark.parametrize("quantum", [None, 0.1])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_transform_is_what_project_computes(similarity, quantum):
    x = data()
    more = {"data": x} if similarity == "whitened" else {}
    to = transform(x[:9], similarity, quantum=quantum, **more)
    assert isinstance(to, transforms.Relative)
    assert (to.target_dim, to.quantum) == (36 if similarity == "product" else 9, quantum or 0)
    found = project(x, x[:9], similarity, quantum=quantum)
    # Rows that are anchors: their distance is 0 but for what float32 cancels.
    exact = 1e-5 if similarity in ("cosine", "whitened") else 1e-3
    np.testing.assert_allclose(to.apply(x), normalize(found) if similarity == "cosine" else found, atol=exact)
    assert to.normalize is (similarity == "cosine")
    assert to.report["similarity"] == similarity
    directions = transform(normalize(x)[:9], similarity, quantum=quantum, normalize=True, **more)
    found = project(x, normalize(x)[:9], similarity, quantum=quantum, normalize=True)
    np.testing.assert_allclose(directions.apply(x), normalize(found), atol=exact)
    np.testing.assert_allclose(directions.apply(7 * x[20]), directions.apply(x)[20], atol=exact)


def test_data_may_come_in_chunks_or_from_elsewhere():
    x = data()
    whole, parts = (
        transform(x[:9], "whitened", data=x),
        transform(x[:9], "whitened", data=(x[i : i + 99] for i in range(0, 400, 99))),
    )
    assert whole.report["rows"] == 400
    np.testing.assert_allclose(whole.precision, parts.precision, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(project(x[:50], x[:9], "whitened", data=x), whole.apply(x[:50]), atol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_memory_maps_and_blocks(similarity, tmp_path, monkeypatch):
    from align.relative import projection

    x = data(1000).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = project(x, select(x, 5), similarity)
    monkeypatch.setattr(projection, "_BYTES", {"cpu": 1000, "cuda": 1000})
    for device in ("cpu", "cpu:0"):
        np.testing.assert_allclose(project(mapped, select(x, 5), similarity, device=device), expected, atol=1e-3)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float32, expected.shape)
    assert project(mapped, select(x, 5), similarity, out=out) is out
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-3)


def test_a_bad_row_is_named_by_its_place_in_the_whole(monkeypatch):
    from align.relative import projection

    monkeypatch.setattr(projection, "_BYTES", {"cpu": 100, "cuda": 100})
    x = data(50)
    x[33, 2] = np.nan
    for device in ("cpu", "cpu:0"):
        with pytest.raises(BadVector, match="x row 33") as caught:
            project(x, x[:5], device=device)
        assert caught.value.row == 33


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_rows_of_extreme_length_keep_their_direction(device):
    x = data(40).astype(np.float64)
    x *= np.geomspace(1e-30, 1e30, 40)[:, None]
    np.testing.assert_allclose(
        project(x, data(5, seed=1), device=device), loop(x, data(5, seed=1), "cosine"), atol=1e-5
    )
    with pytest.raises(BadVector, match=r"x row (0|39) has length .*too far from 1 for float32"):
        project(x, data(5, seed=1), "l2", device=device)


def test_gradients_reach_the_anchors():
    import torch

    from align.relative.on_torch import similarity_to

    x = torch.tensor(data(30, seed=2), dtype=torch.float64)
    a = torch.tensor(data(5, seed=1), dtype=torch.float64, requires_grad=True)
    moments = torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
    for similarity in SIMILARITIES:
        measured = lambda a, s=similarity: similarity_to(a, s, moments=moments)(x)  # noqa: E731
        assert torch.autograd.gradcheck(measured, (a,), atol=1e-4)


def test_torch_measures_a_registered_transform():
    import torch

    x = data(30).astype(np.float32)
    for similarity in SIMILARITIES:
        more = {"data": x} if similarity == "whitened" else {}
        to = transform(x[:4], similarity, quantum=0.01, **more)
        found = measure_of(to, "cpu")(torch.tensor(x)).numpy()
        assert np.isclose(found, to.similarities(x), atol=1e-4).mean() > 0.98, "all but ties"


def test_a_dead_dimension_stays_finite():
    x = data()
    x[:, 2] = 1
    for similarity in SIMILARITIES:
        assert np.isfinite(project(x, x[:5], similarity)).all()


def test_few_rows_warn_and_are_not_trusted():
    """Of 10 rows in 6 dimensions the precision keeps no direction that is weaker than their mean."""
    x = data(10)
    with pytest.warns(UserWarning, match="10 rows say little about a covariance of 6 dimensions"):
        to = transform(data(4), "whitened", data=x)
    assert to.report["floor"] == 1
    assert np.linalg.eigvalsh(to.precision).max() <= 6.001 / np.trace(np.cov(x.T, bias=True))
    with pytest.warns(UserWarning, match="10 rows"):
        given = transform(data(4), "whitened", data=x, floor=1e-6)
    np.testing.assert_allclose(given.precision, np.linalg.inv(np.cov(x.T, bias=True)), rtol=1e-2, atol=1e-2)
    assert transform(data(4), "whitened", data=data(24)).report["floor"] == 1e-6


def test_no_rows_give_no_rows():
    assert project(np.empty((0, 6)), data(5)).shape == (0, 5)
    assert project(np.empty((0, 6)), data(5), "product").shape == (0, 20)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(SIMILARITIES), st.booleans())
def test_rows_that_cannot_be_are_refused(broken_rows, data, similarity, as_anchors):
    rows, good = data.draw(broken_rows(12, 3)), np.random.default_rng(0).standard_normal((12, 3))
    more = {"data": good} if similarity == "whitened" else {}
    given = (good, rows) if as_anchors else (rows, good)
    shape = rows.shape if isinstance(rows, np.ndarray) else ()
    if shape == (0, 3) and not as_anchors:
        assert len(project(*given, similarity, device="cpu", **more)) == 0
        return
    if as_anchors and similarity in ("whitened", "l2") and shape == (12, 3) and _only_zeros(rows):
        assert np.isfinite(project(*given, similarity, device="cpu", **more)).all()  # the origin is a place like others
        return
    with pytest.raises(InvalidInput) as caught:
        project(*given, similarity, device="cpu", **more)
    assert "\n" not in str(caught.value)


def _only_zeros(rows):
    rows = np.asarray(rows)
    return rows.dtype.kind == "f" and np.isfinite(rows).all()


X = data()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: project(X, X[:3, :2]), DimensionMismatch, "x have 6 dimensions"),
        (lambda: project(X, X[:3, :2], "whitened"), DimensionMismatch, "anchors have 2 dimensions"),
        (lambda: project(X, X[:3, :2], "product"), DimensionMismatch, "x have 6 dimensions"),
        (lambda: project(X, X[:3], "dot"), InvalidInput, "similarity 'dot' is not known"),
        (lambda: project(X, X[:3], ["cosine"]), InvalidInput, "is not known"),
        (lambda: project(X, X[:3], data=X), InvalidInput, "leave it out for cosine"),
        (lambda: project(X, X[:3], "l2", data=X), InvalidInput, "leave it out for l2"),
        (lambda: project(X, X[:3], "whitened", floor=0), InvalidInput, "floor must be"),
        (lambda: project(X, X[:3], quantum=-1), InvalidInput, "quantum must be"),
        (lambda: project(X, X[:3], quantum=np.inf), InvalidInput, "quantum must be"),
        (lambda: project(X, X[:3], out=np.empty((3, 3))), InvalidInput, r"out must be an array \(400, 3\) of float32"),
        (lambda: project(np.zeros((3, 6)), X[:3]), BadVector, "x row 0"),
        (lambda: project(X, np.zeros((3, 6))), BadVector, "anchors row 0"),
        (lambda: project(X, X[:0]), InvalidInput, "needs an anchor or more"),
        (lambda: project(X, X[:1], "l2"), InvalidInput, "two different anchors"),
        (lambda: project(X, X[[0, 0, 0]], "product"), InvalidInput, "two different anchors"),
        (lambda: transform(X[:3], "whitened"), InvalidInput, "needs data"),
        (lambda: transform(X[:3], "whitened", data=np.ones((30, 6))), InvalidInput, "do not vary"),
        (lambda: transform(X[:3], "whitened", data=X * [[np.nan]]), BadVector, "data row 0"),
        (lambda: transform(X[:3], "whitened", data=[]), InvalidInput, "no rows"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
