"""Finding items across spaces: directly, through anchors, through bridges. What `bench.words` and `bench.sentences` share.

Queries are test items encoded by one model, the gallery the same items encoded by another: R@1 and MRR of the item itself,
and the mean Jaccard overlap of the five nearest items with the five that the gallery's own vector of the item finds. Maps
and anchors come from other items. Every model meets every other; a mean is over all ordered pairs of models.

Work is shared among processes of one thread each: on a busy machine threads that wait for one another cost more.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import align
from align.anchors import STRATEGIES, Anchors, select
from align.bridges import METHODS
from align.relative import inverse, project

Pair = tuple[str, str]
Score = tuple[str, int, int, Pair, Any]
"""A way of comparing, the numbers of pairs and of anchors, the models, and R@1, MRR and Jaccard (3,)."""

SEED = 0
MOST_ANCHORS = 300  # where the number of pairs varies
SIMILARITIES = ("cosine", "whitened", "l2", "product")
WAYS = (*SIMILARITIES, "inverse")
LEARNED_FOR = {"cosine": ("cosine", "l2", "product", "inverse"), "whitened": ("whitened",)}
"""By which similarity anchors are learned, and what they then serve: a training for each would take too long."""

SKIPPED = {
    "slerp": "it takes the target's own vector of the query item, which here is the answer",
    "auto": "it chooses among the others",
}
TRAINED = {"mlp": 8000, "lambda-orthogonal": 8000, "fct": 1000}
"""Methods that descend a gradient, on the detailed pair alone, up to so many pairs: fct takes long beyond that."""

FOLLOWED = (("uniform", "cosine"), ("prototype", "whitened"), ("learned", "whitened"))
"""Anchors and similarities that are followed over the number of pairs."""

UNSEEN = "learned without one of the two, whitened"


@dataclass(frozen=True)
class Spaces:
    """Two models' vectors or more, of the same training items (n, d) and test items (m, d); one pair is told in full."""

    train: Mapping[str, Any]
    test: Mapping[str, Any]
    detail: Pair
    own: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, x in self.test.items():
            self.own[name] = _nearest(unit(x) @ unit(x).T)

    @property
    def pairs(self) -> list[Pair]:
        """All ordered pairs of models, (query's, gallery's)."""
        return list(itertools.permutations(self.train, 2))

    def first(self, n: int) -> dict[str, Any]:
        """The first n training items."""
        return {name: rows[:n] for name, rows in self.train.items()}

    def score(self, pair: Pair, queries: Any, gallery: Any) -> Any:
        """R@1, MRR and Jaccard (3,) of queries (m, d) whose answers are the rows of gallery (m, d)."""
        scores = unit(queries) @ unit(gallery).T
        rank = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
        common = (_nearest(scores)[:, :, None] == self.own[pair[1]][:, None]).sum(axis=(1, 2))
        return np.asarray([(rank == 1).mean(), (1 / rank).mean(), (common / (10 - common)).mean()])


def unit(x: Any) -> Any:
    """Rows of length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _nearest(scores: Any) -> Any:
    """Positions (m, 5) of the five best of each row."""
    return np.argpartition(-scores, 5, axis=1)[:, :5]


def absolute(spaces: Spaces) -> Iterator[Score]:
    """Vectors of equal width compared as if they were of one model."""
    for a, b in spaces.pairs:
        if spaces.test[a].shape[1] == spaces.test[b].shape[1]:
            yield "absolute", 0, 0, (a, b), spaces.score((a, b), spaces.test[a], spaces.test[b])


def bridges(spaces: Spaces, n: int) -> Iterator[Score]:
    """The bridges in closed form, fitted to n pairs, and the inverse projection with all of these as anchors."""
    rows = spaces.first(n)
    if len(rows) > 2:
        hub = dict(zip(rows, align.fit(list(rows.values()), method="gpa", device="cpu").maps, strict=True))
        for a, b in spaces.pairs:
            yield "gpa", n, 0, (a, b), spaces.score((a, b), hub[a].apply(spaces.test[a]), hub[b].apply(spaces.test[b]))
    for a, b in spaces.pairs:
        for method in METHODS:
            if method not in SKIPPED and method not in TRAINED and method != "gpa":
                fitted = align.fit(rows[a], rows[b], method=method, device="cpu")
                yield method, n, 0, (a, b), spaces.score((a, b), fitted.apply(spaces.test[a]), spaces.test[b])
        back = inverse(rows[a], rows[b])
        yield "inverse projection", n, 0, (a, b), spaces.score((a, b), back.apply(spaces.test[a]), spaces.test[b])


def trained(spaces: Spaces, method: Any, n: int) -> Iterator[Score]:
    """A bridge that is trained, on the detailed pair."""
    (a, b), rows = spaces.detail, spaces.first(n)
    fitted = align.fit(rows[a], rows[b], method=method, device="cpu", seed=SEED)
    yield method, n, 0, (a, b), spaces.score((a, b), fitted.apply(spaces.test[a]), spaces.test[b])


def selected(spaces: Spaces, strategy: Any, source: str, n: int, k: int, ways: Sequence[str]) -> Iterator[Score]:
    """Anchors selected among n items in the space of `source`, whose items then search all other models'."""
    anchors = select(spaces.train[source][:n], k, strategy, SEED)
    pairs = [pair for pair in spaces.pairs if pair[0] == source]
    for way in ways:
        yield from _compared(spaces, anchors, strategy, way, n, k, pairs)


