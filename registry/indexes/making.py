"""FAISS indexes of a recipe: empty ones to be filled, and how each is asked."""

from __future__ import annotations

from typing import Any

import faiss as faiss_module
import numpy as np

from registry.index import FAISS_METRIC
from registry.indexes.kinds import Recipe
from registry.vectors import Array, Metric

faiss: Any = faiss_module  # its stubs lack half of what it has

__all__ = ["core_of", "parameters", "trained", "training_rows"]

_SCALAR = {"half": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
_ROWS_FOR_CODES = 16384  # 64 for each of 256 centroids: more changes the loss by less than a tenth of it
_ROUNDS = 12


def training_rows(recipe: Recipe, rows: int) -> int:
    """How many rows the training of this index reads, of so many that there are."""
    wanted = 0
    if "nlist" in recipe.settings:
        wanted = max(wanted, 64 * recipe.settings["nlist"], 1024)
    if recipe.compression in ("int8", "lowrank", "pq"):
        wanted = max(wanted, _ROWS_FOR_CODES)
    return min(rows, wanted)


def trained(recipe: Recipe, dim: int, metric: Metric, sample: Array) -> Any:
    """An empty index, trained on `sample` (s, d), which is normalised where the metric is cosine."""
    width = recipe.settings.get("rank", dim)
    core = _core(recipe, width, metric)
    if recipe.kind == "opq":
        rotation = faiss.OPQMatrix(dim, recipe.settings["pq_m"])
        rotation.niter, rotation.niter_pq_0, rotation.max_train_points = 4, _ROUNDS, _ROWS_FOR_CODES
        rotation.pq = faiss.ProductQuantizer(dim, recipe.settings["pq_m"], recipe.settings["pq_bits"])
        _quick(rotation.pq)
        index = faiss.IndexPreTransform(rotation, core)
    elif recipe.compression == "lowrank":
        index = faiss.IndexPreTransform(_lowrank(sample, width, metric), core)
    else:
        index = core
    if not index.is_trained:
        index.train(sample)
    return index


def core_of(index: Any) -> Any:
    """The index behind a rotation, where there is one."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def parameters(index: Any, knob: int | None, selector: Any = None) -> Any:
    """How to ask an index: with this `ef_search` or `nprobe`, and only for the rows that a selector admits."""
    core = core_of(index)
    named = {} if selector is None else {"sel": selector}
    if isinstance(core, faiss.IndexHNSW):
        made = faiss.SearchParametersHNSW(efSearch=knob, **named)
    elif isinstance(core, faiss.IndexIVF):
        made = faiss.SearchParametersIVF(nprobe=min(knob or 1, core.nlist), **named)
    elif selector is None:
        return None
    else:
        made = faiss.SearchParameters(**named)
    return faiss.SearchParametersPreTransform(index_params=made) if core is not index else made


def _core(recipe: Recipe, dim: int, metric: Metric) -> Any:
    s, measure, coded = recipe.settings, FAISS_METRIC[metric], _SCALAR.get(recipe.compression)
    if recipe.kind == "exact":
        return faiss.IndexFlat(dim, measure) if coded is None else faiss.IndexScalarQuantizer(dim, coded, measure)
    if recipe.kind == "hnsw":
        made = (
            faiss.IndexHNSWFlat(dim, s["m"], measure)
            if coded is None
            else faiss.IndexHNSWSQ(dim, coded, s["m"], measure)
        )
        made.hnsw.efConstruction = s["ef_construction"]
        return made
    coarse = faiss.IndexFlat(dim, measure)
    if recipe.compression == "pq":
        made = faiss.IndexIVFPQ(coarse, dim, s["nlist"], s["pq_m"], s["pq_bits"], measure)
        _quick(made.pq)
    elif coded is None:
        made = faiss.IndexIVFFlat(coarse, dim, s["nlist"], measure)
    else:
        made = faiss.IndexIVFScalarQuantizer(coarse, dim, s["nlist"], coded, measure)
    made.cp.spherical = metric != "l2"
    made.cp.min_points_per_centroid = 1  # small galleries are indexed too; what that costs is measured
    return made


def _quick(codes: Any) -> None:
    """Train a product quantiser on no more rows than it needs, and on few rows where there are no more."""
    codes.cp.max_points_per_centroid, codes.cp.min_points_per_centroid, codes.cp.niter = 64, 1, _ROUNDS


def _lowrank(sample: Array, rank: int, metric: Metric) -> Any:
    """The rotation to the `rank` directions that keep the most of inner products, or for l2 of distances.

    Principal components without moving the origin: inner products after a shift would no longer be those of the vectors.
    """
    x = sample - sample.mean(axis=0) if metric == "l2" else sample
    _, vectors = np.linalg.eigh(x.T.astype(np.float64) @ x.astype(np.float64))
    kept = np.ascontiguousarray(vectors[:, ::-1][:, :rank].T, dtype=np.float32)
    made = faiss.LinearTransform(sample.shape[1], rank, False)
    faiss.copy_array_to_vector(kept.ravel(), made.A)
    made.is_trained = True
    return made
