"""From what the facts say of an attached segment to the backend that reads it; each kind imports its engine when it is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from registry.attachments import Attachment
from registry.backends.attached import Attached, Seen, Writer
from registry.backends.base import CAPABILITIES
from registry.backends.engines import Engines
from registry.errors import MissingExtra

__all__ = ["attached", "kept", "told"]

_CLASSES: Mapping[str, tuple[str, str, str]] = {
    "pgvector": ("registry.backends.pgvector", "PgvectorBackend", "server"),
    "parquet": ("registry.backends.parquet", "ParquetBackend", "server"),
    "npy": ("registry.backends.npy", "NpyBackend", "server"),
    "faiss": ("registry.backends.faiss_file", "FaissBackend", "server"),
    "qdrant": ("registry.backends.qdrant", "QdrantBackend", "qdrant"),
    "milvus": ("registry.backends.milvus", "MilvusBackend", "milvus"),
}


def attached(
    gallery: str, writer: Writer, id_type: str, at: Attachment, engines: Engines, *,
    seen: Mapping[str, Any] | None = None,
) -> Attached:  # fmt: skip
    """The backend of an attachment. MissingExtra if its client is not installed."""
    module, name, extra = _CLASSES[at.kind]
    try:
        cls: type[Attached] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{at.kind} needs the package {error.name}, which is not installed: pip install 'samespace[{extra}]'"
        ) from error
    return cls(gallery, writer, id_type, at, engines, seen=seen)


def kept(backend: Attached, found: Seen) -> dict[str, Any]:
    """What the facts keep of an attached segment, as JSON."""
    can = [c for c in CAPABILITIES if c in backend.capabilities and (c != "labels" or backend.at.labels)]
    return {**asdict(backend.at), "labels": dict(backend.at.labels), "seen": dict(found.facts), "capabilities": can}


def told(kept: Mapping[str, Any]) -> Attachment:
    """The attachment that the facts keep."""
    return Attachment(**{name: kept[name] for name in ("kind", "where", "table", "id", "vector", "ids", "labels")})
