"""A collection of Qdrant: searched by its own index, read in pages, never written. The ids of its points are the items'."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from registry.backends.attached import Attached, Seen, label_column
from registry.backends.base import BLOCK_ROWS, Capability
from registry.batches import id_type
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, Unavailable
from registry.index import empty_hits
from registry.vectors import Array, Metric

__all__ = ["QdrantBackend"]

_DISTANCES = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "l2": models.Distance.EUCLID}
_PAGE = 1024
_TIMEOUT_S = 60
_KEY = "SAMESPACE_QDRANT_KEY"

T = TypeVar("T")


class QdrantBackend(Attached):
    """Vectors in a collection; of cosine collections as Qdrant keeps them, at length 1."""

    capabilities: frozenset[Capability] = frozenset({"read", "search", "filter", "labels"})

    @property
    def state(self) -> Hashable:
        """Points come and go without notice."""
        return None

    @cached_property
    def client(self) -> QdrantClient:
        """The engine's own client, of a server: its local mode would read pickles."""
        return self.engines.get(("qdrant", self.at.where), self._opened)

    def _opened(self) -> QdrantClient:
        key = os.environ.get(_KEY)
        return QdrantClient(url=self.at.where, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)

    def check(self) -> None:
        """The collection is there, with vectors of the same width and distance."""
        self._check_collection()

    def look(self) -> Seen:
        """All ids and all vectors, a page at a time."""
        self._check_collection()
        first = self._asked(lambda: self.client.scroll(self._name, limit=1)[0])
        if not first:
            raise InvalidInput(f"{self.at.name} holds no points: name a collection that does")
        self.id_type = "int" if isinstance(first[0].id, int) else "string"
        rows = 0
        for ids, _ in self.blocks():
            rows += len(ids)
            if self.at.labels:
                self.labels(ids, list(self.at.labels))
        return Seen(rows, self.id_type, {})

    def count(self) -> int:
        """Counted now."""
        return int(self._asked(lambda: self.client.count(self._name, exact=True)).count)

    def ids(self) -> pa.Array:
        """In order."""
        return self._column([p.id for page in self._pages(_PAGE, vectors=False) for p in page])

    def page(self, after: str | int | None, limit: int) -> pa.Array:
        """By Qdrant's own pages, which begin at an id."""
        found = self._asked(
            lambda: self.client.scroll(self._name, limit=limit + 1, offset=after, with_payload=False)[0]
        )
        return self._column([p.id for p in found if p.id != after][:limit])

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """A page at a time; points that are written meanwhile may come or not."""
        for page in self._pages(min(rows, _PAGE), vectors=True):
            ids, vectors = self._parsed(page)
            yield ids, vectors

    def rows(self, places: Array) -> Array:
        """By the ids that stand there."""
        return self.take(self.ids_at(places))

    def known(self, ids: pa.Array) -> pa.Array:
        """By their ids."""
        return self._column([p.id for page in self._retrieved(ids.unique()) for p in page])

    def take(self, ids: pa.Array) -> Array:
        """By their ids."""
        parts = [self._parsed(page) for page in self._retrieved(ids.unique(), vectors=True) if page]
        found = pa.concat_arrays([i for i, _ in parts]) if parts else self._column([])
        empty = np.empty((0, self.writer.dim), dtype=np.float32)
        return self.ordered(ids, found, np.concatenate([x for _, x in parts]) if parts else empty)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """Of the payload."""
        if any(name not in self.at.labels for name in columns):
            return super().labels(ids, columns)
        points = [p for page in self._retrieved(ids.unique(), payload=True) for p in page]
        order = pa.array(self.ordered(ids, self._column([p.id for p in points]), np.arange(len(points))))
        payload = [p.payload or {} for p in points]
        return pa.table(
            {n: label_column(n, [p.get(self.at.labels[n]) for p in payload], self.at.name).take(order) for n in columns}
        )

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By Qdrant's own index."""
        wanted = models.Filter(
            must=None if among is None else [models.HasIdCondition(has_id=self._keys(among))],
            must_not=None if without is None else [models.HasIdCondition(has_id=self._keys(without))],
        )
        asked = [
            models.QueryRequest(query=q.astype(float).tolist(), using=self.at.vector, limit=k, filter=wanted)
            for q in queries
        ]
        answers = self._asked(lambda: self.client.query_batch_points(self._name, asked)) if asked else []
        ids, scores = empty_hits(len(queries), k, string_ids=self.id_type == "string")
        for row, answer in enumerate(answers):
            for place, point in enumerate(answer.points):
                ids[row, place] = point.id
                scores[row, place] = -(point.score**2) if metric == "l2" else point.score
        return ids, scores

    @property
    def _name(self) -> str:
        return self.at.table or ""

    def _check_collection(self) -> None:
        if not self._asked(lambda: self.client.collection_exists(self._name)):
            raise CorruptFile(
                f"there is no collection {self._name!r:.80} at {self.at.where}: check its name, or detach it"
            )
        given = self._asked(lambda: self.client.get_collection(self._name)).config.params.vectors
        params = given.get(self.at.vector or "") if isinstance(given, dict) else None if self.at.vector else given
        if not isinstance(params, models.VectorParams):
            have = ", ".join(given) if isinstance(given, dict) else "one vector without a name"
            raise CorruptFile(
                f"collection {self._name} has no vector {self.at.vector!r}: it has {have}; name one of these"
            )
        if params.size != self.writer.dim:
            raise DimensionMismatch(
                f"{self.at.name} has {params.size} dimensions, {self.version} has {self.writer.dim}"
            )
        if params.distance != _DISTANCES[self.writer.metric]:
            raise InvalidInput(
                f"{self.at.name} compares by {params.distance.value}, {self.version} by {self.writer.metric}: attach it to a "
                "version that fits"
            )

    def _pages(self, rows: int, *, vectors: bool) -> Iterator[list[Any]]:
        offset, wanted = None, ([self.at.vector] if self.at.vector else True) if vectors else False
        while True:
            at = offset
            page, offset = self._asked(
                lambda at=at: self.client.scroll(  # type: ignore[misc]
                    self._name, limit=rows, offset=at, with_payload=False, with_vectors=wanted
                )
            )
            if page:
                yield page
            if offset is None:
                return

    def _retrieved(self, ids: pa.Array, *, vectors: bool = False, payload: bool = False) -> Iterator[list[Any]]:
        keys = self._keys(ids)
        for start in range(0, len(keys), _PAGE):
            some = keys[start : start + _PAGE]
            yield self._asked(
                lambda some=some: self.client.retrieve(self._name, some, with_payload=payload, with_vectors=vectors)  # type: ignore[misc]
            )

    def _parsed(self, points: Sequence[Any]) -> tuple[pa.Array, Array]:
        ids = self._column([p.id for p in points])
        rows = [p.vector.get(self.at.vector) if isinstance(p.vector, dict) else p.vector for p in points]
        if (none := next((i for i, row in enumerate(rows) if row is None), None)) is not None:
            raise InvalidInput(
                f"point {points[none].id!r:.80} of {self.at.name} has no vector: give it one, or remove it"
            )
        return ids, self.clean(ids, np.asarray(rows, dtype=np.float32))

    def _column(self, ids: Sequence[Any]) -> pa.Array:
        wanted = int if self.id_type == "int" else str
        if (other := next((i for i in ids if not isinstance(i, wanted)), None)) is not None:
            raise InvalidInput(
                f"{self.at.name} has ids of numbers and of UUIDs, such as {other!r:.80}: a gallery has one kind"
            )
        return self.named(list(ids)) if ids else pa.array([], id_type(self.id_type))

    def _keys(self, ids: pa.Array) -> list[Any]:
        listed = ids.to_pylist()
        return listed if self.id_type == "int" else [i for i in listed if _is_uuid(i)]

    def _asked(self, do: Callable[[], T]) -> T:
        """What the client gives, asked once more if it was not reached."""
        for again in (True, False):
            try:
                return do()
            except ResponseHandlingException as error:
                if not again:
                    raise Unavailable(
                        f"{self.at.where} cannot be reached: check that it runs, then try again"
                    ) from error
            except UnexpectedResponse as error:
                if error.status_code in (401, 403):
                    raise Unavailable(f"{self.at.where} refused the credentials: put its key into {_KEY}") from error
                raise Unavailable(f"{self.at.where} answered {error.status_code}: {error.reason_phrase}") from error
            except ApiException as error:
                raise Unavailable(f"{self.at.where} did not answer as it should: {type(error).__name__}") from error
        raise AssertionError


def _is_uuid(id: str) -> bool:
    try:
        return str(UUID(id)) == id
    except ValueError:
        return False
