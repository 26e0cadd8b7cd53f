"""Which index: its kind, its compression, its settings, and what is chosen where the user chose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.errors import InvalidInput

__all__ = ["COMPRESSIONS", "KINDS", "Recipe", "chosen_kind", "recipe"]

KINDS = ("exact", "hnsw", "ivf", "ivfpq", "opq")
"""Exhaustive search; a graph (HNSW, Malkov and Yashunin, 2018); inverted lists of a coarse quantiser (IVF, Jégou et al.,
2011), of whole vectors, of product-quantised residuals, or of those after a learned rotation (OPQ, Ge et al., 2013)."""

COMPRESSIONS = ("none", "half", "int8", "pq", "lowrank")
"""float32; float16; eight bits a dimension between its extremes; product quantisation; a rotation to fewer dimensions."""

_FEW_ROWS = 20_000
_GRAPH_BYTES = 8 << 30

_RANGES: Mapping[str, tuple[int, int]] = {
    "m": (2, 128), "ef_construction": (4, 4000), "ef_search": (1, 65536), "nlist": (1, 1 << 20), "nprobe": (1, 1 << 20),
    "pq_m": (1, 65536), "pq_bits": (2, 8), "rank": (1, 65536),
}  # fmt: skip
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "exact": (), "hnsw": ("m", "ef_construction", "ef_search"), "ivf": ("nlist", "nprobe"),
    "ivfpq": ("nlist", "nprobe", "pq_m", "pq_bits"), "opq": ("nlist", "nprobe", "pq_m", "pq_bits"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be built: `settings` hold every number that the kind has but the knob, unless the user gave that too."""

    kind: str
    compression: str
    settings: Mapping[str, int]

    @property
    def knob(self) -> str | None:
        """The setting that trades speed for recall at search time; None where search is exhaustive."""
        return {"exact": None, "hnsw": "ef_search"}.get(self.kind, "nprobe")


def chosen_kind(rows: int, dim: int, compression: str = "none") -> str:
    """The kind for so many rows of `dim` dimensions.

    Up to 20,000 rows `exact`: one query takes a millisecond or two, and nothing is lost. Above, `hnsw`: of the kinds the
    fastest at a high recall, for vectors and links that fit into memory, 8 GiB together. Beyond that `opq`: about a
    sixteenth of the memory, at a loss that is measured. With product quantisation it is `opq` at any size.
    """
    if compression == "pq":
        return "opq"
    if rows <= _FEW_ROWS:
        return "exact"
    bytes_of = {"none": 4.0, "half": 2.0, "int8": 1.0, "lowrank": 2.0}[compression]
    fits = rows * (dim * bytes_of + 8 * 16) <= _GRAPH_BYTES
    return "hnsw" if fits or compression != "none" else "opq"


def recipe(kind: str, compression: str, settings: Mapping[str, Any] | None, *, rows: int, dim: int) -> Recipe:
    """What to build over `rows` rows of `dim` dimensions, every choice made.

    Raises:
        InvalidInput: an unknown kind, compression or setting, some that do not go together, or too few rows.
    """
    _known("kind", kind, ("auto", *KINDS))
    _known("compression", compression, COMPRESSIONS)
    if rows < 1:
        raise InvalidInput("there is nothing to index: append vectors first")
    if kind == "auto":
        kind = chosen_kind(rows, dim, compression)
    if kind == "ivf" and compression == "pq":
        kind = "ivfpq"
    if kind in ("ivfpq", "opq"):
        if compression not in ("none", "pq"):
            raise InvalidInput(f"{kind} compresses by pq, got {compression}: leave the compression out, or use ivf")
        compression = "pq"
    elif compression == "pq":
        raise InvalidInput(f"{kind} does not go with pq: use the kind ivfpq or opq")
    given = _checked(kind, compression, settings)
    made = {**_defaults(kind, compression, rows, dim), **given}
    _check_fit(made, rows, dim)
    return Recipe(kind, compression, made)


def _known(what: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidInput(f"there is no {what} {value!r:.80}: choose one of {', '.join(known)}")


def _checked(kind: str, compression: str, settings: Mapping[str, Any] | None) -> dict[str, int]:
    if not isinstance(settings, Mapping | None):
        raise InvalidInput(f"settings map names to whole numbers, such as {{'m': 32}}, got {settings!r:.80}")
    allowed = (*_OF_KIND[kind], *(("rank",) if compression == "lowrank" else ()))
    found: dict[str, int] = {}
    for name, value in (settings or {}).items():
        if name not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise InvalidInput(f"{kind} with compression {compression} has no setting {name!r:.80}: {has}")
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
            raise InvalidInput(f"{name} must be a whole number from {low} to {high}, got {value!r:.80}")
        found[name] = int(value)
    return found


def _defaults(kind: str, compression: str, rows: int, dim: int) -> dict[str, int]:
    """Numbers from the literature and from measuring here; FAISS wants 39 rows to train each centroid."""
    made: dict[str, int] = {}
    if kind == "hnsw":
        made = {"m": 16, "ef_construction": 100}
    elif kind != "exact":
        made = {"nlist": max(1, min(round(4 * math.sqrt(rows)), rows // 39))}
    if kind in ("ivfpq", "opq"):
        bits = max(2, min(8, int(math.log2(max(4, rows / 64)))))
        made |= {"pq_m": next(dim // width for width in (4, 3, 2, 5, 1) if dim % width == 0), "pq_bits": bits}
    if compression == "lowrank":
        made["rank"] = max(1, dim // 2)
    return made


def _check_fit(made: Mapping[str, int], rows: int, dim: int) -> None:
    if (rank := made.get("rank")) and rank > dim:
        raise InvalidInput(
            f"rank must be at most the {dim} dimensions of the vectors, got {rank}: choose a smaller one"
        )
    if (lists := made.get("nlist")) and lists > rows:
        raise InvalidInput(f"nlist must be at most the {rows} rows there are, got {lists}: choose a smaller one")
    if (parts := made.get("pq_m")) and dim % parts:
        raise InvalidInput(f"pq_m must divide the {dim} dimensions of the vectors, got {parts}: choose a divisor")
    if (bits := made.get("pq_bits")) and 1 << bits > rows:
        raise InvalidInput(
            f"pq_bits = {bits} needs {1 << bits} rows, there are {rows}: choose fewer bits, or another kind"
        )
