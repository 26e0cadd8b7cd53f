"""`align.losses` against loops that follow the formulas, one number at a time."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from align import losses
from align.prototypes import class_means
from registry.errors import DimensionMismatch, InvalidInput

N, D, OLD, C = 7, 6, 4, 3


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(5)
    h = torch.randn(N, D, generator=g, dtype=torch.float64)
    w = torch.randn(C, D, generator=g, dtype=torch.float64)
    p = torch.randn(C, OLD, generator=g, dtype=torch.float64)
    return h, w, p, torch.tensor([0, 1, 2, 0, 1, 2, 2])


def unit(v):
    length = math.sqrt(sum(x * x for x in v))
    return [x / length for x in v]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def naive_cross_entropy(logits, y, smoothing):
    total = 0.0
    for row, label in zip(logits, y, strict=True):
        norm = math.log(sum(math.exp(v) for v in row))
        for j, v in enumerate(row):
            total -= ((1 - smoothing) * (j == label) + smoothing / len(row)) * (v - norm)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("classifier", ["cosine", "linear"])
def test_class_loss(batch, classifier, smoothing):
    h, w, _, y = batch
    ready = unit if classifier == "cosine" else list
    logits = [[9.0 * dot(ready(a), ready(b)) for b in w.tolist()] for a in h.tolist()]
    got = losses.class_loss(h, w, y, scale=9.0, smoothing=smoothing, classifier=classifier)
    assert float(got) == pytest.approx(naive_cross_entropy(logits, y.tolist(), smoothing), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_alignment_loss_sees_only_the_prefix(batch, smoothing):
    h, _, p, y = batch
    logits = [[5.0 * dot(unit(a[:OLD]), b) for b in p.tolist()] for a in h.tolist()]
    got = losses.alignment_loss(h, p, y, scale=5.0, smoothing=smoothing)
    assert float(got) == pytest.approx(naive_cross_entropy(logits, y.tolist(), smoothing), rel=1e-12)
    changed = torch.cat([h[:, :OLD] * 3, h[:, OLD:] - 8], dim=1)
    assert float(losses.alignment_loss(changed, p, y, scale=5.0, smoothing=smoothing)) == pytest.approx(float(got))


def test_pull_loss(batch):
    h, _, p, y = batch
    expected = sum(1 - dot(unit(a[:OLD]), unit(p.tolist()[j])) for a, j in zip(h.tolist(), y.tolist(), strict=True)) / N
    assert float(losses.pull_loss(h, p, y)) == pytest.approx(expected, rel=1e-12)


class TestGalleryLoss:
    def test_is_the_softmax_share_of_the_own_label(self, batch):
        h, _, _, y = batch
        torch.manual_seed(3)
        stored = torch.nn.functional.normalize(torch.randn(9, OLD, dtype=h.dtype))
        labels = torch.arange(9) % C
        own = torch.zeros(N, 9, dtype=torch.bool)
        own[0, int(y[0])] = True
        expected = 0.0
        for i, (a, j) in enumerate(zip(h.tolist(), y.tolist(), strict=True)):
            scores = [math.exp(4 * dot(unit(a[:OLD]), s)) for s in stored.tolist()]
            kept = [k for k in range(9) if not own[i, k]]
            expected -= math.log(sum(scores[k] for k in kept if labels[k] == j) / sum(scores[k] for k in kept)) / N
        got = losses.gallery_loss(h, stored, labels, y, scale=4.0, own=own)
        assert float(got) == pytest.approx(expected, rel=1e-9)

    def test_a_label_that_nobody_stored_does_not_count(self, batch):
        h, _, p, y = batch
        stored = torch.nn.functional.normalize(p)
        h.requires_grad_()
        got = losses.gallery_loss(h, stored, torch.full((len(p),), 99), y, scale=4.0)
        got.backward()
        assert got.item() == 0
        assert torch.isfinite(h.grad).all()


def test_boundary_loss(batch):
    h, _, p, y = batch
    radii = torch.linspace(0.2, 0.9, len(p), dtype=h.dtype)
    cosines = [dot(unit(a[:OLD]), unit(p.tolist()[j])) for a, j in zip(h.tolist(), y.tolist(), strict=True)]
    expected = sum(max(0.0, float(radii[j]) - c) for c, j in zip(cosines, y.tolist(), strict=True)) / N
    assert float(losses.boundary_loss(h, p, radii, y)) == pytest.approx(expected, rel=1e-9)
    assert float(losses.boundary_loss(h, p, radii - 3, y)) == 0


def test_distil_loss_is_zero_where_the_first_dimensions_are_the_reference(batch):
    h, *_ = batch
    assert float(losses.distil_loss(h, h[:, :OLD])) == pytest.approx(0, abs=1e-12)
    assert float(losses.distil_loss(h, -h[:, :OLD])) == pytest.approx(2)


def test_contrast_loss(batch):
    h, *_ = batch
    torch.manual_seed(4)
    taught = torch.randn(N, OLD, dtype=h.dtype)
    expected = 0.0
    for i, a in enumerate(h.tolist()):
        scores = [math.exp(10 * dot(unit(a[:OLD]), unit(t))) for t in taught.tolist()]
        expected -= math.log(scores[i] / sum(scores)) / N
    assert float(losses.contrast_loss(h, taught, scale=10.0)) == pytest.approx(expected, rel=1e-9)


def test_nested_loss_is_the_mean_over_widths(batch):
    h, w, _, y = batch
    each = [losses.class_loss(losses.prefix_of(h, m), w[:, :m], y, scale=8.0, smoothing=0.1) for m in (2, 5)]
    got = losses.nested_loss(h, w[:, :5], y, dims=(2, 5), scale=8.0, smoothing=0.1)
    assert float(got) == pytest.approx(float(sum(each)) / 2)


@pytest.mark.parametrize("dim", [1, 2, 9, 128])
def test_simplex_vertices_are_equally_far_apart(dim):
    w = losses.simplex(dim).double()
    assert w.shape == (dim + 1, dim)
    gram = w @ w.T
    assert torch.allclose(gram.diagonal(), torch.ones(dim + 1, dtype=gram.dtype), atol=1e-6)
    off = gram[~torch.eye(dim + 1, dtype=torch.bool)]
    assert torch.allclose(off, torch.full_like(off, -1 / dim), atol=1e-6)


def test_class_means(batch):
    h, _, _, y = batch
    got = class_means(h, y, classes=C + 1)
    for j in range(C):
        rows = [unit(a) for a, label in zip(h.tolist(), y.tolist(), strict=True) if label == j]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        assert got[j].tolist() == pytest.approx(mean, rel=1e-12)
    assert not got[C].any(), "a class without items has no direction"


def test_gradients_reach_embeddings_but_not_the_frozen_means(batch):
    h, _, p, y = batch
    h.requires_grad_()
    losses.alignment_loss(h, p, y, scale=5.0).backward()
    assert h.grad[:, :OLD].abs().min() > 0
    assert not h.grad[:, OLD:].any()
    assert p.grad is None


@pytest.mark.parametrize("rotation", ["cayley", "matrix_exp"])
@pytest.mark.parametrize("bias", [True, False])
def test_orthogonal_layer_keeps_angles_through_steps(bias, rotation):
    torch.manual_seed(0)
    layer = losses.orthogonal_layer(D, bias=bias, rotation=rotation)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    x, target = torch.randn(32, D), torch.randn(32, D)
    first = layer.weight.detach().clone()
    for _ in range(20):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
    assert (layer.weight @ layer.weight.T - torch.eye(D)).abs().max() < 1e-5
    assert (layer.weight - first).abs().max() > 0.1


def test_refusals(batch):
    h, w, _, y = batch
    with pytest.raises(DimensionMismatch, match="class weights 5"):
        losses.class_logits(h, w[:, :5], scale=1.0)
    with pytest.raises(DimensionMismatch, match="keeps 9"):
        losses.prefix_of(h, 9)
    with pytest.raises(InvalidInput, match="one label below 2"):
        class_means(h, y, classes=2)


def test_examples():
    assert doctest.testmod(losses, extraglobs={"torch": torch}).failed == 0
