"""In which order items are re-embedded: what gains the most comes first, if that can be told before it is done.

`random`: drawn with the seed, to which every other order has to be compared.
`uncertainty`: first what the path to the stored vectors is predicted to serve worst; after FastFill (Jaeckle et al., ICLR
2023, arXiv 2303.04766), whose map tells its own uncertainty. A map of any kind tells none, so that a stored vector's
deviation is taken for the mean of those of its 25 nearest old vectors on a benchmark that both versions embedded, as
`registry.study.filling.worst_first` does.
`centroid-distance`: first what lies farthest from the mean of its class, after lambda-orthogonality (Ricci et al., NeurIPS
2025, arXiv 2509.16664). Where there are no labels, or too many classes, k-means of the stored vectors takes their place.
`most-searched`: first what is found most often, by counts that are given.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry import benchmarks
from registry.backends import Backend
from registry.benchmarks import Bench
from registry.errors import InvalidInput
from registry.home import Home
from registry.index import FlatIndex
from registry.study.filling import deviations
from registry.study.sides import Sides
from registry.threads import one_blas_thread
from registry.types import Path
from registry.vectors import Array, Metric, normalize

__all__ = ["by_counts", "by_distance", "by_uncertainty", "first_of", "from_means", "shuffled"]

_NEIGHBOURS = 25
_BLOCK_ROWS = 8192
_MOST_CLASSES = 65536
_MOST_CLUSTERS, _OF_A_CLUSTER = 256, 64
_ROUNDS = 20


def shuffled(ids: pa.Array, seed: int) -> pa.Array:
    """In random order."""
    return ids.take(pa.array(np.random.default_rng([seed, 11]).permutation(len(ids))))


def first_of(ids: pa.Array, gains: Array) -> pa.Array:
    """By falling `gains` (n,); those of which nothing is known (NaN) are taken for the mean of all others."""
    known = ~np.isnan(gains)
    filled = np.where(known, gains, gains[known].mean() if known.any() else 0.0)
    return ids.take(pa.array(np.argsort(-filled, kind="stable")))


def by_counts(ids: pa.Array, counted: pa.Array, counts: Array) -> Array:
    """How often each of `ids` (n,) was found; 0 for those of which nothing is said."""
    at = pc.index_in(ids, value_set=counted)
    places = at.fill_null(0).to_numpy()
    found: Array = (
        np.where(at.is_valid().to_numpy(zero_copy_only=False), counts[places], 0.0)
        if len(counts)
        else np.zeros(len(ids))
    )
    return found


def by_uncertainty(home: Home, bench: Bench, path: Path, metric: Metric, stored: Backend, ids: pa.Array) -> Array:
    """How far (n,) the path is predicted to lead each of `ids` from its stored vector; NaN where it has none.

    `bench` holds vectors of both ends of `path`, which ends in a space that `metric` compares. Memory is the benchmark's
    vectors and a block of the stored ones.
    """
    far = deviations_of(home, bench, path, metric)
    index = FlatIndex(bench.vectors[path.target].shape[1], bench.metric[path.target])
    index.add(np.arange(len(far)), bench.vectors[path.target])
    k = min(_NEIGHBOURS, len(far))

    def predicted(rows: Array) -> Array:
        near: Array = far[index.search(rows, k)[0]].mean(axis=1)
        return near

    return _of_each(ids, ((some, predicted(rows)) for some, rows in stored.blocks(_BLOCK_ROWS)))


def deviations_of(home: Home, bench: Bench, path: Path, metric: Metric) -> Array:
    """How far (n,) the path leads each item of a benchmark from its own stored vector, in chunks."""
    found = []
    _, gallery = benchmarks.sides(home, bench, path, slice(0, 1))
    for start in range(0, len(bench), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        found.append(deviations(Sides(benchmarks.queries(home, bench, path, rows), gallery[rows], metric)))
    return np.concatenate(found)


def _of_each(ids: pa.Array, found: Iterator[tuple[pa.Array, Array]]) -> Array:
    """Values by id, brought into the order of `ids`; NaN where nothing was found."""
    parts = list(found)
    values = np.full(len(ids), np.nan)
    if parts:  # looked up once, not once a block: each time all of the ids would be gone through
        at = pc.index_in(ids, value_set=pa.concat_arrays([some for some, _ in parts]))
        here = at.is_valid().to_numpy(zero_copy_only=False)
        values[here] = np.concatenate([of_some for _, of_some in parts])[at.drop_null().to_numpy()]
    return values


def by_distance(stored: Backend, metric: Metric, ids: pa.Array, codes: Array | None, seed: int) -> Array:
    """How far (n,) the stored vector of each of `ids` lies from the mean of its class, or of its cluster.

    `codes` (n,) number the classes; None for clusters by k-means, on a sample, with `seed`. Distances are 1 - cosine, for l2
    and dot the squared distance. Memory is the means and a block of the stored vectors.
    """
    if codes is not None and (int(codes.max(initial=0)) + 1) > _MOST_CLASSES:
        codes = None
    if codes is None:
        return _of_each(ids, _from_clusters(stored, metric, _clusters(stored, metric, seed)))
    classes = _classes(stored, ids, codes)
    means = _means(stored, metric, classes, int(codes.max(initial=0)) + 1)
    return _of_each(ids, ((some, from_means(rows, means[of], metric)) for some, rows, of in _blocks(stored, classes)))


def _classes(stored: Backend, ids: pa.Array, codes: Array) -> Array:
    """The class (m,) of each stored row, in order; -1 of those that are not among `ids`, whose `codes` (n,) are known."""
    at = pc.index_in(stored.ids(), value_set=ids)
    found: Array = np.where(at.is_valid().to_numpy(zero_copy_only=False), codes[at.fill_null(0).to_numpy()], -1)
    return found


def _blocks(stored: Backend, classes: Array) -> Iterator[tuple[pa.Array, Array, Array]]:
    """Ids, vectors and classes of some rows at a time."""
    start = 0
    for some, rows in stored.blocks(_BLOCK_ROWS):
        yield some, rows, classes[start : start + len(some)]
        start += len(some)


def _from_clusters(stored: Backend, metric: Metric, means: Array) -> Iterator[tuple[pa.Array, Array]]:
    index = FlatIndex(means.shape[1], metric)
    index.add(np.arange(len(means)), means)
    for some, rows in stored.blocks(_BLOCK_ROWS):
        yield some, from_means(rows, means[index.search(rows, 1)[0][:, 0]], metric)


def from_means(rows: Array, means: Array, metric: Metric) -> Array:
    """How far (n,) rows (n, d) lie each from its mean (n, d)."""
    if metric == "cosine":
        nearness: Array = np.einsum("ij,ij->i", normalize(rows), normalize(means))
        return 1 - nearness
    apart = rows.astype(np.float32) - means.astype(np.float32)
    squared: Array = np.einsum("ij,ij->i", apart, apart)
    return squared


def _means(stored: Backend, metric: Metric, classes: Array, many: int) -> Array:
    """The mean (many, d) of the vectors of each class; of directions for cosine."""
    sums: Array | None = None
    counts = np.zeros(many)
    for _, rows, classed in _blocks(stored, classes):
        here = classed >= 0
        of = classed[here]
        kept = normalize(rows[here]) if metric == "cosine" else rows[here].astype(np.float32)
        if sums is None:
            sums = np.zeros((len(counts), rows.shape[1]), dtype=np.float64)
        np.add.at(sums, of, kept)
        counts += np.bincount(of, minlength=len(counts))
    if sums is None:
        raise InvalidInput(f"{stored.version} stored nothing in {stored.gallery}: choose another order")
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _clusters(stored: Backend, metric: Metric, seed: int) -> Array:
    """Means (k, d) of k-means over a sample: one for each 64 vectors of it, 256 at most."""
    import faiss

    rows = stored.count()
    many = max(1, min(_MOST_CLUSTERS, rows // _OF_A_CLUSTER))
    drawn = np.random.default_rng([seed, 12]).choice(rows, min(rows, many * _OF_A_CLUSTER * 4), replace=False)
    sample = stored.rows(np.sort(drawn)).astype(np.float32)
    sample = normalize(sample) if metric == "cosine" else sample
    with one_blas_thread():
        found = faiss.Kmeans(
            sample.shape[1],
            many,
            niter=_ROUNDS,
            seed=seed % 2**31,
            spherical=metric == "cosine",
            min_points_per_centroid=1,
        )
        found.train(np.ascontiguousarray(sample))
    means: Array = np.asarray(found.centroids)
    return means
