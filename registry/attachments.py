"""Where vectors already are: which engine or files, how to reach them, and by which names; checked alike on both sides."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from registry.errors import InvalidInput, NotAllowed

__all__ = ["KINDS", "Attachment", "AttachmentKind", "attachment", "given", "local", "require_listed"]

AttachmentKind = Literal["pgvector", "parquet", "npy", "faiss", "qdrant", "milvus"]
KINDS: tuple[AttachmentKind, ...] = get_args(AttachmentKind)
"""Tables of PostgreSQL, folders of Parquet, .npy files, saved FAISS indexes, collections of Qdrant and of Milvus."""

_FILES = ("parquet", "npy", "faiss")
_TAKES: Mapping[str, tuple[str, ...]] = {
    "pgvector": ("table", "id", "vector", "labels"),
    "parquet": ("id", "vector", "labels"),
    "npy": ("ids",),
    "faiss": ("ids",),
    "qdrant": ("table", "vector", "labels"),
    "milvus": ("table", "id", "vector", "labels"),
}
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "pgvector": {"id": "id", "vector": "embedding"},
    "parquet": {"id": "id", "vector": "vector"},
    "milvus": {"id": "id", "vector": "vector"},
}
_PARAMETERS = frozenset(
    {"host", "port", "service", "sslmode", "sslrootcert", "connect_timeout", "application_name", "target_session_attrs"}
)
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Attachment:
    """Vectors that stay where they are.

    `where` is an address without a password, or a path; `table` the table or collection, which may be `schema.table`;
    `id` and `vector` its columns; `ids` a file of ids beside vectors that have none; `labels` the column of each label.
    """

    kind: AttachmentKind
    where: str
    table: str | None = None
    id: str | None = None
    vector: str | None = None
    ids: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For all people: the table with its engine, or the file or folder without the path to it."""
        return f"{self.kind} {self.table or Path(self.where).name}"


def attachment(
    kind: str, where: str, *, table: str | None = None, id: str | None = None, vector: str | None = None,
    ids: str | None = None, labels: Mapping[str, str] | None = None,
) -> Attachment:  # fmt: skip
    """What is said of vectors elsewhere, checked, with the names that go without saying.

    Raises:
        InvalidInput: an unknown kind, an address that is none or holds a password, or a name that this kind has not.
    """
    if kind not in KINDS:
        raise InvalidInput(f"there is no kind {kind!r:.80} of attached vectors: use {', '.join(KINDS)}")
    if not isinstance(where, str) or not 0 < len(where) <= _LONGEST or not where.isprintable():
        raise InvalidInput(f"say where the vectors are, in 1 to {_LONGEST} characters, got {type(where).__name__}")
    if not isinstance(labels, Mapping | None):
        raise InvalidInput(f"labels must map label columns to columns there, got {labels!r:.80}")
    given = {"table": table, "id": id, "vector": vector, "ids": ids}
    for name, value in [*given.items(), *((f"label {k!r:.80}", v) for k, v in (labels or {}).items())]:
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _LONGEST or "\0" in value):
            raise InvalidInput(f"{name} must be a name or a path, got {value!r:.80}")
    given["labels"] = labels or None  # type: ignore[assignment]
    for name in (n for n, v in given.items() if v is not None and n not in _TAKES[kind]):
        raise InvalidInput(f"{kind} takes no {name}: it takes {', '.join(_TAKES[kind])}")
    if "table" in _TAKES[kind] and table is None:
        raise InvalidInput(f"{kind} needs a {'table' if kind == 'pgvector' else 'collection'}: name it")
    names: dict[str, Any] = {**_DEFAULTS.get(kind, {}), **{n: v for n, v in given.items() if v is not None}}
    return Attachment(kind, _address(kind, where), **{**names, "labels": dict(labels or {})})


def given(again: bool, kind: str | None, where: str | None, **names: Any) -> Attachment | None:
    """What a caller says of vectors elsewhere; None where what is attached is to be looked at `again`."""
    if again:
        if said := [n for n, v in {"kind": kind, "where": where, **names}.items() if v]:
            raise InvalidInput(
                f"what is looked at again is where it was: leave {said[0]} out, or detach and attach anew"
            )
        return None
    if kind is None or where is None:
        raise InvalidInput(f"say what is attached, one of {', '.join(KINDS)}, and where it is")
    return attachment(kind, where, **names)


def local(found: Attachment) -> Attachment:
    """The same with whole paths, as this process finds them."""
    paths = found.kind in _FILES or "://" not in found.where
    where = _whole(found.where) if paths else found.where
    ids = None if found.ids is None else _whole(found.ids)
    return Attachment(found.kind, where, found.table, found.id, found.vector, ids, found.labels)


def require_listed(found: Attachment, listed: Iterable[str]) -> None:
    """Go on only if the operator listed this address, or one that it lies below.

    Raises:
        NotAllowed: it is not listed.
    """
    prefixes = tuple(listed)
    for place in (found.where, *([found.ids] if found.ids else [])):
        if not any(_below(place, prefix) for prefix in prefixes):
            raise NotAllowed(
                f"this server attaches nothing at {place!r:.200}: its operator lists addresses and folders in "
                "SAMESPACE_ATTACHABLE, or attaches it with 'samespace gallery attach' beside it"
            )


def _below(place: str, prefix: str) -> bool:
    if "://" not in place and "://" not in prefix:
        if not (os.path.isabs(place) and os.path.isabs(prefix)):
            return False
        return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(prefix))
    if place == prefix:
        return True
    rest = place.removeprefix(prefix)
    # What follows must go on with the path: no other host, port or parameter may hide in it.
    plain = not set("?#@%\\") & set(rest) and ".." not in rest
    return rest != place and plain and "?" not in prefix and (prefix.endswith("/") or rest.startswith("/"))


def _whole(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def _address(kind: str, where: str) -> str:
    if kind in _FILES or (kind == "milvus" and "://" not in where):
        return where
    try:
        parts = urlsplit(where)
        password = parts.password
    except ValueError:
        raise InvalidInput(
            "the address does not parse: write it as postgresql://user@host/db or https://host"
        ) from None
    if kind != "pgvector":
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidInput(
                f"{kind} is at an address such as http://host:6333, without credentials or parameters: put its key into "
                f"SAMESPACE_{kind.upper()}_KEY"
            )
        return where
    return _postgresql(where, password)


def _postgresql(where: str, password: str | None) -> str:
    parts = urlsplit(where)
    if parts.scheme not in ("postgresql", "postgres"):
        raise InvalidInput("pgvector needs an address such as postgresql://user@host/db")
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if password or "password" in named:
        raise InvalidInput(
            "the address holds a password, which would be kept in the clear: leave it out, and put it into PGPASSWORD, "
            "a password file (~/.pgpass) or a service (pg_service.conf)"
        )
    if unknown := [name for name in named if name not in _PARAMETERS]:
        raise InvalidInput(f"the address has the parameter {unknown[0]!r:.80}: use {', '.join(sorted(_PARAMETERS))}")
    netloc = parts.netloc.replace(":@", "@")  # an empty password is none
    return urlunsplit(("postgresql", netloc, parts.path or "/", parts.query, "")).replace(
        "postgresql:/?", "postgresql:///?"
    )
