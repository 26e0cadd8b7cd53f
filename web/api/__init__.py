"""The HTTP API, `/api/v1`: JSON for facts, Arrow IPC streams for vectors, described at `/api/v1/openapi.json`."""

from web.api import (
    anchors,
    attaching,
    backfills,
    descriptions,
    evidence,
    galleries,
    indexes,
    items,
    models,
    overview,
    service,
    studies,
    transforms,
    vectors,
)
from web.api.base import blueprint

__all__ = [
    "anchors",
    "attaching",
    "backfills",
    "blueprint",
    "descriptions",
    "evidence",
    "galleries",
    "indexes",
    "items",
    "models",
    "overview",
    "service",
    "studies",
    "transforms",
    "vectors",
]
