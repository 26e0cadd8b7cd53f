"""What `bench.words` and `bench.sentences` print and draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align.anchors import STRATEGIES
from bench.measuring import load, timed
from bench.report import header, table
from bench.spaces import (
    FOLLOWED,
    SEED,
    SKIPPED,
    TRAINED,
    UNSEEN,
    WAYS,
    Pair,
    Score,
    Spaces,
    over_anchors,
    over_pairs,
    run,
)

Found = Mapping[str, Mapping[int, Mapping[Pair, Any]]]
"""R@1, MRR and Jaccard (3,) by way of comparing, by number of pairs or of anchors, by pair of models."""

_FOLLOWED = [*(f"{strategy}, {way}" for strategy, way in FOLLOWED), UNSEEN]
_ANCHORED = [f"{strategy}, {way}" for strategy in (*STRATEGIES, "learned") for way in WAYS]


def measure(given: Spaces, *, quick: bool, picture: Path, title: str) -> None:
    """Measure, print and draw for any spaces."""
    most = len(next(iter(given.train.values())))
    sizes = [n for n in ((250, 1000, 4000) if quick else (100, 250, 500, 1000, 2000, 4000, 8000)) if n <= most]
    counts = (50, 300) if quick else (50, 100, 200, 300, 600)
    first, second = over_pairs(given, sizes), over_anchors(given, counts, sizes[-1])
    seconds, scores = timed(lambda: run(given, [*first, *second]))
    pairs = gathered([s for found in scores[: len(first)] for s in found], by_anchors=False)
    anchors = gathered([s for found in scores[len(first) :] for s in found], by_anchors=True)
    print(header(seed=SEED) + f"load {load()}; {seconds:.0f} s; in per cent; {title}\n")
    print(tables(given, pairs, anchors, sizes, counts))
    if not quick:
        draw(pairs, anchors, picture, title)
        print(f"\npicture: {picture.relative_to(Path(__file__).parents[1])}")


def gathered(scores: Sequence[Score], *, by_anchors: bool) -> Found:
    """Scores by way, by the number of anchors or of pairs, by pair of models; the mean where a pair was met twice."""
    found: dict[str, dict[int, dict[Pair, list[Any]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for name, n, k, pair, score in scores:
        found[name][k if by_anchors else n][pair].append(score)
    return {
        name: {number: {pair: np.mean(s, axis=0) for pair, s in cells.items()} for number, cells in by.items()}
        for name, by in found.items()
    }


def mean(cells: Mapping[Pair, Any]) -> Any:
    """R@1, MRR and Jaccard (3,), the mean over the pairs of models."""
    return np.mean(list(cells.values()), axis=0)


def tables(spaces: Spaces, pairs: Found, anchors: Found, sizes: Sequence[int], counts: Sequence[int]) -> str:
    """All tables in Markdown; in per cent."""
    a, b = spaces.detail
    few = counts[-2] if len(counts) > 1 else counts[-1]
    plain = sorted((name for name in pairs if name not in TRAINED), key=_order)
    every = [*plain, *(name for name in TRAINED if name in pairs)]
    anchored = [name for name in _ANCHORED if name in anchors]
    left_out = "; ".join(f"{name}: {why}" for name, why in SKIPPED.items())
    parts = [
        f"R@1 over the number of pairs, mean over {len(spaces.pairs)} ordered pairs of models; anchors: at most 300",
        _over(pairs, plain, sizes, mean),
        f"R@1 over the number of pairs, queries of {a} in a gallery of {b}, with the trained bridges ({left_out})",
        _over(pairs, every, sizes, lambda cells: cells.get(spaces.detail)),
        f"R@1 / MRR / Jaccard@5 with {sizes[-1]:,} pairs",
        _full(pairs, every, sizes[-1], spaces.detail),
        f"R@1 over the number of anchors, chosen among {sizes[-1]:,} items, mean over {len(spaces.pairs)} ordered pairs",
        _over(anchors, anchored, counts, mean),
        f"R@1 / MRR / Jaccard@5 with {few} anchors",
        _full(anchors, anchored, few, spaces.detail),
    ]
    return "\n\n".join(f"{title}\n\n{body}" for title, body in zip(parts[::2], parts[1::2], strict=True))


def _order(name: str) -> int:
    """What needs no pairs, then bridges, then anchors."""
    return 0 if name == "absolute" else 2 + _FOLLOWED.index(name) if name in _FOLLOWED else 1


def _over(found: Found, names: Sequence[str], numbers: Sequence[int], cell: Any) -> str:
    rows = []
    for name in names:
        by = found[name]
        given = by.get(0)  # what needs no pairs is the same for any number
        values = [cell(cells) if (cells := by.get(n, given)) else None for n in numbers]
        if any(value is not None for value in values):
            rows.append((_titled(name), *("" if value is None else f"{100 * value[0]:.1f}" for value in values)))
    return table(("", *(f"{n:,}" for n in numbers)), rows)


def _full(found: Found, names: Sequence[str], number: int, detail: Pair) -> str:
    rows = []
    for name in names:
        cells = found[name].get(number, found[name].get(0))
        if cells:
            overall = "" if name in TRAINED else _triple(mean(cells))
            rows.append((_titled(name), overall, _triple(cells[detail]) if detail in cells else ""))
    return table(("", "mean", f"{detail[0]} in {detail[1]}"), rows)


def _titled(name: str) -> str:
    return f"relative: {name}" if ", " in name else name


def _triple(score: Any) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in score)


def draw(pairs: Found, anchors: Found, path: Path, title: str) -> None:
    """Two panels: R@1 over the number of pairs, and over the number of anchors."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "samespace", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 4.8), sharey=True)
    _pairs_panel(left, pairs)
    _anchors_panel(right, anchors)
    left.set_ylabel("R@1, mean over all pairs of models, %")
    left.set_ylim(0, 100)
    figure.suptitle(title)
    figure.subplots_adjust(left=0.05, right=0.84, bottom=0.3, top=0.9, wspace=0.07)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _pairs_panel(axes: Any, found: Found) -> None:
    markers = "osD^vP*XhH<>"
    for i, name in enumerate(sorted((n for n in found if n not in TRAINED), key=_order)):
        by = found[name]
        numbers = sorted(by)
        values = [100 * mean(by[n])[0] for n in numbers]
        if name == UNSEEN:
            axes.plot(numbers, values, "k*", ms=9, label=_titled(name))
            continue
        if numbers == [0]:
            axes.axhline(values[0], color="0.5", lw=1, ls=":", label=name)
            continue
        style = "--" if name in _FOLLOWED else "-"
        axes.plot(
            numbers,
            values,
            style,
            marker=markers[i % len(markers)],
            ms=4,
            lw=1.3,
            color=f"C{i % 10}",
            label=_titled(name),
        )
    axes.set_xscale("log")
    axes.set_xlabel("pairs, or items to choose at most 300 anchors from")
    numbers = sorted({n for by in found.values() for n in by if n})
    axes.set_xticks(numbers, [f"{n:,}" for n in numbers], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.17), ncol=4, frameon=False, fontsize=8)


