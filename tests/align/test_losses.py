"""`align.losses` against loops that follow the formulas, one number at a time."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from align import losses
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


@pytest.mark.parametrize("kind", ["unit", "raw"])
def test_class_means(batch, kind):
    h, _, _, y = batch
    got = losses.class_means(h, y, classes=C + 1, kind=kind)
    for j in range(C):
        rows = [unit(a) for a, label in zip(h.tolist(), y.tolist(), strict=True) if label == j]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        assert got[j].tolist() == pytest.approx(unit(mean) if kind == "unit" else mean, rel=1e-12)
    assert not got[C].any(), "a class without items has no direction"


def test_gradients_reach_embeddings_but_not_the_frozen_means(batch):
    h, _, p, y = batch
    h.requires_grad_()
    losses.alignment_loss(h, p, y, scale=5.0).backward()
    assert h.grad[:, :OLD].abs().min() > 0
    assert not h.grad[:, OLD:].any()
    assert p.grad is None


@pytest.mark.parametrize("bias", [True, False])
def test_orthogonal_layer_keeps_angles_through_steps(bias):
    torch.manual_seed(0)
    layer = losses.orthogonal_layer(D, bias=bias)
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
        losses.class_means(h, y, classes=2)


def test_examples():
    assert doctest.testmod(losses, extraglobs={"torch": torch}).failed == 0
