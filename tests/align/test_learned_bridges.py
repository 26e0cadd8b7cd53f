"""Bridges that are learned: never worse than their start on held-out pairs, the same for a seed, applied as they were fitted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from align.bridges import closed, descent
from align.bridges.learned import fct, lambda_orthogonal, mlp
from align.bridges.slerp import fit_slerp
from align.moments import accumulate
from registry.errors import BadVector, InvalidInput
from registry.transforms import loads

QUICK = {"epochs": 12, "batch": 64, "device": "cpu"}


def curved(n=600, seed=0, d=6):
    """Pairs whose second side is a bent first one."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    w = np.random.default_rng(9).standard_normal((d, d))
    return x, (np.tanh(2 * x @ w) + 0.3 * x).astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cosine(a, b):
    return float((unit(a) * unit(b)).sum(axis=1).mean())


class TestMlp:
    def test_bends_where_a_linear_map_cannot(self):
        x, y = curved(2000)
        fitted = mlp(x[:1500], y[:1500], normalize=True, **{**QUICK, "epochs": 40})
        linear = closed.affine(accumulate(x[:1500], y[:1500], normalize=True, device="cpu"), normalize=True)
        assert cosine(fitted.apply(x[1500:]), y[1500:]) > cosine(linear.apply(x[1500:]), y[1500:]) + 0.005
        assert fitted.report["score"] > fitted.report["start_score"]

    def test_is_its_start_where_nothing_is_to_be_learned(self):
        x, _ = curved()
        turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0].astype(np.float32)
        fitted = mlp(x, x @ turn, normalize=True, **QUICK)
        assert fitted.report["score"] >= fitted.report["start_score"] - 1e-9
        assert cosine(fitted.apply(x), x @ turn) > 0.9999

    def test_repeats_bit_for_bit_and_leaves_the_global_generator_alone(self):
        x, y = curved()
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        first = mlp(x, y, normalize=True, seed=5, **QUICK)
        assert torch.equal(torch.rand(2), expected)
        assert first.digest() == mlp(x, y, normalize=True, seed=5, **QUICK).digest()
        assert first.digest() != mlp(x, y, normalize=True, seed=6, **QUICK).digest()

    def test_learns_lengths_where_they_count(self):
        x, y = curved(2000)
        fitted = mlp(x, 5 * y, normalize=False, **{**QUICK, "epochs": 30})
        missed = np.square(fitted.apply(x) - 5 * y).sum() / np.square(5 * y - (5 * y).mean(0)).sum()
        linear = closed.affine(accumulate(x, 5 * y, device="cpu"), normalize=False)
        assert missed < linear.report["residual"] - 0.01

    def test_reads_memory_maps_and_survives_its_file(self, tmp_path):
        x, y = curved()
        for name, rows in (("x", x), ("y", y)):
            np.save(tmp_path / f"{name}.npy", rows)
        maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
        fitted = mlp(*maps, normalize=True, **QUICK)
        assert fitted.digest() == mlp(x, y, normalize=True, **QUICK).digest()
        assert np.array_equal(loads(fitted.dumps()).apply(x), fitted.apply(x))

    def test_more_pairs_than_memory_holds_are_read_batch_by_batch(self, monkeypatch):
        x, y = curved()
        held = mlp(x, y, normalize=True, **QUICK)
        monkeypatch.setattr(descent, "_IN_MEMORY", 0)
        read = mlp(x, y, normalize=True, **QUICK)
        np.testing.assert_allclose(read.apply(x), held.apply(x), atol=1e-3)

    def test_pairs_given_for_validation_are_not_learned_from(self):
        x, y = curved(400)
        found = mlp(x[:300], y[:300], normalize=True, validation=(x[300:], y[300:]), **QUICK)
        assert (found.report["pairs"], found.report["validation_pairs"]) == (300, 100)
        assert found.report["score"] == pytest.approx(cosine(found.apply(x[300:]), y[300:]), abs=1e-6)
        for bad in ((x[300:], y[300:, :3]), (x[300:, :3], y[300:]), (x[300:], y[:3]), (x[:0], y[:0])):
            with pytest.raises(InvalidInput):
                mlp(x[:300], y[:300], normalize=True, validation=bad, **QUICK)

    @pytest.mark.parametrize("scale", [1e-3, 1e3])
    def test_the_unit_of_lengths_does_not_matter(self, scale):
        x, y = curved()
        one = mlp(x + 3, y - 2, normalize=False, **QUICK)
        other = mlp(scale * (x + 3), (y - 2) / scale, normalize=False, **QUICK)
        assert other.report["score"] == pytest.approx(one.report["score"], abs=1e-3)
        np.testing.assert_allclose(scale * other.apply(scale * (x + 3)), one.apply(x + 3), atol=0.05)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"epochs": 0}, "epochs must be"),
            ({"batch": True}, "batch must be"),
            ({"lr": np.inf}, "lr must be"),
            ({"lr": "1"}, "lr must be"),
            ({"hidden": 0}, "hidden must be"),
            ({"hidden": 1.5}, "hidden must be"),
            ({"validation": 1.0}, "validation must be"),
            ({"validation": 0.0}, "validation must be"),
        ],
    )
    def test_bad_options_are_refused(self, options, says):
        with pytest.raises(InvalidInput, match=says) as caught:
            mlp(*curved(60), normalize=True, **options)
        assert "\n" not in str(caught.value)

    def test_a_diverging_fit_says_so(self):
        with pytest.raises(InvalidInput, match="diverged in epoch 1: lower lr"):
            mlp(*curved(), normalize=False, **{**QUICK, "lr": 1e30})

    def test_reports_progress(self):
        seen = []
        mlp(*curved(), normalize=True, progress=lambda done, total: seen.append((done, total)), **QUICK)
        assert seen[0] == (1, 12)