def _anchors_panel(axes: Any, found: Found) -> None:
    """Colour says what is measured, line and marker how the anchors were chosen."""
    from matplotlib.lines import Line2D

    styles = dict(
        zip((*STRATEGIES, "learned"), ((":", "o"), ("--", "s"), ("-.", "^"), ("-", "D"), ("-", "*")), strict=True)
    )
    for name in _ANCHORED:
        strategy, way = name.split(", ")
        if by := found.get(name):
            numbers = sorted(by)
            style, marker = styles[strategy]
            axes.plot(
                numbers, [100 * mean(by[n])[0] for n in numbers], ls=style, marker=marker, lw=1.3,
                ms=8 if marker == "*" else 4, color=f"C{WAYS.index(way)}",
            )  # fmt: skip
    numbers = sorted({n for by in found.values() for n in by})
    axes.set_xticks(numbers)
    axes.set_xlabel("anchors")
    axes.grid(alpha=0.25)
    ways = [Line2D([], [], color=f"C{i}", lw=2.5, label=way) for i, way in enumerate(WAYS)]
    lines = [Line2D([], [], color="0.3", ls=s, marker=m, ms=5, label=name) for name, (s, m) in styles.items()]
    axes.add_artist(
        axes.legend(handles=ways, loc="upper left", bbox_to_anchor=(1.02, 1), title="measured by", frameon=False)
    )
    axes.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(1.02, 0), title="anchors", frameon=False, handlelength=3.5
    )
