"""Pictures of what was measured, in one look: training curves, CMC curves, compatibility matrices, sweeps and bars.

Every function returns a Matplotlib `Figure` that no global state knows of, so threads may draw at the same time and
nothing has to be closed. Matplotlib comes with MLflow and is imported when something is drawn; `MissingExtra` where it
is not installed. Fractions in [0, 1] are shown in percent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from align.drawing import (
    BETTER,
    COLOURS,
    DPI,
    EQUAL,
    INK,
    SMALL,
    TEXT,
    WIDTH,
    WORSE,
    as_row,
    canvas,
    colour_map,
    draw_lines,
    in_percent,
    whole_numbers,
)
from registry.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "cmc_curve", "compatibility_matrix", "save", "sweep", "training_curve"]

_NOT_TERMS = ("epoch", "lr", "seconds")

Interval = tuple[float, float, float]
"""A value, and the ends of its interval."""


def training_curve(history: Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """The loss and its terms over the epochs of `TrainResult.history`.

    The axis is logarithmic where all values are above 0 and the largest is more than thirty times the smallest.

    Raises:
        InvalidInput: no epoch.
    """
    if not history:
        raise InvalidInput("a training curve needs at least one epoch, got none")
    names = [name for name in history[0] if name not in _NOT_TERMS]
    series = {name: as_row(name, [entry.get(name, np.nan) for entry in history], len(history)) for name in names}
    values = np.concatenate(list(series.values()))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    figure, axes = canvas(title=title, x_label="epoch", lines=len(series))
    log = low > 0 and high > 30 * low
    draw_lines(axes, np.asarray([entry["epoch"] for entry in history]), series, log_y=log, bottom=None if log else 0.0)
    whole_numbers(axes.xaxis)
    return figure


def cmc_curve(curves: Mapping[str, Mapping[int, float]], *, title: str = "") -> Figure:
    """Share of queries that find their label among the first k, over k: one line for each name.

    `curves` maps a name to CMC@k by k, as `Retrieval.cmc` holds it.

    Raises:
        InvalidInput: no curve, or curves over different k.
    """
    ks = sorted(next(iter(curves.values()), {}))
    if not ks or any(sorted(curve) != ks for curve in curves.values()):
        raise InvalidInput("CMC curves need one or more k, the same for every curve: measure all with the same ks")
    series = {name: np.asarray([curve[k] for k in ks], dtype=np.float64) for name, curve in curves.items()}
    figure, axes = canvas(title=title, x_label="k", y_label="CMC@k", lines=len(series))
    draw_lines(axes, np.asarray(ks), series, markers=True)
    in_percent(axes.yaxis)
    whole_numbers(axes.xaxis)
    return figure


def sweep(
    x: npt.ArrayLike,
    series: Mapping[str, npt.ArrayLike],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    bands: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
    log_x: bool = False,
    percent: bool = True,
) -> Figure:
    """Lines over what was varied: x (n,), each of `series` (n,), NaN where it was not measured.

    `bands` holds the lower and upper ends (n,) of intervals for some of the names.

    Raises:
        InvalidInput: nothing to draw, or lengths that differ.
    """
    at = as_row("x", x, None)
    rows = {name: as_row(name, values, len(at)) for name, values in series.items()}
    figure, axes = canvas(title=title, x_label=x_label, y_label=y_label, lines=len(rows))
    if log_x:
        axes.set_xscale("log")
        axes.minorticks_off()
        shown = np.unique(at) if len(np.unique(at)) <= 10 else None
        if shown is not None:
            axes.set_xticks(shown, [f"{value:g}" for value in shown])
    for i, name in enumerate(rows):
        if bands and name in bands:
            low, high = (as_row(name, end, len(at)) for end in bands[name])
            axes.fill_between(at, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
    draw_lines(axes, at, rows, markers=True)
    if percent:
        in_percent(axes.yaxis)
    return figure


def compatibility_matrix(
    values: npt.ArrayLike, names: Sequence[str], *, baseline: Sequence[float] | None = None, title: str = ""
) -> Figure:
    """Queries by each version (rows) on galleries by each version (columns), values (t, t) as fractions.

    A cell holds its value and, below, the points gained over the column's `baseline` (t,), by default the diagonal:
    what the gallery's own version reaches. Blue is better than that, orange worse; NaN was not measured.

    Raises:
        InvalidInput: not one row, column and baseline for each name.
    """
    m = np.asarray(values, dtype=np.float64)
    if m.shape != (len(names), len(names)) or not len(names):
        raise InvalidInput(f"the matrix must be ({len(names)}, {len(names)}), one row and column a name, got {m.shape}")
    own = np.diag(m) if baseline is None else as_row("baseline", baseline, len(names))
    gain = m - own
    # By its root, so that one cell that fails outright does not make all others look alike.
    shade = np.sign(gain) * np.sqrt(np.abs(gain))
    strongest = max(0.1, float(np.max(np.abs(shade), initial=0.0, where=np.isfinite(shade))))
    side = 0.95 * len(names)
    figure, axes = canvas(title=title, x_label="gallery by", y_label="query by", size=(side + 1.7, 0.66 * side + 1.2))
    axes.imshow(shade, cmap=colour_map(), vmin=-strongest, vmax=strongest, aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for edge in np.arange(1, len(names)) - 0.5:
        axes.axvline(edge, color="white", linewidth=3)
        axes.axhline(edge, color="white", linewidth=3)
    turned = max(map(len, names)) > 11
    axes.set_xticks(range(len(names)), names, rotation=30 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    for i, j in np.ndindex(m.shape):
        if not np.isfinite(m[i, j]):
            axes.text(j, i, "–", ha="center", va="center", color=EQUAL, fontsize=TEXT)
            continue
        own_cell = i == j and baseline is None
        axes.text(
            j, i - 0.02, f"{100 * m[i, j]:.1f}", ha="center", va="bottom" if not own_cell else "center", color=INK,
            fontsize=TEXT + 1, fontweight="bold" if own_cell else "normal",
        )  # fmt: skip
        if not own_cell and np.isfinite(gain[i, j]):
            axes.text(j, i + 0.06, f"{100 * gain[i, j]:+.1f}", ha="center", va="top", color=INK, fontsize=SMALL - 1)
    return figure


def bars(
    values: Mapping[str, Interval],
    *,
    x_label: str,
    title: str = "",
    baseline: tuple[str, float] | None = None,
    percent: bool = True,
) -> Figure:
    """Horizontal bars with intervals, in the order given: name -> (value, low, high).

    Against a named `baseline` a bar is blue if its whole interval lies above, orange if below, grey if neither.

    Raises:
        InvalidInput: no bar, or an interval that does not hold its value.
    """
    for name, (value, low, high) in values.items():
        if not low <= value <= high:
            raise InvalidInput(f"the interval of {name!r}, [{low}, {high}], must hold its value {value}")
    if not values:
        raise InvalidInput("bars need at least one value, got none")
    size = (WIDTH, 1.1 + 0.34 * len(values))
    figure, axes = canvas(title=title, x_label=x_label, size=size)
    axes.grid(visible=False, axis="y")
    scale, digits = (100, 1) if percent else (1, 3)
    for row, (value, low, high) in enumerate(values.values()):
        level = None if baseline is None else baseline[1]
        colour = BETTER if level is None or low > level else WORSE if high < level else EQUAL
        axes.barh(row, value, height=0.62, color=colour)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
        text = f"{scale * value:.{digits}f}"
        axes.annotate(
            text, (max(high, 0), row), (5, 0), textcoords="offset points", va="center", fontsize=SMALL, color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    if baseline is not None:
        axes.axvline(baseline[1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        above = axes.get_xaxis_transform()
        axes.text(baseline[1], 1.01, baseline[0], transform=above, ha="center", va="bottom", fontsize=SMALL)
        axes.set_title(title, loc="left", fontsize=TEXT + 1, color=INK, pad=20)
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.margins(x=0.12)
    if percent:
        in_percent(axes.xaxis)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png or .svg, by the name's ending; the same figure gives the same bytes.

    Raises:
        InvalidInput: another ending.
    """
    target = Path(path)
    if target.suffix == ".png":
        figure.savefig(target, dpi=DPI)
    elif target.suffix == ".svg":
        from matplotlib import rc_context

        # Without a salt and with a date, a picture that did not change would differ in every commit.
        with rc_context({"svg.hashsalt": "samespace", "svg.fonttype": "path"}):
            figure.savefig(target, metadata={"Date": None})
    else:
        raise InvalidInput(f"pictures are written as .png or .svg, got {target.name!r}")
    return target
