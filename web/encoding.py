"""Queries as texts or pictures, where the operator configured encoders of the versions that search."""

from __future__ import annotations

from collections.abc import Sequence

from flask import current_app

from registry.encoding import Inputs, encoded, encoder, encoders
from registry.errors import InvalidInput, SamespaceError
from registry.previews import media_type
from registry.vectors import Array
from web.current import current_settings
from web.searches import Query, Version

__all__ = ["MOST_TEXT", "offered", "picture_query", "text_query"]

MOST_TEXT = 2000


def offered(versions: Sequence[Version | None]) -> list[str]:
    """Those of the versions that have an encoder."""
    known = encoders(current_settings().encoders)
    return [v.ref for v in versions if v is not None and v.ref in known]


def text_query(text: str, versions: Sequence[Version]) -> Query:
    """A text, as each version that has an encoder embeds it."""
    if len(text) > MOST_TEXT:
        raise InvalidInput(f"a text has up to {MOST_TEXT} characters, got {len(text)}: shorten it")
    return _query({"texts": [text]}, f"“{text}”", versions)


def picture_query(picture: bytes, name: str, versions: Sequence[Version]) -> Query:
    """A picture, as each version that has an encoder embeds it."""
    if media_type(picture) is None:
        raise InvalidInput(f"{name!r:.80} is no PNG, JPEG, WebP or GIF file: convert it")
    return _query({"pictures": [picture]}, f"the picture {name}", versions)


def _query(inputs: Inputs, says: str, versions: Sequence[Version]) -> Query:
    known = encoders(current_settings().encoders)
    vectors: dict[str, Array] = {}
    missing: dict[str, str] = {}
    for version in versions:
        if version.ref not in known:
            missing[version.ref] = f"No encoder of {version.ref} is configured: name one in SAMESPACE_ENCODERS."
            continue
        try:
            encoder(known[version.ref])
        except SamespaceError as error:  # which says where it is, and that is a secret
            current_app.logger.warning("%s", error)
            missing[version.ref] = f"The encoder of {version.ref} cannot be loaded: look into this server's log."
            continue
        try:
            vectors[version.ref] = encoded(known[version.ref], inputs, version=version.ref, dim=version.dim)[0]
        except SamespaceError as error:  # the other side may have an answer
            missing[version.ref] = str(error)
    return Query(vectors, says, missing=missing)
