"""How an item looks on a page: a small picture, or a text, or neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flask import url_for

from registry.previews import address_of
from registry.types import Gallery, Item
from web.changed import picture

__all__ = ["Look", "looks"]

_PICTURE_BYTES = (
    384 << 10
)  # in one page, in which pictures grow by a third; the others are loaded when they come into view


@dataclass(frozen=True, slots=True)
class Look:
    """The address of an item's picture, or its text. `is_elsewhere` where the picture is on a host of its own."""

    src: str | None = None
    text: str | None = None
    is_elsewhere: bool = False


def looks(gallery: Gallery, items: Iterable[Item]) -> Mapping[str | int, Look]:
    """By id how items look, as their previews were read; those without one look as the gallery's template says."""
    found: dict[str | int, Look] = {}
    room = _PICTURE_BYTES
    for item in items:
        preview = item.preview
        if isinstance(preview, str):
            found[item.id] = Look(text=preview)
        elif preview is not None:
            room -= len(preview)
            found[item.id] = Look(picture(preview) if room >= 0 else _address(gallery.name, item.id))
        elif gallery.preview_url is not None:
            found[item.id] = Look(address_of(gallery.preview_url, item.id), is_elsewhere=True)
    return found


def _address(gallery: str, id: str | int) -> str:
    return url_for("pages.preview", name=gallery, id=id)
