"""Routes of search indexes: what there is, building one, letting one go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response
from pydantic import BaseModel, Field

from registry import wire
from registry.services import indexes as services
from registry.types import IndexInfo
from web import lines, transfers
from web.access import caller
from web.api.base import Body, Query, blueprint, covers, json_answer, tag
from web.api.galleries import GalleryPath
from web.current import current_registry

TAG = tag("indexes", "Search indexes over what versions stored in galleries, with their measured recall")


class NewIndex(Body):
    """What to build; the version may be left out where one alone wrote into the gallery."""

    version: str | None = None
    kind: str = "auto"
    compression: str = "none"
    recall: float = Field(0.95, gt=0, le=1)
    settings: dict[str, int] | None = None
    seed: int = Field(0, ge=0, lt=2**31)


class OfVersion(Query):
    """Whose vectors it is over."""

    version: str


class Indexes(BaseModel):
    """Indexes by gallery and version."""

    indexes: list[IndexInfo]


@blueprint.get("/indexes", tags=TAG, responses={200: Indexes})
def indexes() -> Response:
    """All indexes, with the rows that they cover and the recall that was measured."""
    return json_answer({"indexes": _seen(None)})


@blueprint.get("/galleries/<name>/indexes", tags=TAG, responses={200: Indexes})
def gallery_indexes(path: GalleryPath) -> Response:
    """Those of one gallery."""
    caller().require("reader", galleries=[path.name])
    return json_answer({"indexes": _seen(path.name)})


@blueprint.post(
    "/galleries/<name>/indexes",
    tags=TAG,
    responses={200: {"description": "lines of JSON: progress, and last the index"}},
)
def build_index(path: GalleryPath, body: NewIndex) -> Response:
    """Build an index in a process of its own and let searches use it. Answers in lines of JSON.

    {"progress": [done, all]} …, and at the end {"index": …} or {"error": …}.
    """
    caller().require("writer", galleries=[path.name])
    if body.version is not None:
        covers(body.version)
    with current_registry().reading() as session:
        version = services.target(session, path.name, body.version, among=caller().models).version
    return Response(transfers.stream(_lines(path.name, version, body)), mimetype=lines.LINES)


@blueprint.delete("/galleries/<name>/indexes", tags=TAG, responses={204: None})
def drop_index(path: GalleryPath, query: OfVersion) -> tuple[str, int]:
    """Let the index of what a version stored go; searches are exact again."""
    caller().require("writer", galleries=[path.name])
    covers(query.version)
    current_registry().drop_index(path.name, query.version)
    return "", 204


def _seen(gallery: str | None) -> list[IndexInfo]:
    """What the caller's token covers."""
    who = caller()
    with current_registry().reading() as session:
        return services.indexes(session, gallery=gallery, galleries_among=who.galleries, models_among=who.models)


def _lines(gallery: str, version: str, body: NewIndex) -> Iterator[bytes]:
    """What building says."""
    registry = current_registry()
    given: dict[str, Any] = body.model_dump(exclude={"version"})

    def work(progress: lines.Progress) -> dict[str, Any]:
        return {"index": wire.to_json(registry.build_index(gallery, version, **given, progress=progress))}

    return lines.told(work, f"an index of {version} in {gallery}")
