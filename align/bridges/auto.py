"""Choosing among bridges by what they find on held-out pairs, and saying so where none of them is worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align.bridges.methods import CLOSED
from registry.errors import NotWorthIt

__all__ = ["candidates_for", "choose"]

_LABEL_METRICS = {"cmc@1": "CMC@1", "map": "mAP"}


def candidates_for(pairs: int, ds: int, dt: int) -> tuple[str, ...]:
    """Which closed forms so many pairs of ds -> dt dimensions allow: the fewer the pairs, the stiffer the map.

    Below half a pair for each dimension of the wider side a rotation alone, below two that and the ridge map, whose
    penalty generalised cross-validation picks, and from there on the low-rank map as well.

    >>> [candidates_for(n, 64, 128)[-1] for n in (50, 200, 300)]
    ['orthogonal', 'affine', 'lowrank']
    """
    widest = max(ds, dt)
    if pairs < widest / 2:
        return CLOSED[:1]
    return CLOSED[:2] if pairs < 2 * widest else CLOSED


def choose(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The candidate of the highest recall against the full re-embedding; of equals the first, which is the simplest.

    `measured`: method -> what `HeldOut.measure` gives. The interval of the one that is chosen is a little kind to it, since
    the same pairs chose it.

    Raises:
        NotWorthIt: the best one finds surely less than staying with the old version does: the whole interval of its gain
            is below 0. Labels are nearer to what users want than neighbours are: where they are known, their two gains
            decide, CMC@1 and mAP, and either is enough.
    """
    best = max(measured, key=lambda name: measured[name]["recall"]["bridged"]["value"])
    found = measured[best]
    names = [name for name in _LABEL_METRICS if name in found] or ["recall"]
    lost = [name for name in names if found[name]["gain"]["high"] < 0]
    if not lost:
        return best
    said = "; ".join(_said(name, found) for name in lost)
    raise NotWorthIt(
        f"{_listed(list(measured))} is worth it: {said}, on {found['pairs']} held-out pairs: stay with the old version, "
        "or re-embed the gallery",
        report={"method": "auto", "best": best, "candidates": {name: dict(found) for name, found in measured.items()}},
    )


def _listed(names: Sequence[str]) -> str:
    return f"none of {', '.join(names)}" if len(names) > 1 else f"not even {names[0]}"


def _said(name: str, found: Mapping[str, Any]) -> str:
    bridged, stay, gain = (found[name][side] for side in ("bridged", "stay", "gain"))
    what = _LABEL_METRICS.get(name) or f"recall@{found['k']} against the full re-embedding"
    interval = f"gain {100 * gain['value']:.1f} points, {100 * gain['low']:.1f} to {100 * gain['high']:.1f}"
    return f"{what} is {bridged['value']:.1%} across the best map, {stay['value']:.1%} without one ({interval})"