class TestFct:
    def test_side_information_helps_where_the_old_vector_does_not_know(self):
        rng = np.random.default_rng(0)
        new = rng.standard_normal((1500, 6)).astype(np.float32)
        old, side = new[:, :3], (100 + 40 * new[:, 3:]).astype(np.float32)
        alone = fct(old, new, normalize=True, hidden=64, **QUICK)
        helped = fct(old, new, side=side, normalize=True, hidden=64, **QUICK)
        assert helped.side_dim == 3
        assert cosine(helped.apply(old, side), new) > cosine(alone.apply(old), new) + 0.1

    def test_side_information_may_be_zeros_or_constant_but_not_broken(self):
        x, y = curved(100)
        side = np.ones((100, 3), np.float32)
        side[4] = 0
        options = {**QUICK, "epochs": 2, "hidden": 8}
        assert np.isfinite(fct(x, y, side=side, normalize=True, **options).apply(x, side)).all()
        assert np.isfinite(fct(x, y, side=np.ones((100, 3)), normalize=True, **options).apply(x, side)).all()
        side[7, 1] = np.nan
        with pytest.raises(BadVector, match="side row 7 holds NaN") as caught:
            fct(x, y, side=side, normalize=True, **options)
        assert caught.value.row == 7
        for bad in (side[:99], side[:, 0], side[:, :0], side.astype(str)):
            with pytest.raises(InvalidInput):
                fct(x, y, side=bad, normalize=True, **options)

    def test_two_hidden_layers(self):
        x, y = curved()
        assert len(fct(x, y, normalize=True, hidden=16, **QUICK).layers) == 2


