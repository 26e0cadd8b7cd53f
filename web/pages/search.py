"""One query in two versions, side by side, over one gallery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, make_response, request

from registry.errors import BadVector, InvalidInput
from registry.types import Gallery, Item
from web import encoding, given, looks, policy, queries, readings, searches, visible
from web.access import caller
from web.api.base import covers
from web.current import current_registry
from web.errors import status_of
from web.observing import note_error
from web.pages.base import blueprint, render
from web.ranked import Found, ranked, summary, tracks
from web.searches import Place, Query, Version

__all__: list[str] = []

_HITS, _MOST_HITS = 10, 50
_EXAMPLES = 6
_PARAMETERS = ("old", "new", "from", "id", "seed", "k", "text", "label")


@blueprint.get("/galleries/<name>/search")
def search(name: str) -> Response:
    """Both result lists of an item, or of a text where encoders are configured."""
    place = _place(name)
    return _page(place, _asked(place))


@blueprint.post("/galleries/<name>/search", endpoint="search_with")
def search_with(name: str) -> Response:
    """Both result lists of vectors or a picture that a form brings; nothing of them is stored."""
    place = _place(name)
    try:
        query = _brought(place)
    except InvalidInput as error:
        note_error(error.code)
        response = _page(place, None, problem=str(error))
        response.status_code = status_of(error)
        return response
    return _page(place, query)


def _place(name: str) -> Place:
    queries.accept(*_PARAMETERS)
    registry, who = current_registry(), caller()
    who.require("reader", galleries=[name])
    old, new = queries.optional("old"), queries.optional("new")
    covers(*(ref for ref in (old, new) if ref is not None))
    with registry.reading() as session:
        place = searches.place(registry, session, who, name, old, new)
    if place.old is not None and place.new is not None and place.old.ref == place.new.ref:
        raise InvalidInput(f"a search side by side needs two versions, got {place.old.ref} twice: choose another one")
    return place


def _both(place: Place) -> list[Version]:
    return [v for v in (place.old, place.new) if v is not None]


def _asked(place: Place) -> Query | None:
    """The query that the address names: a text, an item, or one that the seed chooses; None if there is nothing to choose."""
    versions, text = _both(place), queries.optional("text")
    if len(versions) < 2:
        return None
    if text is not None:
        return encoding.text_query(text, versions)
    source, id = queries.optional("from") or next(iter(place.sources), None), queries.optional("id")
    if source is None:
        return None
    caller().require("reader", galleries=[source])
    searches.check_source(place, source)
    registry = current_registry()
    if id is not None:
        return searches.item_query(registry, place, source, queries.item_id(registry.gallery(source).id_type, id))
    chosen = _examples(place, source, 1, queries.whole("seed") or 1)
    return searches.item_query(registry, place, source, chosen[0]) if chosen else None


def _examples(place: Place, source: str, many: int, seed: int) -> list[str | int]:
    if source not in place.sources:
        return []
    versions = [v.ref for v in _both(place)]
    return list(current_registry().examples(source, versions=versions, many=many, seed=seed))


def _brought(place: Place) -> Query:
    """The query that a form brings."""
    versions, files = _both(place), request.files
    picture = files.get("picture")
    if picture is not None and picture.filename:
        return encoding.picture_query(picture.read(), picture.filename, versions)
    vectors = {}
    for side, version in (("old", place.old), ("new", place.new)):
        if version is None:
            continue
        vector = given.vector(
            files.get(f"{side}_file"), request.form.get(f"{side}_numbers", ""), version=version.ref, dim=version.dim
        )
        if vector is not None:
            vectors[version.ref] = vector
    if not vectors:
        raise InvalidInput("the form brings no query: choose a file or paste numbers, of one of the versions at least")
    return Query(vectors, "the vectors that you gave")


def _page(place: Place, query: Query | None, problem: str | None = None) -> Response:
    found = _results(place, query) if query is not None else {}
    name = query.source if query is not None and query.source is not None else next(iter(place.sources), None)
    source = None if name is None else _gallery(place, name)
    examples, example_looks = _shown(place, source, query)
    response = make_response(
        render(
            "search.html",
            section="pages.galleries",
            gallery=place.gallery,
            place=place,
            query=query,
            problem=problem,
            k=_wanted_hits(),
            most=_MOST_HITS,
            source=source.name if source else None,
            seed=queries.whole("seed") or 1,
            examples=examples,
            example_looks=example_looks,
            encoders=encoding.offered(_both(place)),
            text=queries.optional("text"),
            here=_here(place),
            way=readings.way,
            **found,
        )
    )
    return policy.allow_pictures(response, place.gallery.preview_url, source.preview_url if source else None)


def _here(place: Place) -> dict[str, Any]:
    """The parameters of an address of this page that name no query."""
    old, new = (v.ref if v else None for v in (place.old, place.new))
    return {
        "name": place.gallery.name,
        "old": old,
        "new": new,
        "k": queries.optional("k"),
        "label": queries.optional("label"),
    }


def _wanted_hits() -> int:
    k = queries.whole("k") or _HITS
    if k > _MOST_HITS:
        raise InvalidInput(f"k is a number of results from 1 to {_MOST_HITS}, got {k}")
    return k


def _results(place: Place, query: Query) -> dict[str, Any]:
    """What both versions find, and how it differs."""
    registry, k = current_registry(), _wanted_hits()
    try:
        old, new = (searches.found(registry, place, version, query, k) for version in _both(place))
    except BadVector as error:  # a map leaves the query without a direction
        raise InvalidInput(str(error)) from error
    ids = list(dict.fromkeys([*old.ids, *new.ids]))
    items = {i.id: i for i in registry.items_of(place.gallery.name, ids, previews=True)} if ids else {}
    label = _label(place.gallery, query)
    before, after = ranked(old, new, items, (label, str(query.item.labels[label])) if label and query.item else None)
    return {
        "sides": (before, after),
        "ways": [_ways(old), _ways(new)],
        "label": label,
        "labels": _labels(place.gallery, query),
        "tracks": tracks(before, after),
        "rows": max(len(before.hits), len(after.hits)),
        "summary": summary(before, after),
        "looks": looks.looks(place.gallery, items.values()),
    }


def _ways(found: Found) -> list[tuple[str, Any]]:
    return sorted(visible.paths(caller(), found.path or {}).items())


def _labels(gallery: Gallery, query: Query) -> list[str]:
    """The label columns that the query and the gallery have both."""
    return [name for name in gallery.labels if query.item is not None and name in query.item.labels]


def _label(gallery: Gallery, query: Query) -> str | None:
    """The column that says what is right."""
    known, asked = _labels(gallery, query), queries.optional("label")
    if asked is not None and asked not in gallery.labels:
        raise InvalidInput(
            f"gallery {gallery.name} has no label column {asked!r:.80}: it has {', '.join(gallery.labels) or 'none'}"
        )
    return asked if asked in known else next(iter(known), None)


def _gallery(place: Place, name: str) -> Gallery:
    return place.gallery if name == place.gallery.name else current_registry().gallery(name)


def _shown(
    place: Place, source: Gallery | None, query: Query | None
) -> tuple[list[Item], Mapping[str | int, looks.Look]]:
    """A few items of a gallery to search with, and by id how they and the query look."""
    if source is None:
        return [], {}
    ids = _examples(place, source.name, _EXAMPLES, 0)
    items = list(current_registry().items_of(source.name, ids, previews=True)) if ids else []
    mine = [query.item] if query is not None and query.item is not None else []
    return items, looks.looks(source, [*mine, *items])