def learned(spaces: Spaces, similarity: Any, n: int, k: int, ways: Sequence[str]) -> Iterator[Score]:
    """Anchors learned among n items over all models at once."""
    from align.anchors import learn

    k = min(k, n - n // 10)
    rows = list(spaces.first(n).values())
    anchors = learn(rows, k, similarity=similarity, epochs=6, candidates=2048, seed=SEED, device="cpu")
    for way in ways:
        yield from _compared(spaces, anchors, "learned", way, n, k, spaces.pairs)


def unseen(spaces: Spaces, n: int, k: int) -> Iterator[Score]:
    """Anchors learned over all models but one, for what that one finds in the others and they in it."""
    from align.anchors import learn

    for out in spaces.train:
        rows = [x for name, x in spaces.first(n).items() if name != out]
        anchors = learn(rows, k, similarity="whitened", epochs=6, candidates=2048, seed=SEED, device="cpu")
        pairs = [pair for pair in spaces.pairs if out in pair]
        for _, *numbers, pair, score in _compared(spaces, anchors, "learned", "whitened", n, k, pairs):
            yield UNSEEN, *numbers, pair, score


def _compared(
    spaces: Spaces, anchors: Anchors, strategy: str, way: str, n: int, k: int, pairs: Iterable[Pair]
) -> Iterator[Score]:
    rows = spaces.first(n)
    vectors = {name: anchors.vectors(x, unit=True) for name, x in rows.items()}
    name = f"{strategy}, {way}"
    if way == "inverse":
        for a, b in pairs:
            back = inverse(vectors[a], vectors[b])
            yield name, n, k, (a, b), spaces.score((a, b), back.apply(spaces.test[a]), spaces.test[b])
        return
    relative = {
        model: project(
            spaces.test[model], vectors[model], way, normalize=True, device="cpu",  # type: ignore[arg-type]
            data=rows[model] if way == "whitened" else None,
        )
        for model in spaces.train
    }  # fmt: skip
    for a, b in pairs:
        yield name, n, k, (a, b), spaces.score((a, b), relative[a], relative[b])


Task = Callable[[Spaces], Iterator[Score]]


def over_pairs(spaces: Spaces, sizes: Sequence[int]) -> list[Task]:
    """All that is measured over the number of pairs, the longest first."""
    tasks: list[Task] = [
        partial(trained, method=m, n=n) for m, most in TRAINED.items() for n in reversed(sizes) if n <= most
    ]
    if len(spaces.train) > 2:
        tasks.append(partial(unseen, n=sizes[-1], k=MOST_ANCHORS))
    for strategy, similarity in FOLLOWED:
        for n in reversed(sizes):
            k = min(MOST_ANCHORS, n)
            if strategy == "learned":
                tasks.append(partial(learned, similarity=similarity, n=n, k=k, ways=(similarity,)))
            else:
                tasks += [
                    partial(selected, strategy=strategy, source=s, n=n, k=k, ways=(similarity,)) for s in spaces.train
                ]
    return [*tasks, *(partial(bridges, n=n) for n in sizes), absolute]


def over_anchors(spaces: Spaces, counts: Sequence[int], n: int) -> list[Task]:
    """All that is measured over the number of anchors, with n pairs."""
    tasks: list[Task] = []
    for k in reversed(counts):
        tasks += [partial(learned, similarity=s, n=n, k=k, ways=ways) for s, ways in LEARNED_FOR.items()]
        tasks += [
            partial(selected, strategy=strategy, source=source, n=n, k=k, ways=WAYS)
            for strategy in STRATEGIES
            for source in spaces.train
        ]
    return tasks


def run(spaces: Spaces, tasks: Sequence[Task]) -> list[list[Score]]:
    """The scores of each task, in the tasks' order."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # the workers read it when they start
    with ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("spawn"), initializer=_hold, initargs=(spaces,)
    ) as pool:
        return list(pool.map(_do, tasks))


_HELD: list[Spaces] = []  # in a worker: sent once, not with each task


def _hold(spaces: Spaces) -> None:
    warnings.simplefilter("ignore", UserWarning)  # few pairs are part of the question
    _HELD.append(spaces)


def _do(task: Task) -> list[Score]:
    return list(task(_HELD[0]))
