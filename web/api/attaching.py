"""Routes of vectors that stay where they are: attached to a gallery, looked at again, and let go of."""

from __future__ import annotations

from flask import Response

from registry import attachments
from registry.types import Gallery
from web import visible
from web.access import caller
from web.api.base import Body, answer, blueprint, idempotency_key, json_answer, model_of, tag
from web.api.galleries import GalleryPath
from web.current import current_registry, current_settings

TAG = tag("attaching", "Tables and files that somebody else keeps, as segments of galleries; for admins")


class Attach(Body):
    """What is attached, of which version; or, with `again` and nothing else, that what is attached is looked at anew."""

    version: str
    kind: str | None = None
    where: str | None = None
    table: str | None = None
    id: str | None = None
    vector: str | None = None
    ids: str | None = None
    labels: dict[str, str] | None = None
    again: bool = False


class Detach(Body):
    """Of which version."""

    version: str


@blueprint.post("/galleries/<name>/attach", tags=TAG, responses={200: answer(Gallery)})
def attach(path: GalleryPath, body: Attach) -> Response:
    """Make vectors a segment of a gallery where they already live; only where the operator's SAMESPACE_ATTACHABLE says."""
    caller().require("admin", galleries=[path.name], models=model_of(body.version))
    given = body.model_dump()
    registry, version, again = current_registry(), given.pop("version"), given.pop("again")
    at = attachments.given(again, given.pop("kind"), given.pop("where"), **given)
    if at is not None:
        attachments.require_listed(at, current_settings().attachable_at)
        given.update(kind=at.kind, where=at.where)
    found = registry.attach(path.name, version=version, again=again, key=idempotency_key(), **given)
    return json_answer(visible.galleries(caller(), [found])[0])


@blueprint.post("/galleries/<name>/detach", tags=TAG, responses={200: answer(Gallery)})
def detach(path: GalleryPath, body: Detach) -> Response:
    """Forget vectors that are attached to a gallery; what is there stays as it is."""
    caller().require("admin", galleries=[path.name], models=model_of(body.version))
    found = current_registry().detach(path.name, version=body.version)
    return json_answer(visible.galleries(caller(), [found])[0])
