"""A collection of Milvus: searched by its own index, read by its iterator, never written. Its primary keys are the ids."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from grpc import RpcError, StatusCode
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.types import Status

from registry.backends.collection import Collection, Row
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, Unavailable
from registry.vectors import Array, Metric

__all__ = ["MilvusBackend"]

_METRICS = {"cosine": "COSINE", "dot": "IP", "l2": "L2"}
_TIMEOUT_S = 60
_KEY = "SAMESPACE_MILVUS_KEY"
_REFUSED = (1400, 1401, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
"""Milvus's own codes for who is unknown and for what one may not, and gRPC's."""


class MilvusBackend(Collection):
    """Vectors in a collection."""

    errors = (MilvusException, RpcError)
    most = 16_384

    @cached_property
    def client(self) -> Any:
        """The engine's own client; a local file is opened once in a process."""
        return self.engines.get(("milvus", self.at.where), self._opened)

    def _opened(self) -> Any:
        if "://" not in self.at.where and not Path(self.at.where).exists():  # the client would make one
            raise CorruptFile(f"there is no file {Path(self.at.where).name}: check the path, or detach it")
        return self.asked(lambda: MilvusClient(uri=self.at.where, token=os.environ.get(_KEY, ""), timeout=_TIMEOUT_S))

    def count(self) -> int:
        """Counted now."""
        found = self.asked(lambda: self.client.query(self.collection, "", output_fields=["count(*)"]))
        return int(found[0]["count(*)"])

    def nearest(
        self, queries: Array, k: int, *, metric: Metric, without: list[Any], among: list[Any] | None
    ) -> Iterable[Iterable[tuple[Any, float]]]:
        """All queries in one request."""
        # A list in Milvus's language is one in JSON, whose escapes it knows.
        named = [(without, "not in"), (among or [], "in")]
        wanted = " and ".join(f"{self._id} {how} {json.dumps(i, ensure_ascii=False)}" for i, how in named if i)
        answers = self.asked(
            lambda: self.client.search(
                self.collection, data=queries.astype(np.float32).tolist(), anns_field=self._vector, limit=k,
                filter=wanted, search_params={"metric_type": _METRICS[metric]}, output_fields=[self._id],
            )
        )  # fmt: skip
        sign = -1 if metric == "l2" else 1
        return ([(h[self._id] if self._id in h else h["id"], sign * h["distance"]) for h in hits] for hits in answers)

    def checked(self) -> str:
        """Its columns, too."""
        if not self.asked(lambda: self.client.has_collection(self.collection)):
            raise CorruptFile(f"there is no {self.at.name}: check the name of the collection, or detach it")
        fields = {f["name"]: f for f in self.asked(lambda: self.client.describe_collection(self.collection))["fields"]}
        for column in (self._id, self._vector, *self.at.labels.values()):
            if column not in fields:
                raise CorruptFile(
                    f"collection {self.collection} has no column {column!r:.80}: it has {', '.join(fields)[:200]}"
                )
        if not fields[self._id].get("is_primary"):
            raise InvalidInput(f"column {self._id!r:.80} of {self.collection} is not its primary key: name that")
        if fields[self._vector]["type"] != DataType.FLOAT_VECTOR:
            raise InvalidInput(f"column {self._vector!r:.80} of {self.collection} is no vector of float32")
        if (dim := int(fields[self._vector]["params"]["dim"])) != self.writer.dim:
            raise DimensionMismatch(f"{self.at.name} has {dim} dimensions, {self.version} has {self.writer.dim}")
        self._check_metric()
        return "int" if fields[self._id]["type"] == DataType.INT64 else "string"

    def _check_metric(self) -> None:
        for name in self.asked(lambda: self.client.list_indexes(self.collection)):
            index = self.asked(partial(self.client.describe_index, self.collection, name))
            if index.get("field_name") == self._vector and index["metric_type"] != _METRICS[self.writer.metric]:
                raise InvalidInput(
                    f"{self.at.name} compares by {index['metric_type']}, {self.version} by {self.writer.metric}: attach it to "
                    "a version that fits"
                )

    def pages(self, rows: int, *, vectors: bool) -> Iterator[list[Row]]:
        """By Milvus's iterator."""
        names = self._named(vectors)
        pages = self.asked(lambda: self.client.query_iterator(self.collection, batch_size=rows, output_fields=names))
        try:
            while page := self.asked(pages.next):
                yield self._rows(page)
        finally:
            pages.close()

    def gotten(self, ids: list[Any], *, vectors: bool = False, columns: Sequence[str] = ()) -> list[Row]:
        """By their primary keys."""
        names = [*self._named(vectors), *columns]
        return self._rows(self.asked(lambda: self.client.get(self.collection, ids, output_fields=names)))

    def said(self, error: Exception) -> tuple[bool, Unavailable]:
        """By the code of it, or of what the client wrapped."""
        for one in (error, error.__cause__):
            code = getattr(one, "code", None)
            if (code() if callable(code) else code) in _REFUSED:
                return False, Unavailable(f"{self.at.name} refused the credentials: put its key into {_KEY}")
        code, text = getattr(error, "code", None), (str(getattr(error, "message", "")).splitlines() or [""])[0][:160]
        if not isinstance(code, int) or code == Status.CONNECT_FAILED:  # the client, which names the address
            return True, Unavailable(f"{self.at.name} cannot be reached: check that it runs, then try again")
        return True, Unavailable(f"{self.at.name} did not answer: {text}; check that it runs, then try again")

    @property
    def _id(self) -> str:
        return self.at.id or ""

    @property
    def _vector(self) -> str:
        return self.at.vector or ""

    def _named(self, vectors: bool) -> list[str]:
        return [self._id, self._vector] if vectors else [self._id]

    def _rows(self, page: Sequence[Any]) -> list[Row]:
        return [(row[self._id], row.get(self._vector), row) for row in page]
