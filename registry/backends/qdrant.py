"""A collection of Qdrant: searched by its own index, read in pages, never written. The ids of its points are the items'."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from registry.backends.attached import is_uuid
from registry.backends.collection import NAMED, Collection, Row
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, Unavailable
from registry.vectors import Array, Metric

__all__ = ["QdrantBackend"]

_DISTANCES = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "l2": models.Distance.EUCLID}
_TIMEOUT_S = 60
_KEY = "SAMESPACE_QDRANT_KEY"


class QdrantBackend(Collection):
    """Vectors in a collection; of cosine collections as Qdrant keeps them, at length 1."""

    errors = (ApiException,)
    most = 1 << 16

    @cached_property
    def client(self) -> QdrantClient:
        """The engine's own client, of a server: its local mode would read pickles."""
        return self.engines.get(("qdrant", self.at.where), self._opened)

    def _opened(self) -> QdrantClient:
        key = os.environ.get(_KEY)
        return QdrantClient(url=self.at.where, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)

    def count(self) -> int:
        """Counted now."""
        return int(self.asked(lambda: self.client.count(self.collection, exact=True)).count)

    def page(self, after: str | int | None, limit: int) -> pa.Array:
        """By Qdrant's own pages, which begin at an id."""
        found = self.asked(
            lambda: self.client.scroll(self.collection, limit=limit + 1, offset=after, with_payload=False)[0]
        )
        return self.column([p.id for p in found if p.id != after][:limit])

    def nearest(
        self, queries: Array, k: int, *, metric: Metric, without: list[Any], among: list[Any] | None
    ) -> Iterable[Iterable[tuple[Any, float]]]:
        """So many queries in one request that the ids, which each of them names, are not too many."""
        wanted = models.Filter(
            must=None if among is None else [models.HasIdCondition(has_id=self._keys(among))],
            must_not=[models.HasIdCondition(has_id=self._keys(without))] if without else None,
        )
        step = max(1, NAMED // (1 + len(without) + len(among or ())))
        for start in range(0, len(queries), step):
            asked = [
                models.QueryRequest(query=q.astype(float).tolist(), using=self.at.vector, limit=k, filter=wanted)
                for q in queries[start : start + step]
            ]
            for answer in self.asked(partial(self.client.query_batch_points, self.collection, asked)):
                yield [(p.id, -(p.score**2) if metric == "l2" else p.score) for p in answer.points]

    def checked(self) -> str:
        """A vector with a name is chosen by it, one without by none."""
        if not self.asked(lambda: self.client.collection_exists(self.collection)):
            raise CorruptFile(f"there is no {self.at.name}: check the name of the collection, or detach it")
        given = self.asked(lambda: self.client.get_collection(self.collection)).config.params.vectors
        params = given.get(self.at.vector or "") if isinstance(given, dict) else None if self.at.vector else given
        if not isinstance(params, models.VectorParams):
            have = ", ".join(given) if isinstance(given, dict) else "one vector without a name"
            raise CorruptFile(
                f"collection {self.collection} has no vector {self.at.vector!r}: it has {have}; name one of these"
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
        if self.id_type:
            return self.id_type
        first = self.asked(lambda: self.client.scroll(self.collection, limit=1, with_payload=False)[0])
        return "int" if first and isinstance(first[0].id, int) else "string"

    def pages(self, rows: int, *, vectors: bool) -> Iterator[list[Row]]:
        """By Qdrant's own pages."""
        offset: Any = None
        while True:
            page, offset = self.asked(
                partial(
                    self.client.scroll,
                    self.collection,
                    limit=rows,
                    offset=offset,
                    with_payload=False,
                    with_vectors=self._vectors(vectors),
                )
            )
            if page:
                yield self._rows(page)
            if offset is None:
                return

    def gotten(self, ids: list[Any], *, vectors: bool = False, columns: Sequence[str] = ()) -> list[Row]:
        """Points; all of their payload, whose keys may hold dots."""
        keys, payload = self._keys(ids), bool(columns)
        found = self.asked(
            lambda: self.client.retrieve(
                self.collection, keys, with_payload=payload, with_vectors=self._vectors(vectors)
            )
        )
        return self._rows(found)

    def column(self, ids: list[Any]) -> pa.Array:
        """Ids of one kind."""
        wanted = int if self.id_type == "int" else str
        if (other := next((i for i in ids if not isinstance(i, wanted)), None)) is not None:
            raise InvalidInput(
                f"{self.at.name} has ids of numbers and of UUIDs, such as {other!r:.80}: a gallery has one kind"
            )
        return super().column(ids)

    def said(self, error: Exception) -> tuple[bool, Unavailable]:
        """By its class and its status."""
        if isinstance(error, ResponseHandlingException):
            return True, Unavailable(f"{self.at.name} cannot be reached: check that it runs, then try again")
        if not isinstance(error, UnexpectedResponse):
            return False, Unavailable(f"{self.at.name} did not answer as it should: {type(error).__name__}")
        if error.status_code in (401, 403):
            return False, Unavailable(f"{self.at.name} refused the credentials: put its key into {_KEY}")
        return False, Unavailable(f"{self.at.name} answered {error.status_code}: {error.reason_phrase}")

    def _vectors(self, wanted: bool) -> bool | list[str]:
        return wanted and ([self.at.vector] if self.at.vector else True)

    def _rows(self, points: Sequence[Any]) -> list[Row]:
        name = self.at.vector
        return [(p.id, p.vector.get(name) if isinstance(p.vector, dict) else p.vector, p.payload or {}) for p in points]

    def _keys(self, ids: list[Any]) -> list[Any]:
        return ids if self.id_type == "int" else [i for i in ids if is_uuid(i)]
