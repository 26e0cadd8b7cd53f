"""`align.train`: repeatable, honest about its options, and compatible with the old model where it says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from align import data, train
from align.augment import augment
from align.data import Dataset
from align.encoders import Encoder
from align.heads import OcaHead
from align.metrics import retrieval
from align.prototypes import Old
from align.train import TrainConfig
from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import normalize

QUICK = {"dim": 8, "epochs": 2, "warmup_epochs": 1}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits", seed=11)


@pytest.fixture(scope="module")
def old(digits) -> Encoder:
    return train.run(TrainConfig(dim=16, epochs=12, seed=1, device="cpu"), digits, classes="0-4").encoder


def weights(encoder: Encoder) -> str:
    return encoder.fingerprint()["weights"]


class TestRepeatable:
    @pytest.mark.parametrize("options", [{}, {"shift": 1, "flip": True}])
    def test_bit_for_bit_on_the_cpu(self, digits, options):
        config = TrainConfig(**QUICK, **options, seed=4, device="cpu")
        torch.manual_seed(1)
        first = train.run(config, digits)
        torch.manual_seed(2)
        torch.rand(5)
        again = train.run(config, digits)
        assert weights(first.encoder) == weights(again.encoder)
        assert [e["loss"] for e in first.history] == [e["loss"] for e in again.history]
        other = train.run(dataclasses.replace(config, seed=5), digits)
        assert weights(other.encoder) != weights(first.encoder)

    def test_oca_bit_for_bit(self, digits, old):
        config = TrainConfig(method="oca", **{**QUICK, "dim": 24}, device="cpu")
        assert len({weights(train.run(config, digits, old=old).encoder) for _ in range(2)}) == 1

    def test_leaves_global_random_numbers_alone(self, digits):
        torch.manual_seed(9)
        expected = torch.rand(3)
        torch.manual_seed(9)
        train.run(TrainConfig(**QUICK, device="cpu"), digits)
        assert torch.equal(torch.rand(3), expected)

    def test_never_looks_at_the_test_part(self, digits):
        blank = dataclasses.replace(digits, x_test=np.zeros_like(digits.x_test))
        config = TrainConfig(**QUICK, device="cpu")
        assert weights(train.run(config, digits).encoder) == weights(train.run(config, blank).encoder)


class TestResult:
    def test_history_and_progress(self, digits):
        seen = []
        result = train.run(TrainConfig(**QUICK, device="cpu"), digits, progress=seen.append)
        assert tuple(seen) == result.history
        assert [e["epoch"] for e in seen] == [1, 2]
        assert seen[0].keys() == {"epoch", "loss", "class_loss", "lr", "seconds"}
        assert seen[1]["loss"] < seen[0]["loss"]
        assert result.prototypes is None

    def test_classes(self, digits):
        result = train.run(TrainConfig(**QUICK, device="cpu"), digits, classes="2,7-9")
        assert result.labels.tolist() == [2, 7, 8, 9]

    def test_fewer_items_than_a_batch(self, digits):
        few = {f"{a}_train": getattr(digits, f"{a}_train")[:20] for a in ("x", "y", "ids")}
        result = train.run(TrainConfig(**QUICK, batch=64, device="cpu"), dataclasses.replace(digits, **few))
        assert result.encoder.encode(digits.x_test).shape == (len(digits.x_test), 8)

    def test_one_epoch_is_enough_for_a_schedule(self, digits):
        rates = [e["lr"] for e in train.run(TrainConfig(dim=4, epochs=1, device="cpu"), digits, classes="0-1").history]
        assert rates == [pytest.approx(0, abs=1e-12)]

    def test_schedule_rises_then_falls_to_zero(self, digits):
        config = TrainConfig(dim=4, epochs=4, warmup_epochs=2, device="cpu")
        rates = [e["lr"] for e in train.run(config, digits, classes="0-1").history]
        assert rates[0] < rates[1] > rates[2] > rates[3] == pytest.approx(0, abs=1e-12)


class TestOca:
    def test_prefix_reads_the_old_gallery_and_naive_does_not(self, digits, old):
        new = train.run(TrainConfig(dim=16, epochs=12, seed=2, device="cpu"), digits).encoder
        result = train.run(TrainConfig(method="oca", dim=24, epochs=12, seed=3, device="cpu"), digits, old=old)
        assert result.history[0].keys() >= {"align_loss", "class_loss"}
        x, y = digits.x_test, digits.y_test
        gallery = old.encode(x)

        def score(queries: np.ndarray) -> float:
            return retrieval(queries, gallery, query_labels=y, gallery_labels=y, same_items=True).map

        prefix = normalize(result.encoder.encode(x)[:, : old.dim])
        assert score(prefix) > score(gallery) + 0.03
        assert score(new.encode(x)) < 0.5 * score(gallery)
        assert result.prototypes.shape == (10, 16)
        assert np.linalg.norm(result.prototypes, axis=1) == pytest.approx(1, abs=1e-5)

    def test_old_encoder_is_not_changed(self, digits, old):
        before = weights(old)
        train.run(TrainConfig(method="oca", **{**QUICK, "dim": 24}, device="cpu"), digits, old=old)
        assert weights(old) == before

    def test_head_matches_its_terms_and_rotation_stays_orthogonal(self):
        torch.manual_seed(0)
        config = TrainConfig(method="oca", dim=6, new_weight=2, align_weight=3, pull_weight=4)
        y = torch.arange(12) % 3
        means = torch.nn.functional.normalize(torch.randn(3, 4))
        head = OcaHead(config, [Old(means, y)], classes=3)
        h = torch.nn.functional.normalize(torch.randn(12, 6))
        optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
        for _ in range(5):
            terms = head(h, y)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
        weighed = 2 * terms["class_loss"] + 3 * terms["align_loss"] + 4 * terms["pull_loss"]
        assert terms["loss"].item() == pytest.approx(weighed.item(), rel=1e-6)
        w = head.rotation.weight
        assert (w @ w.T - torch.eye(6)).abs().max() < 1e-5

    def test_published_preset(self, digits, old):
        config = TrainConfig.published(dim=24, backbone="smallconv", device="cpu")
        assert (config.new_weight, config.align_weight, config.pull_weight) == (5, 10, 5)
        assert (config.prototypes, config.classifier) == ("raw", "linear")
        short = dataclasses.replace(config, epochs=2, warmup_epochs=1)
        result = train.run(short, digits, old=old)
        assert np.linalg.norm(result.prototypes, axis=1).max() < 1


class TestAugment:
    def test_shift_moves_whole_images_within_reach(self):
        x = torch.zeros(50, 2, 6, 6)
        x[:, :, 3, 2] = 1
        y = augment(x, torch.Generator().manual_seed(0), shift=2, flip=False)
        assert y.shape == x.shape
        assert torch.equal(y[:, 0], y[:, 1])
        places = {tuple(p[1:].tolist()) for p in y[:, 0].nonzero()}
        assert len(places) > 10
        assert all(1 <= r <= 5 and 0 <= c <= 4 for r, c in places)

    def test_flip_mirrors_about_half(self):
        x = torch.arange(4.0).expand(400, 1, 4, 4)
        y = augment(x, torch.Generator().manual_seed(0), shift=0, flip=True)
        flipped = int((y[:, 0, 0, 0] == 3).sum())
        assert 150 < flipped < 250
        assert torch.equal(y.sum(3), x.sum(3))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "bct2"}, "method must be one of independent, bct, lce, bt2, oca, dsimplex, got 'bct2'"),
            ({"backbone": "vit"}, "backbone"),
            ({"dim": 0}, "dim must be a whole number"),
            ({"epochs": 1.5}, "epochs must be a whole number"),
            ({"batch": True}, "batch must be a whole number"),
            ({"lr": 0}, "lr must be above 0"),
            ({"lr": float("nan")}, "lr must be a finite number"),
            ({"weight_decay": -1}, "weight_decay"),
            ({"smoothing": 1.0}, "smoothing must be below 1"),
            ({"align_scale": "10"}, "align_scale must be a finite number"),
            ({"shift": 0.5}, "shift must be a whole number"),
            ({"seed": -1}, "seed must be a whole number"),
            ({"warmup_epochs": -1}, "warmup_epochs must be a finite number"),
            ({"prototypes": "median"}, "prototypes must be one of unit, raw"),
            ({"method": "oca", "align_weight": 0, "pull_weight": 0}, "align_weight must be above 0"),
        ],
    )
    def test_config(self, options, message):
        with pytest.raises(InvalidInput, match=message):
            TrainConfig(**options)

    def test_run(self, digits, old):
        oca, alone = TrainConfig(method="oca", dim=24), TrainConfig(dim=24)
        with pytest.raises(InvalidInput, match="needs the old encoder"):
            train.run(oca, digits)
        with pytest.raises(InvalidInput, match="uses no old encoder"):
            train.run(alone, digits, old=old)
        with pytest.raises(InvalidInput, match="at least two classes"):
            train.run(alone, digits, classes="3")
        with pytest.raises(InvalidInput, match="dim must be at least the old encoder's 16"):
            train.run(dataclasses.replace(oca, dim=12), digits, old=old)
        wide = dataclasses.replace(digits, x_train=digits.x_train.repeat(2, 3), x_test=digits.x_test.repeat(2, 3))
        with pytest.raises(DimensionMismatch, match="old encoder takes images"):
            train.run(oca, wide, old=old)

    def test_a_loss_that_explodes_names_the_options(self, digits):
        with pytest.raises(InvalidInput, match="lower lr"):
            train.run(TrainConfig(**QUICK, lr=1e30, device="cpu"), digits)
