"""Previews: a small picture or a text for each item, checked alike by whoever sends and whoever stores them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pyarrow as pa

from registry.batches import id_column, id_type, refuse_twice
from registry.descriptions import check_text
from registry.errors import InvalidInput
from registry.types import Preview

__all__ = [
    "LARGEST_PICTURE",
    "MOST_SHOWN",
    "address_of",
    "check_kind",
    "check_label",
    "check_limit",
    "check_url",
    "checked",
    "media_type",
    "one_of",
    "preview_schema",
]

LARGEST_PICTURE = 64 << 10
_LONGEST_TEXT = 10_000
_MOST_ITEMS, MOST_SHOWN = 1000, 100  # of a page, without previews and with them
_LONGEST_URL = 1000
_TYPES: dict[Preview, pa.DataType] = {"picture": pa.binary(), "text": pa.string()}

_FORMATS: Sequence[tuple[str, re.Pattern[bytes]]] = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
)
"""How files of each format begin. None of them can hold a program, as SVG can."""


def media_type(picture: bytes) -> str | None:
    """`image/png`, `image/jpeg`, `image/gif` or `image/webp`, by how the picture begins; None if it is none of these."""
    return next((name for name, begins in _FORMATS if begins.match(picture)), None)


def preview_schema(ids: str, kind: Preview) -> pa.Schema:
    """The columns of a gallery's previews: id, and preview, binary for pictures and string for texts."""
    return pa.schema([pa.field("id", id_type(ids), nullable=False), pa.field("preview", _TYPES[kind], nullable=False)])


def one_of(pictures: Any, texts: Any) -> tuple[Preview, Any]:
    """The one of the two that is given, and its kind."""
    if (pictures is None) == (texts is None):
        raise InvalidInput("previews are pictures or texts: give pictures=[…] or texts=[…], one of the two")
    return ("text", texts) if pictures is None else ("picture", pictures)


def check_kind(kind: object, gallery: str, held: str | None = None) -> None:
    """Refuse what is no kind of previews, or another one than the gallery holds."""
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidInput(f"kind must be 'picture' or 'text', got {kind!r:.80}")
    if held is not None and kind != held:
        raise InvalidInput(
            f"the previews of {gallery} are {held}s, got {kind}s: a gallery holds one kind, give {held}s"
        )


def check_limit(limit: object, *, previews: bool) -> None:
    """Refuse what is no number of items of a page."""
    most = MOST_SHOWN if previews else _MOST_ITEMS
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= most:
        what = "items with previews" if previews else "items"
        raise InvalidInput(f"limit must be a whole number from 1 to {most} {what}, got {limit!r:.80}")


def check_label(label: object, columns: Sequence[str], gallery: str) -> Mapping[str, str | int]:
    """The labels that items are wanted by, by column; refuse what is none of the gallery's."""
    if label is None:
        return {}
    if not isinstance(label, Mapping):
        raise InvalidInput(f"label must map columns to values, such as {{'class': 'shoe'}}, got {label!r:.80}")
    for name, value in label.items():
        if name not in columns:
            raise InvalidInput(
                f"gallery {gallery} has no label column {name!r:.80}: it has {', '.join(columns) or 'none'}"
            )
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"a label is a string or a whole number, got {value!r:.80} for {name!r}")
    return label


def checked(kind: Preview, ids_are: str, ids: Any, values: Any, *, start: int = 0) -> pa.Table:
    """Columns id and preview, as they may be stored; `start` is the number of the first row.

    Args:
        kind: `picture` or `text`.
        ids_are: the gallery's type of ids, `string` or `int`.
        ids: (n,), each once.
        values: (n,) bytes or texts.

    Raises:
        InvalidInput: an id or a preview that no item has, or not as many of both.
        DuplicateId: an id twice.
    """
    column = id_column(ids_are, ids, start=start)
    what = f"{kind}s"
    if isinstance(values, str | bytes) or not np.iterable(values):
        raise InvalidInput(f"{what} must be a list, one for each id, got {type(values).__name__}")
    listed = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
    if not len(column):
        raise InvalidInput(f"the batch is empty: give at least one id and one of {what}")
    if len(column) != len(listed):
        raise InvalidInput(f"{len(column)} ids for {len(listed)} {what}: give one id for each")
    refuse_twice(column, start=start)
    as_stored: Callable[[int, Any], bytes | str] = _picture if kind == "picture" else _text
    schema = preview_schema(ids_are, kind)
    stored = pa.array([as_stored(row, value) for row, value in enumerate(listed, start)], schema.field("preview").type)
    return pa.table([column, stored], schema=schema)


def _picture(row: int, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidInput(f"the picture of row {row} must be the bytes of a file, got {type(value).__name__}: read it")
    picture = bytes(value)
    if not 0 < len(picture) <= LARGEST_PICTURE:
        raise InvalidInput(
            f"the picture of row {row} has {len(picture)} bytes: a preview has 1 to {LARGEST_PICTURE}, make it smaller"
        )
    if media_type(picture) is None:
        raise InvalidInput(
            f"the picture of row {row} begins with {picture[:8]!r}: a preview is PNG, JPEG, WebP or GIF, convert it"
        )
    return picture


def _text(row: int, value: Any) -> str:
    check_text(f"the text of row {row}", value, _LONGEST_TEXT)
    return str(value)


# Previews that lie elsewhere

_ID = "{id}"
_PLAIN = re.compile(r"""[!-~]+""")
_UNSAFE = re.compile(r"""["'<>\\^`{|}]""")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


def check_url(url: object) -> str:
    """A template of addresses of pictures, such as `https://images.example/{id}.jpg`, for browsers alone.

    Raises:
        InvalidInput: no http or https address of plain characters, one with a user or a password, or one without `{id}`
            in its path or query.
    """
    if not isinstance(url, str) or not 0 < len(url) <= _LONGEST_URL or not _PLAIN.fullmatch(url):
        raise InvalidInput(
            f"a preview URL has 1 to {_LONGEST_URL} characters of plain ASCII, such as https://images.example/{_ID}.jpg"
        )
    if _UNSAFE.search(url.replace(_ID, "")):
        raise InvalidInput("a preview URL holds no quotes, braces, \\, <, >, ^, | or `: write them as %22 and the like")
    try:
        parts = urlsplit(url)
        host, port = parts.netloc, parts.port
    except ValueError:
        raise InvalidInput(f"the preview URL does not parse: write it like https://images.example/{_ID}.jpg") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidInput(f"a preview URL begins with http:// or https://, got scheme {parts.scheme!r:.40}")
    if "@" in host:
        raise InvalidInput("the preview URL holds a user or a password, which every reader would see: leave it out")
    name = host if port is None else host.rpartition(":")[0]
    if not _HOST.fullmatch(name) or port == 0:
        raise InvalidInput(f"a preview URL names a host, such as images.example or [::1]:8080, got {host!r:.120}")
    inside = parts.path.count(_ID) + parts.query.count(_ID)
    if not inside or inside != url.count(_ID):
        raise InvalidInput(f"a preview URL has {_ID} in its path or query, and nowhere else, where the item's id goes")
    return url


def address_of(template: str, id: str | int) -> str:
    """Where a browser finds the picture of an item. Its id is percent-encoded whole: it adds no folder and no parameter."""
    return template.replace(_ID, quote(str(id), safe=""))
