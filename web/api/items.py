"""Routes of items: what a gallery holds, a page at a time, with the previews that people look at."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa
from flask import Response
from pydantic import BaseModel, Field

from registry.errors import InvalidInput
from registry.types import Gallery, Item, Preview
from web import queries, transfers, visible
from web.access import caller
from web.api.base import Arrow, Body, Query, answer, blueprint, idempotency_key, json_answer, tag
from web.api.galleries import GalleryPath
from web.api.streams import batches, own, whole
from web.current import current_registry

TAG = tag("items", "The items of a gallery, with their labels, and small pictures or texts of them to look at")

_KINDS: dict[pa.DataType, Preview] = {pa.binary(): "picture", pa.string(): "text"}


class Items(Query):
    """Which part of a gallery."""

    limit: int = Field(100, ge=1, le=1000, description="the most items of a page; with previews up to 100")
    after: str | None = Field(None, max_length=2000, description="`next` of the page before")
    previews: bool = Field(False, description="with the preview of each item")
    label: str | None = Field(
        None,
        max_length=10_000,
        description='only items with these labels: a JSON object of label columns and values, such as {"class": 3}; '
        "a page then ends after half a million rows, with fewer items or none, and `next` leads on",
    )


class ItemId(Query):
    """Which item, as a parameter: an id may hold slashes and whatever else."""

    id: str


class PreviewUrl(Body):
    """Where browsers find pictures of items, with {id} for the item's id; null takes it back."""

    url: str | None


class ShownItem(BaseModel):
    """An item; its preview, where there is one and it was asked for, is a picture or a text."""

    id: int | str
    labels: dict[str, int | str]
    versions: list[str]
    picture: str | None = Field(description="a PNG, JPEG, WebP or GIF file, in base64")
    text: str | None


class ShownPreview(BaseModel):
    """The preview of an item, a picture or a text."""

    id: int | str
    picture: str | None = Field(description="a PNG, JPEG, WebP or GIF file, in base64")
    text: str | None


class Previews(BaseModel):
    """The previews of those items that have one."""

    previews: list[ShownPreview]


class ItemPage(BaseModel):
    """Some items in stored order, and the cursor of those that follow."""

    items: list[ShownItem]
    next: str | None


class Kept(BaseModel):
    """How many previews were stored."""

    previews: int


@blueprint.get("/galleries/<name>/items", tags=TAG, responses={200: ItemPage})
def items(path: GalleryPath, query: Items) -> Response:
    """The items of a gallery in stored order. What is written meanwhile shifts nothing."""
    caller().require("reader", galleries=[path.name])
    found = current_registry().items(
        path.name, label=_label(query.label), after=query.after, limit=query.limit, previews=query.previews
    )
    return json_answer({"items": [_shown(i) for i in visible.items(caller(), found.items)], "next": found.next})


@blueprint.get("/galleries/<name>/item", tags=TAG, responses={200: ShownItem})
def item(path: GalleryPath, query: ItemId) -> Response:
    """One item with its preview."""
    caller().require("reader", galleries=[path.name])
    registry = current_registry()
    wanted = queries.item_id(registry.gallery(path.name).id_type, query.id)
    return json_answer(_shown(visible.items(caller(), [registry.item(path.name, wanted)])[0]))


@blueprint.post("/galleries/<name>/previews", tags=TAG, responses={200: Kept})
def add_previews(path: GalleryPath, raw: Arrow) -> Response:
    """Keep a small picture or a text of each item: columns id, and preview, binary or string. All are stored, or nothing.

    With the header Idempotency-Key a repeated request stores nothing, and is answered as the first one was.
    """
    caller().require("writer", galleries=[path.name])
    with transfers.transfer():
        sent = batches({"id", "preview"}, plain=(pa.string(), pa.int64(), pa.binary()))
        first = next(sent, None)
        if first is None:
            raise InvalidInput("the batch is empty: send at least one id and its preview")
        kind = _kind(first.schema.field("preview").type)
        parts = _parts(chain([first], sent))
        stored = current_registry().add_preview_parts(path.name, kind=kind, parts=parts, key=idempotency_key())
    return json_answer({"previews": stored})


@blueprint.post("/galleries/<name>/previews/fetch", tags=TAG, responses={200: Previews})
def previews(path: GalleryPath, raw: Arrow) -> Response:
    """The previews of at most 100 items, of a column id; those that are unknown or have none are passed over."""
    caller().require("reader", galleries=[path.name])
    found = current_registry().previews(path.name, whole(batches({"id"}))["id"])
    return json_answer({"previews": [{"id": id, **_preview(preview)} for id, preview in found.items()]})


@blueprint.put("/galleries/<name>/preview-url", tags=TAG, responses={200: answer(Gallery)})
def set_preview_url(path: GalleryPath, body: PreviewUrl) -> Response:
    """Say where people's browsers find pictures of a gallery's items. The server itself never asks for them."""
    caller().require("writer", galleries=[path.name])
    changed = current_registry().set_preview_url(path.name, body.url)
    return json_answer(visible.galleries(caller(), [changed])[0])


def _shown(item: Item) -> dict[str, Any]:
    return {"id": item.id, "labels": item.labels, "versions": item.versions, **_preview(item.preview)}


def _preview(preview: bytes | str | None) -> dict[str, str | None]:
    picture, text = (b64encode(preview).decode(), None) if isinstance(preview, bytes) else (None, preview)
    return {"picture": picture, "text": text}


def _label(text: str | None) -> Mapping[str, str | int] | None:
    try:
        found = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(f"label must be a JSON object of columns and values, got {text!r:.80}") from None
    if not isinstance(found, dict | None):
        raise InvalidInput(f"label must be a JSON object of columns and values, got {text!r:.80}")
    return found


def _kind(sent: pa.DataType) -> Preview:
    if sent not in _KINDS:
        raise InvalidInput(f"the column 'preview' must be binary, of pictures, or string, of texts, got {sent}")
    return _KINDS[sent]


def _parts(sent: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.Array, pa.Array]]:
    for batch in sent:
        if batch.num_rows:
            yield own(batch.column("id")), batch.column("preview")
