"""Routes of transforms."""

from __future__ import annotations

from functools import partial

from flask import Response
from pydantic import BaseModel, Field

from registry import transforms as files
from registry.refs import is_relative
from registry.types import TransformInfo
from web import visible
from web.access import caller
from web.api.base import (
    BYTES_ANSWER,
    File,
    Paging,
    Query,
    answer,
    blueprint,
    covers,
    idempotency_key,
    json_answer,
    listed,
    model_of,
    page,
    tag,
)
from web.api.models import parsed, whole
from web.current import current_registry

TAG = tag("transforms", "Immutable, directed maps between two spaces")

_LARGEST_FILE = 1 << 30


class TransformPath(BaseModel):
    """A transform in the address."""

    id: str


class NewTransform(Query):
    """Between which spaces."""

    source: str
    target: str
    run_id: str | None = None


class Transforms(Paging):
    """Transforms of one model, or all."""

    model: str | None = Field(None, description="those that begin or end at a version of it, or at a prefix of one")


@blueprint.get("/transforms", tags=TAG, responses={200: listed("transforms", TransformInfo)})
def transforms(query: Transforms) -> Response:
    """All transforms, oldest first; of one model if it is named."""
    who = caller()
    who.require("reader", models=[query.model] if query.model else [])
    sets = () if who.unlimited else visible.anchor_sets(who, current_registry().anchor_sets())
    return page("transforms", query, partial(visible.transforms, who, sets=sets), model=query.model)


@blueprint.post("/transforms", tags=TAG, responses={201: answer(TransformInfo)})
def add_transform(query: NewTransform, raw: File) -> Response:
    """Register a map, given as its file (safetensors), from one space to another."""
    caller().require("writer")
    covers(query.source, query.target)
    transform = parsed(partial(files.loads, whole(raw, _LARGEST_FILE), name="the body"))
    made = current_registry().add_transform(
        transform, source=query.source, target=query.target, run_id=query.run_id, key=idempotency_key()
    )
    return json_answer(made, 201)


@blueprint.get("/transforms/<id>/file", tags=TAG, responses={200: BYTES_ANSWER})
def transform_file(path: TransformPath) -> Response:
    """A transform with its parameters (safetensors)."""
    found, who = current_registry().transform(path.id), caller()
    spaces = [end.space for end in (found.source, found.target) if end is not None]
    sets = () if who.unlimited else current_registry().anchor_sets()
    who.require_of(
        f"transform {path.id}",
        models=[name for space in spaces if not is_relative(space) for name in model_of(space)],
        galleries=[a.gallery for a in sets if a.space in spaces],
    )
    return Response(found.dumps(), mimetype="application/octet-stream")