class TestLambdaOrthogonal:
    def test_a_smaller_lambda_stays_nearer_to_orthogonal(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1000, 8)).astype(np.float32)
        y = x @ (3 * rng.standard_normal((8, 8))).astype(np.float32)
        options = {**QUICK, "epochs": 60, "lr": 1e-2}
        loose, tight = (lambda_orthogonal(x, y, normalize=True, lam=lam, **options) for lam in (30.0, 0.0))
        assert tight.report["deviation"] < 0.5 * loose.report["deviation"]
        assert cosine(loose.apply(x), y) > cosine(tight.apply(x), y)
        gram = tight.weight @ tight.weight.T
        assert float(np.linalg.norm(gram - np.eye(8))) == pytest.approx(tight.report["deviation"], rel=1e-4)

    @pytest.mark.parametrize("widths", [(8, 8), (8, 5), (5, 8)])
    def test_a_strict_one_stays_orthogonal_and_never_loses_to_its_start(self, widths):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1000, widths[0])).astype(np.float32)
        y = np.tanh(x @ rng.standard_normal(widths)).astype(np.float32)
        fitted = lambda_orthogonal(x, y, normalize=True, strict=True, **{**QUICK, "lr": 1e-2})
        assert fitted.report["deviation"] < 1e-4
        assert fitted.report["score"] >= fitted.report["start_score"]
        w = fitted.weight
        gram = w @ w.T if widths[0] <= widths[1] else w.T @ w
        np.testing.assert_allclose(gram, np.eye(min(widths)), atol=1e-4)

    def test_lengths_of_another_unit_leave_the_matrix_orthogonal(self):
        x, _ = curved(1000)
        turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
        fitted = lambda_orthogonal(x, (20 * x @ turn + 3).astype(np.float32), normalize=False, **QUICK)
        assert fitted.report["scale"] == pytest.approx(20, rel=1e-3)
        assert fitted.report["deviation"] < 0.1
        np.testing.assert_allclose(fitted.apply(x), 20 * x @ turn + 3, atol=0.5)

    def test_widths_may_differ_and_labels_draw_classes_together(self):
        rng = np.random.default_rng(0)
        labels = np.arange(900) % 6
        y = rng.standard_normal((6, 4))[labels] + 0.8 * rng.standard_normal((900, 4))
        x = np.concatenate([y, rng.standard_normal((900, 2))], axis=1) + 0.1 * rng.standard_normal((900, 6))
        x, y = x.astype(np.float32), y.astype(np.float32)
        plain, drawn = (
            lambda_orthogonal(x, y, normalize=True, lam=30.0, labels=given, **QUICK) for given in (None, labels)
        )
        assert drawn.apply(x).shape == (900, 4)
        inner = [cosine(t.apply(x), y[(np.arange(900) + 6) % 900]) for t in (plain, drawn)]  # others of one's own class
        assert inner[1] > inner[0]

    @pytest.mark.parametrize("labels", [np.zeros(600), np.zeros((600, 1), int), np.zeros(599, int), [None] * 600])
    def test_bad_labels_are_refused(self, labels):
        with pytest.raises(InvalidInput):
            lambda_orthogonal(*curved(), normalize=True, labels=labels, **QUICK)

    @pytest.mark.parametrize("labels", [np.zeros(600, int), np.arange(600), np.array(["a", "b", "c"] * 200)])
    def test_one_class_and_classes_of_one_are_harmless(self, labels):
        x, y = curved()
        found = lambda_orthogonal(x, y, normalize=True, labels=labels, **{**QUICK, "epochs": 2})
        assert np.isfinite(found.weight).all()
        assert np.isfinite(fit_slerp(x, y, labels=labels).alpha)

    @pytest.mark.parametrize("lam", [-1.0, np.nan, True, "12"])
    def test_lambda_is_a_number(self, lam):
        with pytest.raises(InvalidInput, match="lam must be a finite number"):
            lambda_orthogonal(*curved(), normalize=True, lam=lam)


