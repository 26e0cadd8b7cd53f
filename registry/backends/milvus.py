"""A collection of Milvus: searched by its own index, read by its iterator, never written. Its primary keys are the ids."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from pymilvus import DataType, MilvusClient, MilvusException

from registry.backends.attached import Attached, Seen, label_column
from registry.backends.base import BLOCK_ROWS, Capability
from registry.batches import id_type
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, Unavailable
from registry.index import empty_hits
from registry.vectors import Array, Metric

__all__ = ["MilvusBackend"]

_METRICS = {"cosine": "COSINE", "dot": "IP", "l2": "L2"}
_PAGE = 1024  # Milvus gives at most 16,384 rows at once
_TIMEOUT_S = 60
_KEY = "SAMESPACE_MILVUS_KEY"

T = TypeVar("T")


class MilvusBackend(Attached):
    """Vectors in a collection."""

    capabilities: frozenset[Capability] = frozenset({"read", "search", "filter", "labels"})

    @property
    def state(self) -> Hashable:
        """Rows come and go without notice."""
        return None

    @cached_property
    def client(self) -> Any:
        """The engine's own client; a local file is opened once in a process."""
        return self.engines.get(("milvus", self.at.where), self._opened)

    def _opened(self) -> Any:
        return self._asked(lambda: MilvusClient(uri=self.at.where, token=os.environ.get(_KEY, ""), timeout=_TIMEOUT_S))

    def check(self) -> None:
        """The collection is there, with vectors of the same width and metric, and the same columns."""
        self._check_collection()

    def look(self) -> Seen:
        """All ids and all vectors, a page at a time."""
        self.id_type = self._check_collection()
        rows = 0
        for ids, _ in self.blocks():
            rows += len(ids)
            if self.at.labels:
                self.labels(ids, list(self.at.labels))
        if not rows:
            raise InvalidInput(f"{self.at.name} holds nothing: name a collection that does")
        return Seen(rows, self.id_type, {})

    def count(self) -> int:
        """Counted now."""
        return int(self._asked(lambda: self.client.query(self._name, "", output_fields=["count(*)"]))[0]["count(*)"])

    def ids(self) -> pa.Array:
        """In the order of the iterator."""
        return self._column([row[self._id] for page in self._pages(_PAGE, [self._id]) for row in page])

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """A page at a time."""
        for page in self._pages(min(rows, _PAGE), [self._id, self._vector]):
            yield self._parsed(page)

    def rows(self, places: Array) -> Array:
        """By the ids that stand there."""
        return self.take(self.ids_at(places))

    def known(self, ids: pa.Array) -> pa.Array:
        """By their ids."""
        return self._column([row[self._id] for page in self._gotten(ids, [self._id]) for row in page])

    def take(self, ids: pa.Array) -> Array:
        """By their ids."""
        parts = [self._parsed(page) for page in self._gotten(ids, [self._id, self._vector]) if page]
        found = pa.concat_arrays([i for i, _ in parts]) if parts else self._column([])
        empty = np.empty((0, self.writer.dim), dtype=np.float32)
        return self.ordered(ids, found, np.concatenate([x for _, x in parts]) if parts else empty)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """By their ids."""
        if any(name not in self.at.labels for name in columns):
            return super().labels(ids, columns)
        there = [self.at.labels[name] for name in columns]
        rows = [row for page in self._gotten(ids, [self._id, *there]) for row in page]
        order = pa.array(self.ordered(ids, self._column([row[self._id] for row in rows]), np.arange(len(rows))))
        return pa.table(
            {
                n: label_column(n, [r.get(c) for r in rows], self.at.name).take(order)
                for n, c in zip(columns, there, strict=True)
            }
        )

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By Milvus's own index."""
        ids, scores = empty_hits(len(queries), k, string_ids=self.id_type == "string")
        parts = [] if without is None or not len(without) else [f"{self._id} not in {_listed(without)}"]
        if among is not None:
            parts.append(f"{self._id} in {_listed(among)}")
        if not len(queries) or (among is not None and not len(among)):
            return ids, scores
        answers = self._asked(
            lambda: self.client.search(
                self._name, data=queries.astype(np.float32).tolist(), anns_field=self._vector, limit=min(k, 16_384),
                filter=" and ".join(parts), search_params={"metric_type": _METRICS[metric]}, output_fields=[self._id],
            )
        )  # fmt: skip
        for row, answer in enumerate(answers):
            for place, hit in enumerate(answer):
                ids[row, place] = hit[self._id] if self._id in hit else hit["id"]
                scores[row, place] = -hit["distance"] if metric == "l2" else hit["distance"]
        return ids, scores

    @property
    def _name(self) -> str:
        return self.at.table or ""

    @property
    def _id(self) -> str:
        return self.at.id or ""

    @property
    def _vector(self) -> str:
        return self.at.vector or ""

    def _check_collection(self) -> str:
        """The type of the ids, once the collection was found to be one of this version's vectors."""
        if not self._asked(lambda: self.client.has_collection(self._name)):
            raise CorruptFile(
                f"there is no collection {self._name!r:.80} at {self.at.where}: check its name, or detach it"
            )
        fields = {f["name"]: f for f in self._asked(lambda: self.client.describe_collection(self._name))["fields"]}
        for column in (self._id, self._vector, *self.at.labels.values()):
            if column not in fields:
                raise CorruptFile(
                    f"collection {self._name} has no column {column!r:.80}: it has {', '.join(fields)[:200]}"
                )
        if not fields[self._id].get("is_primary"):
            raise InvalidInput(f"column {self._id!r:.80} of {self._name} is not its primary key: name that")
        if fields[self._vector]["type"] != DataType.FLOAT_VECTOR:
            raise InvalidInput(f"column {self._vector!r:.80} of {self._name} is no vector of float32")
        if (dim := int(fields[self._vector]["params"]["dim"])) != self.writer.dim:
            raise DimensionMismatch(f"{self.at.name} has {dim} dimensions, {self.version} has {self.writer.dim}")
        self._check_metric()
        return "int" if fields[self._id]["type"] == DataType.INT64 else "string"

    def _check_metric(self) -> None:
        for name in self._asked(lambda: self.client.list_indexes(self._name)):
            index = self._asked(lambda name=name: self.client.describe_index(self._name, name))  # type: ignore[misc]
            if index.get("field_name") == self._vector and index["metric_type"] != _METRICS[self.writer.metric]:
                raise InvalidInput(
                    f"{self.at.name} compares by {index['metric_type']}, {self.version} by {self.writer.metric}: attach it to "
                    "a version that fits"
                )

    def _pages(self, rows: int, columns: list[str]) -> Iterator[list[Any]]:
        pages = self._asked(lambda: self.client.query_iterator(self._name, batch_size=rows, output_fields=columns))
        try:
            while page := self._asked(pages.next):
                yield list(page)
        finally:
            pages.close()

    def _gotten(self, ids: pa.Array, columns: list[str]) -> Iterator[list[Any]]:
        keys = ids.unique().to_pylist()
        for start in range(0, len(keys), _PAGE):
            some = keys[start : start + _PAGE]
            yield self._asked(lambda some=some: self.client.get(self._name, some, output_fields=columns))  # type: ignore[misc]

    def _parsed(self, rows: Sequence[Any]) -> tuple[pa.Array, Array]:
        ids = self._column([row[self._id] for row in rows])
        return ids, self.clean(ids, np.asarray([row[self._vector] for row in rows], dtype=np.float32))

    def _column(self, ids: Sequence[Any]) -> pa.Array:
        return self.named(list(ids)) if ids else pa.array([], id_type(self.id_type))

    def _asked(self, do: Callable[[], T]) -> T:
        """What the client gives, asked once more if it was not reached."""
        for again in (True, False):
            try:
                return do()
            except MilvusException as error:
                said = (str(error.message).splitlines() or ["no reason given"])[0][:160]
                if "auth" in said.lower():
                    raise Unavailable(f"{self.at.where} refused the credentials: put its key into {_KEY}") from error
                if not again:
                    raise Unavailable(
                        f"{self.at.where} did not answer: {said}; check that it runs, then try again"
                    ) from error
        raise AssertionError


def _listed(ids: pa.Array) -> str:
    """Ids as a list of Milvus's language; texts are quoted as in JSON, whose escapes it knows."""
    return json.dumps(ids.to_pylist(), ensure_ascii=False)
