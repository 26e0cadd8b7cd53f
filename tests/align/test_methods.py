"""Every method of `align.train`: readable by the old space where it says so, in chains, and cut to prefixes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from align import data, train
from align.config import METHODS
from align.data import Dataset
from align.encoders import Encoder
from align.metrics import average_compatibility, retrieval
from align.train import TrainConfig
from registry.errors import InvalidInput
from registry.vectors import normalize

OLD, WIDE = 16, 24
EPOCHS = {"epochs": 10, "warmup_epochs": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits", seed=11)


@pytest.fixture(scope="module")
def old(digits) -> Encoder:
    return train.run(TrainConfig(dim=OLD, seed=1, **EPOCHS), digits, classes="0-4").encoder


@pytest.fixture(scope="module")
def reference(digits) -> Encoder:
    return train.run(TrainConfig(dim=OLD, seed=2, **EPOCHS), digits).encoder


def score(digits: Dataset, queries: np.ndarray, gallery: np.ndarray) -> float:
    y = digits.y_test
    width = gallery.shape[1]
    return retrieval(
        normalize(queries[:, :width]), gallery, query_labels=y, gallery_labels=y, same_items=True, device="cpu"
    ).map


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("bct", {}),
        ("lce", {}),
        ("bt2", {"dim": WIDE}),
        ("oca", {"dim": WIDE}),
        ("oca", {"dim": WIDE, "gallery_weight": 1.0, "instance_weight": 1.0}),
        ("oca", {"dim": WIDE, "nested": (4, 8)}),
    ],
)
def test_an_aligned_method_reads_the_old_gallery_better_than_the_old_model(digits, old, reference, method, options):
    config = TrainConfig(method=method, seed=3, **{"dim": OLD, **EPOCHS, **options})
    taught = reference if method == "bt2" else None
    encoder = train.run(config, digits, old=old, reference=taught).encoder
    gallery = old.encode(digits.x_test)
    own = encoder.encode(digits.x_test)
    assert score(digits, own, gallery) > score(digits, gallery, gallery) + 0.03
    assert score(digits, own, own) > 0.9


def test_dsimplex_keeps_its_classes_in_place_without_an_old_model(digits):
    config = TrainConfig(method="dsimplex", dim=OLD, seed=4, **EPOCHS)
    first = train.run(config, digits, classes="0-4").encoder
    again = train.run(dataclasses.replace(config, seed=5), digits).encoder
    x, y = digits.x_test, digits.y_test
    known = y <= 4
    few = dataclasses.replace(digits, x_test=x[known], y_test=y[known], ids_test=digits.ids_test[known])
    stored = first.encode(few.x_test)
    # Trained apart, from other random weights: only the fixed classifier ties them.
    assert score(few, again.encode(few.x_test), stored) > 0.8 * score(few, stored, stored)


def test_dsimplex_learns_from_the_contrast_with_an_old_model(digits, old):
    config = TrainConfig(method="dsimplex", dim=OLD, seed=4, contrast_weight=0.9, **EPOCHS)
    result = train.run(config, digits, old=old)
    assert result.history[-1]["contrast_loss"] < result.history[0]["contrast_loss"] - 0.2
    gallery = old.encode(digits.x_test)
    assert score(digits, result.encoder.encode(digits.x_test), gallery) > 0.6 * score(digits, gallery, gallery)


def test_a_chain_of_three_versions_reads_all_older_galleries(digits, old):
    second = train.run(TrainConfig(method="oca", dim=24, seed=6, **EPOCHS), digits, classes="0-7", old=old).encoder
    third = train.run(TrainConfig(method="oca", dim=32, seed=7, **EPOCHS), digits, old=[second, old]).encoder
    vectors = [encoder.encode(digits.x_test) for encoder in (old, second, third)]
    matrix = [[score(digits, q, g) if j <= i else 0.0 for j, g in enumerate(vectors)] for i, q in enumerate(vectors)]
    assert average_compatibility(matrix) == 1.0


def test_a_nested_prefix_is_an_embedding_of_its_own(digits):
    plain, nested = (
        train.run(TrainConfig(dim=WIDE, seed=8, nested=widths, **EPOCHS), digits).encoder.encode(digits.x_test)
        for widths in ((), (4, 8))
    )
    first, cut = (normalize(v[:, :4]) for v in (plain, nested))
    assert score(digits, cut, cut) > score(digits, first, first) + 0.1
    assert score(digits, nested, nested) > score(digits, plain, plain) - 0.05


def test_bfloat16_learns(digits):
    result = train.run(TrainConfig(dim=8, precision="bfloat16", **{**EPOCHS, "epochs": 3}), digits)
    assert result.history[-1]["class_loss"] < 0.8 * result.history[0]["class_loss"]


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("bct", {}, "needs the old encoder"),
        ("lce", {}, "needs the old encoder"),
        ("bt2", {"old": True}, "learns from an independently trained encoder, got none"),
        ("oca", {"old": True, "reference": True}, "uses no reference encoder, got one"),
        ("independent", {"old": True}, "uses no old encoder"),
        ("dsimplex", {"dim": 8}, "give dim 9 or more"),
        ("bct", {"old": True, "dim": 8}, "at least the old encoder's 16"),
    ],
)
def test_what_does_not_fit_is_refused(digits, old, method, given, message):
    olds = old if given.get("old") else None
    reference = old if given.get("reference") else None
    with pytest.raises(InvalidInput, match=message):
        train.run(TrainConfig(method=method, dim=given.get("dim", OLD)), digits, old=olds, reference=reference)


@pytest.mark.parametrize("widths", [(0,), (32,), (40,), (2.5,), "ab", 3, (True,)])
def test_nested_widths_must_be_prefixes(widths):
    with pytest.raises(InvalidInput, match="nested must be a tuple of widths from 1 to 31"):
        TrainConfig(dim=32, nested=widths)


@pytest.mark.parametrize("method", METHODS)
def test_the_published_recipes_are_accepted(method):
    assert TrainConfig.published(method).epochs == 100


def test_one_class_is_refused(digits):
    with pytest.raises(InvalidInput, match="at least two classes"):
        train.run(TrainConfig(dim=8), digits, classes="3")
    assert torch.get_num_threads() >= 1
