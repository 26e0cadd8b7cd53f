"""The common look of pictures: figures without global state, colours, lines with their names beside them.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; line styles repeat the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput, MissingExtra
from registry.vectors import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BETTER", "COLOURS", "DPI", "EQUAL", "INK", "SMALL", "TEXT", "WIDTH", "WORSE", "as_row", "canvas", "colour_map",
    "draw_lines", "in_percent", "whole_numbers",
]  # fmt: skip

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
DASHES = ("-", "--", ":")
BETTER, WORSE, EQUAL = "#0072B2", "#D55E00", "#8C8C8C"
PALE_WORSE, PALE_BETTER = "#E99A63", "#6DB0DA"  # light enough for black numbers at their strongest
INK, FAINT = "#262626", "#DDDDDD"
TEXT, SMALL = 10.0, 9.0  # points
WIDTH, HEIGHT = 6.8, 4.0  # inches
GAP = 0.21  # inches between two labels
DPI = 144  # of .png files


def canvas(
    *, title: str, x_label: str, y_label: str = "", lines: int = 1, size: tuple[float, float] | None = None
) -> tuple[Figure, Axes]:
    """An empty figure in the common look, high enough to label so many lines."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("pictures need Matplotlib: pip install 'samespace[tracking]'") from error
    size = size or (WIDTH, max(HEIGHT, 1.3 + GAP * lines))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot(facecolor="white")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    axes.grid(visible=True, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.set_xlabel(x_label, fontsize=TEXT, color=INK)
    axes.set_ylabel(y_label, fontsize=TEXT, color=INK)
    axes.set_title(title, loc="left", fontsize=TEXT + 1, color=INK)
    return figure, axes


def draw_lines(
    axes: Axes,
    x: Array,
    series: Mapping[str, Array],
    *,
    markers: bool = False,
    log_y: bool = False,
    bottom: float | None = None,
) -> None:
    """Draw each row (n,) over x (n,), and write its name beside its end."""
    if not series or not len(x):
        raise InvalidInput("there is nothing to draw: give at least one row of values, not empty")
    for i, (name, y) in enumerate(series.items()):
        few = markers and len(x) <= 40
        axes.plot(x, y, **_style(i), linewidth=1.8, marker="o" if few else "", markersize=3.5)
        if not np.isfinite(y).any():
            raise InvalidInput(f"{name!r} holds no finite value to draw")
    if log_y:
        axes.set_yscale("log")
    axes.margins(x=0.02)
    low, high = axes.get_ylim()
    axes.set_ylim(low if bottom is None else min(bottom, low) if low < bottom else bottom, high)
    _name_lines(axes, x, series)


def _name_lines(axes: Axes, x: Array, series: Mapping[str, Array]) -> None:
    """Names at the right edge, each as near to its line's end as the others let it."""
    last = [int(np.flatnonzero(np.isfinite(y))[-1]) for y in series.values()]
    across = _fraction(x[last], axes.get_xlim(), log=axes.get_xscale() == "log")
    ends = np.asarray([y[at] for y, at in zip(series.values(), last, strict=True)])
    up = _fraction(ends, axes.get_ylim(), log=axes.get_yscale() == "log")
    height = axes.get_figure(root=True).get_size_inches()[1] - 1.0  # type: ignore[union-attr]  # less title and labels
    for i, (name, place) in enumerate(zip(series, _spread(up, GAP / height), strict=True)):
        where: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([across[i] + 0.008, 1.025], [up[i], place], linewidth=0.6, **_style(i), **where)
        axes.text(1.03, place, name, va="center", fontsize=SMALL, color=_style(i)["color"], **where)


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}


def _fraction(values: Array, limits: tuple[float, float], *, log: bool) -> Array:
    """Where on an axis values lie, from 0 at its first end to 1 at its last."""
    first, last, at = (np.log(v) if log else np.asarray(v) for v in (*limits, values))
    fraction: Array = (at - first) / (last - first)
    return fraction


def _spread(wanted: Array, gap: float) -> Array:
    """Places in [0, 1] at least `gap` apart, with the least sum of squared moves from `wanted` (n,).

    Less i * gap, places must only not fall: isotonic regression, by pooling neighbours that are in the wrong order.
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []
    for value in wanted[order] - steps:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        pools.append((mean, count))
    flat = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    places = np.empty(len(wanted))
    places[order] = np.clip(flat, 0, max(0.0, 1 - steps[-1])) + steps
    return places


def as_row(name: str, values: npt.ArrayLike, length: int | None) -> Array:
    """`values` as float64 (length,), of any length if that is None; `InvalidInput` if they are no such row."""
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or (length is not None and len(row) != length):
        raise InvalidInput(f"{name!r} must be one row of {length or 'any'} numbers, got shape {row.shape}")
    return row


def in_percent(axis: Any) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %")


def whole_numbers(axis: Any) -> None:
    """Label an axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def colour_map() -> Any:
    """From orange, worse, over white to blue, better."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("gain", [PALE_WORSE, "#FFFFFF", PALE_BETTER])
