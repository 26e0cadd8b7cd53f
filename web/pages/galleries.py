"""Galleries, and one gallery: what it holds, who reads it by which path, and its items to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flask import Response, make_response, url_for

from registry.errors import InvalidInput, NotFound
from registry.previews import media_type
from registry.services import galleries as services
from registry.services import readers
from registry.types import Gallery, Item, Page
from web import looks, policy, queries, readings, stored, visible
from web.access import Caller, caller
from web.current import current_registry
from web.pages import indexes
from web.pages.base import blueprint, render

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.embedded import Registry

__all__: list[str] = []

_GALLERIES_SHOWN = 50
_ITEMS_SHOWN = 24
_SEGMENTS_SHOWN = 8
_READERS_SHOWN = 12
_KEPT_S = 600


@blueprint.get("/galleries")
def galleries() -> str:
    """The galleries by name, each in a line."""
    queries.accept("q", "benchmarks", "after")
    who, part, after = caller(), queries.optional("q"), queries.optional("after")
    benchmarks = _ticked("benchmarks")
    with current_registry().reading() as session:
        page = services.galleries(
            session, part=part, among=who.galleries, benchmarks=benchmarks, after=after, limit=_GALLERIES_SHOWN
        )
    kept: dict[str, Any] = {"q": part, "benchmarks": "1" if benchmarks else None}
    return render(
        "galleries.html",
        section="pages.galleries",
        found=[(g, stored.bars(g.segments)) for g in visible.galleries(who, page.items)],
        part=part,
        benchmarks=benchmarks,
        next=url_for("pages.galleries", **kept, after=page.next) if page.next else None,
        back=url_for("pages.galleries", **kept) if after else None,
    )


@blueprint.get("/galleries/<name>")
def gallery(name: str) -> Response:
    """One gallery: its vectors by version, who reads them, and some of its items."""
    queries.accept("label", "value", "after")
    registry, who = current_registry(), caller()
    who.require("reader", galleries=[name])
    with registry.reading() as session:
        found = _seen(session, who, name)
        held = readers.stored(session, name, among=who.models)
        shown = held[:_SEGMENTS_SHOWN]
        reading = readers.readers(session, registry.graph(session), shown, limit=_READERS_SHOWN, among=who.models)
        indexed = indexes.rows(session, who, name, shown)
    label, value = _wanted(found)
    page = _items(registry, found, label, value)
    items = visible.items(who, page.items)
    kept: dict[str, Any] = {"name": name, "label": label, "value": value}
    response = make_response(
        render(
            "gallery.html",
            section="pages.galleries",
            gallery=found,
            held=held,
            shown=shown,
            bars=stored.bars(found.segments),
            indexed=indexed,
            may_build=who.role != "reader",
            reading=readings.rows(reading.readers, shown, who),
            more=reading.more,
            way=readings.way,
            items=items,
            looks=looks.looks(found, items),
            label=label,
            value=value,
            values=_values(found, items),
            next=url_for("pages.gallery", **kept, after=page.next, _anchor="items") if page.next else None,
            back=url_for("pages.gallery", **kept, _anchor="items") if queries.optional("after") else None,
        )
    )
    return policy.allow_pictures(response, found.preview_url)


@blueprint.get("/galleries/<name>/items/preview")
def preview(name: str) -> Response:
    """The preview of the item `id`: a picture, or a plain text."""
    queries.accept("id")
    caller().require("reader", galleries=[name])
    registry = current_registry()
    with registry.reading() as session:
        id_type = services.gallery(session, name, segments=False).id_type
    asked = queries.optional("id")
    if asked is None:
        raise InvalidInput(f"a preview is of an item: name it, as in /galleries/{name}/items/preview?id=7")
    found = registry.previews(name, [queries.item_id(id_type, asked)])
    if not found:
        raise NotFound(f"item {asked!r:.80} of {name} has no preview: look at the gallery's page")
    (data,) = found.values()
    kind = "text/plain; charset=utf-8" if isinstance(data, str) else media_type(data)
    response = Response(data, content_type=kind or "application/octet-stream")
    response.headers["Content-Disposition"] = "inline"
    response.headers["Cache-Control"] = f"private, max-age={_KEPT_S}"  # a preview never changes; it may go
    return policy.sandboxed(response)


def _ticked(name: str) -> bool:
    value = queries.optional(name)
    if value not in (None, "1"):
        raise InvalidInput(f"{name} is 1, or left out, got {value!r:.80}")
    return value is not None


def _seen(session: Session, who: Caller, name: str) -> Gallery:
    """A gallery that is covered, with what models that are covered wrote into it."""
    found = services.to_gallery(services.gallery(session, name))
    return visible.galleries(who, [found])[0]


def _wanted(gallery: Gallery) -> tuple[str | None, str | None]:
    """The label column and the value that items are asked for by."""
    label, value = queries.optional("label"), queries.optional("value")
    if value is not None and label is None:
        if len(gallery.labels) != 1:
            raise InvalidInput("value needs a label column: name it, as in ?label=class&value=shoe")
        (label,) = gallery.labels
    return (label, value) if value is not None else (None, None)


def _items(registry: Registry, gallery: Gallery, label: str | None, value: str | None) -> Page[Item]:
    wanted = {label: value} if label is not None and value is not None else None
    return registry.items(
        gallery.name, label=wanted, after=queries.optional("after"), limit=_ITEMS_SHOWN, previews=True
    )


def _values(gallery: Gallery, items: Sequence[Item]) -> list[str]:
    """Values to suggest: those of the items that are shown."""
    return sorted({str(item.labels[name]) for item in items for name in gallery.labels})
