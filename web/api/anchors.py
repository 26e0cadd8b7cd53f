"""Routes of anchor sets."""

from __future__ import annotations

from functools import partial

from flask import Response

from registry.types import AnchorSet
from web import visible
from web.access import caller
from web.api.base import Body, Paging, answer, blueprint, idempotency_key, json_answer, listed, page, tag
from web.current import current_registry

TAG = tag("anchor sets", "Frozen lists of items that span relative spaces")


class NewAnchors(Body):
    """What an anchor set is made of."""

    name: str
    gallery: str
    ids: list[str | int]
    anchor: list[int] | None = None
    weights: list[float] | None = None
    similarity: str = "cosine"
    quantum: float | None = None


@blueprint.get("/anchor-sets", tags=TAG, responses={200: listed("anchor_sets", AnchorSet)})
def anchor_sets(query: Paging) -> Response:
    """All anchor sets by name."""
    return page("anchor_sets", query, partial(visible.anchor_sets, caller()), among=caller().galleries)


@blueprint.post("/anchor-sets", tags=TAG, responses={201: answer(AnchorSet)})
def add_anchors(body: NewAnchors) -> Response:
    """Freeze items as the anchors of a relative space."""
    caller().require("writer", galleries=[body.gallery])
    given = body.model_dump()
    return json_answer(current_registry().add_anchors(given.pop("name"), **given, key=idempotency_key()), 201)