class TestSlerp:
    def test_finds_a_middle_that_beats_both_ends(self):
        rng = np.random.default_rng(0)
        labels = np.arange(3000) % 30
        centres = rng.standard_normal((30, 12))
        turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
        old = (centres[labels] + rng.standard_normal((3000, 12))).astype(np.float32)
        new = ((centres[labels] + rng.standard_normal((3000, 12))) @ turn.T).astype(np.float32)
        fitted = fit_slerp(new, old, labels=labels)
        curve = fitted.report["curve"]
        assert 0 < fitted.alpha < 1
        assert curve[str(fitted.alpha)] == max(curve.values()) > max(curve["0.0"], curve["1.0"]) + 0.05

    def test_is_the_rotation_where_the_new_vectors_know_all(self):
        rng = np.random.default_rng(0)
        new = rng.standard_normal((800, 8)).astype(np.float32)
        old = (new + 2.0 * rng.standard_normal((800, 8))).astype(np.float32)
        assert fit_slerp(new, old).alpha >= 0.5
        assert fit_slerp(new, new @ np.eye(8)[::-1].astype(np.float32)).report["residual"] < 1e-5

    @pytest.mark.parametrize("widths", [(8, 8), (8, 5), (5, 8)])
    def test_the_rotation_is_scipys_and_the_residual_what_it_leaves(self, widths):
        rng = np.random.default_rng(0)
        new = rng.standard_normal((500, widths[0])) + 0.5
        old = new @ rng.standard_normal(widths) + 0.2 * rng.standard_normal((500, widths[1]))
        fitted = fit_slerp(new.astype(np.float32), old.astype(np.float32), alpha=0.5)
        assert fitted.report["pairs"] == 500, "no pair is needed to choose by"
        u, _, vt = np.linalg.svd(unit(new).T @ unit(old), full_matrices=False)
        np.testing.assert_allclose(fitted.weight, u @ vt, atol=1e-4)
        if widths[0] == widths[1]:
            np.testing.assert_allclose(fitted.weight, orthogonal_procrustes(unit(new), unit(old))[0], atol=1e-4)
        left = np.square(unit(new) @ fitted.weight - unit(old)).sum(axis=1).mean()
        assert fitted.report["residual"] == pytest.approx(left, abs=1e-5)
        assert not fitted.bias.any()

    def test_a_choice_is_at_least_as_good_as_both_ends_and_plain_json(self):
        x, y = curved()
        report = dict(fit_slerp(x, y).report)
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        assert report["curve"][str(report["alpha"])] == max(report["curve"].values())

    def test_too_few_pairs_to_choose_by_take_the_middle(self):
        x, y = curved(5)
        assert fit_slerp(x, y).alpha == 0.5

    def test_alpha_may_be_given(self):
        x, y = curved()
        assert fit_slerp(x, y, alpha=0.25).report["alpha"] == 0.25
        with pytest.raises(InvalidInput, match="alpha must be a number"):
            fit_slerp(x, y, alpha=1.5)
        with pytest.raises(InvalidInput, match="spaces of directions"):
            fit_slerp(x, y, normalize=False)


FITS = {
    "mlp": lambda x, y: mlp(x, y, normalize=True, hidden=8, epochs=1),
    "fct": lambda x, y: fct(x, y, normalize=True, hidden=8, epochs=1),
    "lambda": lambda x, y: lambda_orthogonal(x, y, normalize=True, epochs=1),
    "slerp": lambda x, y: fit_slerp(x, y),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
class TestBadPairs:
    @settings(max_examples=8, deadline=None)
    @given(
        row=st.integers(0, 59), bad=st.sampled_from([np.nan, np.inf, 0.0]), dtype=st.sampled_from(["f2", "f4", "f8"])
    )
    def test_a_broken_row_is_named(self, fit, row, bad, dtype):
        x, y = (a[:60].astype(dtype) for a in curved())
        x[row] = bad
        with pytest.raises(BadVector) as caught:
            fit(x, y)
        assert caught.value.row == row

    def test_a_side_without_variation_is_refused(self, fit):
        x, y = curved(60)
        with pytest.raises(InvalidInput, match="equal"):
            fit(np.ones_like(x), y)

    def test_lengths_must_agree(self, fit):
        x, y = curved(60)
        with pytest.raises(InvalidInput, match="60 source rows for 59"):
            fit(x, y[:59])

    def test_one_pair_is_too_few(self, fit):
        x, y = curved(60)
        with pytest.raises(InvalidInput):
            fit(x[:1], y[:1])

    def test_integers_and_vectors_are_refused(self, fit):
        x, y = curved(60)
        with pytest.raises(InvalidInput):
            fit(x[0], y[0])

    def test_a_constant_dimension_does_no_harm(self, fit):
        x, y = curved(120)
        x[:, 2] = 1
        assert np.isfinite(fit(x, y).weight).all()
