"""Routes of galleries: what there is."""

from __future__ import annotations

from functools import partial

from flask import Response
from pydantic import BaseModel

from registry.types import Gallery
from web import visible
from web.access import caller
from web.api.base import Body, Paging, answer, blueprint, idempotency_key, json_answer, listed, page, tag
from web.current import current_registry

TAG = tag("galleries", "Named collections of items with stored embeddings; with label columns they are benchmarks")


class GalleryPath(BaseModel):
    """A gallery in the address."""

    name: str


class NewGallery(Body):
    """What a gallery is created with."""

    name: str
    id_type: str = "string"
    labels: list[str] = []  # noqa: RUF012 - pydantic copies it


@blueprint.get("/galleries", tags=TAG, responses={200: listed("galleries", Gallery)})
def galleries(query: Paging) -> Response:
    """All galleries by name."""
    return page("galleries", query, partial(visible.galleries, caller()), among=caller().galleries)


@blueprint.post("/galleries", tags=TAG, responses={201: answer(Gallery)})
def create_gallery(body: NewGallery) -> Response:
    """Create an empty gallery."""
    caller().require("writer", galleries=[body.name])
    return json_answer(current_registry().create_gallery(**body.model_dump(), key=idempotency_key()), 201)


@blueprint.get("/galleries/<name>", tags=TAG, responses={200: answer(Gallery)})
def gallery(path: GalleryPath) -> Response:
    """One gallery."""
    caller().require("reader", galleries=[path.name])
    return json_answer(visible.galleries(caller(), [current_registry().gallery(path.name)])[0])
