"""Both versions as flat maps in which an item lies in about the same place, unless its neighbours changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from registry.errors import MissingExtra
from registry.retrieval.ranking import cores
from registry.study.components import prepared, principal
from registry.study.neighbours import Neighbours
from registry.vectors import Array, Metric

__all__ = ["FEWEST", "TOLD", "aligned", "breadth", "maps"]

FEWEST = 30
"""Of fewer items t-SNE makes nothing of sense: they are shown by principal components."""

_PERPLEXITY, _OF_MANY, _MANY = 30, 15, 10_000
_EARLY, _LATE, _EVERY = 250, 500, 50  # steps, the first ones with attraction exaggerated, as openTSNE does by default
TOLD = 2 * (_EARLY + _LATE) // _EVERY
"""How often `maps` tells that it goes on."""


def breadth(n: int) -> int:
    """How many neighbours of each of n items t-SNE looks at: three times its perplexity, as is usual."""
    return min(3 * (_PERPLEXITY if n < _MANY else _OF_MANY), n - 1)


def maps(
    vectors: tuple[Array, Array],
    metrics: tuple[Metric, Metric],
    near: tuple[Neighbours, Neighbours],
    *,
    seed: int,
    told: Callable[[], None],
) -> tuple[Array, Array]:
    """Coordinates (n, 2) float32 of n items by the old version and by the new one, within [-1, 1]; two of each argument.

    t-SNE (van der Maaten and Hinton, 2008) by openTSNE: perplexity 30 and Barnes-Hut below 10,000 items; from there on 15,
    which bounds memory to 200 MB, and FFT interpolation (Linderman et al., 2019). `near` are `breadth(n)` neighbours. Both
    maps begin at the first two principal components of both versions' vectors side by side, and the new one is laid over
    the old one in the end, see `aligned`: so an item stays about where it is if both versions see it alike. Not exactly: of
    900 digits rounding alone moved the median one by 0.02, another version by 0.25 and more. Fewer than `FEWEST` items: the
    principal components of each.

    The same for the same seed on one machine. Of 128 dimensions on 2 cores both maps took 20 s for 5,000 items, a minute
    beside other work, and four minutes beside other work for 50,000. `told` is called `TOLD` times on the way, from two
    threads.
    """
    rows = [prepared(x, metric) for x, metric in zip(vectors, metrics, strict=True)]
    if len(rows[0]) < FEWEST:
        old, new = (principal([x], seed) for x in rows)
    else:
        start = principal(rows, seed)
        del rows
        # Two maps at once are faster than two threads on each, which wait for each other; of many items, memory counts.
        at_once, jobs = (2, 1) if len(start) < _MANY else (1, cores())
        with ThreadPoolExecutor(at_once) as pool:
            old, new = pool.map(lambda of: _embedded(start, of, jobs, seed, told), near)
    old, new = old - old.mean(axis=0), aligned(new, old)
    largest = max(float(np.abs(old).max()), float(np.abs(new).max())) or 1.0
    return (old / largest).astype(np.float32), (new / largest).astype(np.float32)


def _embedded(start: Array, near: Neighbours, jobs: int, seed: int, told: Callable[[], None]) -> Array:
    """The t-SNE map (n, 2) of items with these neighbours.

    Scores fall as squared distances rise, and a shift of all of a row's leaves its affinities as they are: so the squared
    distance is how much less than the best one a score is, whatever the metric.
    """
    tsne = _library()
    squared = near.scores[:, :1].astype(np.float64) - near.scores
    index = tsne.nearest_neighbors.PrecomputedNeighbors(near.rows.astype(np.int64), np.sqrt(np.maximum(squared, 0)))
    affinities = tsne.affinity.PerplexityBasedNN(knn_index=index, perplexity=near.rows.shape[1] / 3, n_jobs=jobs)
    begun = tsne.initialization.jitter(_small(start), random_state=seed)  # twins that lie on one point never part

    def go_on(*_: object) -> bool:
        told()
        return False  # True would end it

    found = tsne.TSNEEmbedding(
        begun, affinities, n_jobs=jobs, random_state=seed, callbacks=go_on, callbacks_every_iters=_EVERY
    )
    found.optimize(_EARLY, exaggeration=12, momentum=0.5, inplace=True)
    found.optimize(_LATE, exaggeration=1, momentum=0.8, inplace=True)
    return np.asarray(found)


def _small(start: Array) -> Array:
    """Scaled as openTSNE recommends, to a standard deviation of 1e-4 along the first axis (Kobak and Berens, 2019)."""
    spread = float(np.std(start[:, 0]))
    return start / spread * 1e-4 if spread > 0 else start


def _library() -> Any:
    """The library, which takes a second to import."""
    try:
        import openTSNE
    except ImportError as error:
        raise MissingExtra("maps of a study need openTSNE: pip install 'samespace[server]'") from error
    return openTSNE


def aligned(new: Array, old: Array) -> Array:
    """A map (n, 2) laid over another by Procrustes: shifted, turned or mirrored, scaled; `old` is centred for it.

    The scale makes both equally wide, root mean square: the one of least squares would shrink a map the less it agrees.
    """
    here, there = new - new.mean(axis=0), old - old.mean(axis=0)
    left, _, right = np.linalg.svd(here.T @ there)
    wide, wanted = float(np.square(here).sum()), float(np.square(there).sum())
    scale = np.sqrt(wanted / wide) if wide > 0 and wanted > 0 else 1.0
    turned: Array = scale * here @ (left @ right)
    return turned
