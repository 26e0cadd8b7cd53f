"""`align.pictures`: files that can be read, names that do not overlap, nothing global."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from align import pictures
from align.drawing import _spread
from registry.errors import InvalidInput

KS = range(1, 21)
SLANTED = ["products/1", "a version with a long name", "products/3"]
HISTORY = [{"epoch": float(e), "loss": 3.0 / e, "class": 2.0 / e, "lr": 0.1, "seconds": 9.0} for e in range(1, 9)]


def texts(figure):
    """All texts that a figure shows, and their boxes in pixels."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ticks = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]  # those in the limits
    around = [axes._left_title, axes.xaxis.label, axes.yaxis.label]
    return [(t.get_text(), t.get_window_extent()) for t in (*axes.texts, *ticks, *around) if t.get_text()]


def check_readable(figure):
    page = figure.bbox
    found = texts(figure)
    for text, box in found:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, f"{text} is cut off"
    # Of slanted names only the boxes meet: they run beside each other.
    level = [(text, box) for text, box in found if text not in SLANTED]
    for (a, box_a), (b, box_b) in combinations(level, 2):
        inner = (min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0), min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0))
        assert min(inner) <= 1, f"{a!r} and {b!r} overlap"


def drawings():
    close = {f"a rather long name, number {i}": {k: 1 - 0.2 / k + 1e-4 * i for k in KS} for i in range(12)}
    x = [100, 200, 500, 1000]
    lines = {"mlp": [0.1, 0.2, 0.3, np.nan], "affine": [0.2, 0.21, 0.3, 0.3]}
    band = {"affine": ([0.1] * 4, [0.35] * 4)}
    matrix = [[0.466, np.nan, np.nan], [0.544, 0.584, 0.1], [0.46, 0.489, 0.643]]
    return {
        "training": pictures.training_curve(HISTORY, title="oca on digits"),
        "cmc": pictures.cmc_curve(close, title="CMC"),
        "sweep": pictures.sweep(x, lines, x_label="pairs", y_label="mAP", bands=band, log_x=True),
        "matrix": pictures.compatibility_matrix(matrix, SLANTED, title="CMC@1, %"),
        "bars": pictures.bars(
            {"independent": (0.016, 0.01, 0.02), "OCA, scale 20, weights 1, 2, 1": (0.224, 0.215, 0.233)},
            x_label="CMC@1", title="new/old", baseline=("old/old", 0.213),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["training", "cmc", "sweep", "matrix", "bars"])
def test_every_text_is_on_the_page_and_none_covers_another(name, tmp_path):
    figure = drawings()[name]
    check_readable(figure)
    png = pictures.save(figure, tmp_path / "a.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 5000


def test_a_figure_drawn_anew_gives_the_same_svg(tmp_path):
    first, second = (pictures.save(drawings()["matrix"], tmp_path / f"{i}.svg").read_bytes() for i in range(2))
    assert first == second and b"<svg" in first


def test_the_training_curve_shows_losses_and_not_the_learning_rate():
    shown = [text for text, _ in texts(pictures.training_curve(HISTORY))]
    assert {"loss", "class", "epoch"} <= set(shown) and not {"lr", "seconds"} & set(shown)


@pytest.mark.parametrize(("largest", "scale"), [(2.0, "linear"), (2000.0, "log")])
def test_a_wide_range_of_losses_gets_a_logarithmic_axis(largest, scale):
    history = [{"epoch": 1.0, "loss": largest}, {"epoch": 2.0, "loss": 1.0}]
    assert pictures.training_curve(history).axes[0].get_yscale() == scale


def test_matrix_cells_hold_value_and_gain_over_the_column_s_own_model():
    figure = pictures.compatibility_matrix([[0.5, np.nan], [0.6, 0.7]], ["old", "new"])
    shown = [text for text, _ in texts(figure)]
    assert {"50.0", "60.0", "+10.0", "70.0", "–"} <= set(shown)
    figure = pictures.compatibility_matrix([[0.5, np.nan], [0.6, 0.7]], ["old", "new"], baseline=[0.65, 0.65])
    assert {"-15.0", "-5.0", "+5.0"} <= {text for text, _ in texts(figure)}


def test_bars_are_coloured_by_what_their_interval_says_of_the_baseline():
    values = {"below": (0.1, 0.05, 0.15), "unclear": (0.2, 0.1, 0.3), "above": (0.4, 0.3, 0.5)}
    figure = pictures.bars(values, x_label="mAP", baseline=("old", 0.2))
    colours = [patch.get_facecolor() for patch in figure.axes[0].patches]
    assert len(set(colours)) == 3
    plain = pictures.bars(values, x_label="mAP")
    assert len({patch.get_facecolor() for patch in plain.axes[0].patches}) == 1


@given(
    wanted=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    gap=st.floats(0.01, 0.15),
)
def test_labels_keep_their_distance_and_move_as_little_as_possible(wanted, gap):
    wanted = np.asarray(wanted)
    places = _spread(wanted, gap)
    assert places.min() >= -1e-9 and places.max() <= 1 + 1e-9
    assert (np.diff(np.sort(places)) >= gap - 1e-9).all()
    order = np.argsort(wanted, kind="stable")
    apart = [{"type": "ineq", "fun": lambda p, i=i: p[i + 1] - p[i] - gap} for i in range(len(wanted) - 1)]
    best = minimize(
        lambda p: np.square(p - wanted[order]).sum(), np.linspace(0, 1, len(wanted)), bounds=[(0, 1)] * len(wanted),
        constraints=apart, method="SLSQP", options={"ftol": 1e-12},
    )  # fmt: skip
    assert np.square(places - wanted).sum() <= best.fun + 1e-6


def test_drawing_touches_no_global_state(tmp_path):
    code = """
import sys
from align import pictures
lazy = "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # to read them one by one would choose a backend
figure = pictures.cmc_curve({"a": {1: 0.5, 2: 0.6}})
pictures.save(figure, sys.argv[1] + "/a.png")
pictures.save(figure, sys.argv[1] + "/a.svg")
print(lazy, "matplotlib.pyplot" in sys.modules, dict.__eq__(matplotlib.rcParams, before))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"]


def test_refusals(tmp_path):
    with pytest.raises(InvalidInput, match="at least one epoch"):
        pictures.training_curve([])
    with pytest.raises(InvalidInput, match="same for every curve"):
        pictures.cmc_curve({"a": {1: 0.5}, "b": {1: 0.5, 2: 0.6}})
    with pytest.raises(InvalidInput, match="one or more k"):
        pictures.cmc_curve({})
    for bad in ([[0.5, 0.6]], [[0.5]]):
        with pytest.raises(InvalidInput, match="one row and column a name"):
            pictures.compatibility_matrix(bad, ["a", "b"])
    with pytest.raises(InvalidInput, match="one row of 2 numbers"):
        pictures.sweep([1, 2], {"a": [0.1, 0.2, 0.3]}, x_label="x", y_label="y")
    with pytest.raises(InvalidInput, match="no finite value"):
        pictures.sweep([1, 2], {"a": [np.nan, np.nan]}, x_label="x", y_label="y")
    with pytest.raises(InvalidInput, match="nothing to draw"):
        pictures.sweep([1, 2], {}, x_label="x", y_label="y")
    with pytest.raises(InvalidInput, match="must hold its value"):
        pictures.bars({"a": (0.5, 0.6, 0.7)}, x_label="x")
    with pytest.raises(InvalidInput, match="at least one value"):
        pictures.bars({}, x_label="x")
    figure = pictures.cmc_curve({"a": {1: 0.5, 2: 0.6}})
    with pytest.raises(InvalidInput, match=r"\.png or \.svg"):
        pictures.save(figure, tmp_path / "a.jpg")
