"""Models, their immutable versions, and the aliases and tags that move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, selectinload

from registry.errors import AlreadyExists, BadName, InvalidInput, NotFound
from registry.refs import check_name, parse_version
from registry.services.audit import record
from registry.tables import AliasRow, ModelRow, TagRow, VersionRow, now
from registry.types import Model, Version
from registry.vectors import METRICS

__all__ = [
    "find",
    "fingerprint_digest",
    "models",
    "register",
    "set_alias",
    "set_tag",
    "to_version",
    "version",
    "versions",
]

_DTYPES = ("float32", "float16")


def fingerprint_digest(facts: Mapping[str, Any]) -> str:
    """sha-256, hex, over canonical JSON of what decides a vector space."""
    try:
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a fingerprint holds plain JSON values, got {error}: use strings and numbers") from error
    return hashlib.sha256(text.encode()).hexdigest()


def register(
    session: Session,
    model: str,
    *,
    dim: int,
    metric: str,
    normalized: bool,
    dtype: str,
    source: str | None,
    parent: str | None,
    method: str,
    run_id: str | None,
    fingerprint: Mapping[str, Any] | None,
    tags: Mapping[str, str] | None,
) -> Version:
    """Add the next version of `model`, creating the model with its first.

    Raises:
        InvalidInput: a value that no version can have.
        NotFound: the parent is not registered.
        AlreadyExists: a version of this model has the same fingerprint, so it is the same encoder.
    """
    check_name(model, "model")
    for name, given in (("fingerprint", fingerprint), ("tags", tags)):
        if given is not None and not isinstance(given, Mapping):
            raise InvalidInput(f"{name} must be a mapping such as {{'key': 'value'}}, got {given!r:.80}")
    _check(dim, metric, dtype)
    if not isinstance(normalized, bool):
        raise InvalidInput(f"normalized must be True or False, got {normalized!r:.80}")
    _check_text("method", method, 100)
    for name, text, longest in (("source", source, 1000), ("run_id", run_id, 100)):
        if text is not None:
            _check_text(name, text, longest)
    above = find(session, parent) if parent else None
    owner = _locked_model(session, model)
    number = 1 + (session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model_id == owner.id)) or 0)
    # Without a fingerprint nothing says what the encoder is: it is then known by its number alone.
    facts = dict(fingerprint) if fingerprint else {"registered_as": f"{model}/{number}"}
    digest = fingerprint_digest({**facts, "dim": dim, "metric": metric, "normalized": normalized, "dtype": dtype})
    same = session.scalar(select(VersionRow).where(VersionRow.model_id == owner.id, VersionRow.fingerprint == digest))
    if same is not None:
        raise AlreadyExists(
            f"{same.ref} has this very fingerprint: it is the same encoder; use {same.ref}, or tell what differs"
        )
    row = VersionRow(
        model=owner, number=number, dim=dim, metric=metric, normalized=normalized, dtype=dtype, method=method,
        fingerprint=digest, facts=facts, source=source, run_id=run_id, parent=above, created_at=now(),
        tags=[_tag(key, value) for key, value in (tags or {}).items()], aliases=[],
    )  # fmt: skip
    session.add(row)
    record(session, "version.registered", row.ref, {"fingerprint": digest, "parent": parent, "method": method})
    session.flush()  # the constraints speak here, while the name of the model is still at hand
    return to_version(row)


def _check_text(name: str, text: object, longest: int) -> None:
    """PostgreSQL refuses longer texts and NUL; SQLite would store them."""
    if not isinstance(text, str) or not 0 < len(text) <= longest or "\0" in text:
        raise InvalidInput(f"{name} must be a text of 1 to {longest} characters without NUL, got {text!r:.80}")


def _check(dim: int, metric: str, dtype: str) -> None:
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= 65536:
        raise InvalidInput(f"dim must be a whole number from 1 to 65536, got {dim!r}")
    if metric not in METRICS:
        raise InvalidInput(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if dtype not in _DTYPES:
        raise InvalidInput(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")


def _locked_model(session: Session, name: str) -> ModelRow:
    """The model's row, made if need be and locked, so that two registrations cannot take the same number."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(
        insert(ModelRow).values(name=name, created_at=now()).on_conflict_do_nothing(index_elements=["name"])
    )
    return session.scalars(select(ModelRow).where(ModelRow.name == name).with_for_update()).one()


def _select(*, whole: bool = False) -> Select[VersionRow]:
    """Versions with their models; with tags, aliases and parents as well if they are wanted whole."""
    query = select(VersionRow)
    if whole:
        related = (VersionRow.tags, VersionRow.aliases, VersionRow.parent)
        query = query.options(*(selectinload(relation) for relation in related))
    return query


def find(session: Session, ref: str, *, whole: bool = False) -> VersionRow:
    """The row of `products/2` or `products@champion`; NotFound tells what there is instead."""
    parsed = parse_version(ref)
    query = _select(whole=whole).join(VersionRow.model).where(ModelRow.name == parsed.model)
    if parsed.number is not None:
        query = query.where(VersionRow.number == parsed.number)
    else:
        query = query.join(AliasRow, AliasRow.version_id == VersionRow.id).where(AliasRow.name == parsed.alias)
    row = session.scalar(query)
    if row is None:
        have = [
            v.ref
            for v in session.scalars(_select().join(VersionRow.model).where(ModelRow.name == parsed.model).limit(20))
        ]
        raise NotFound(
            f"there is no version {ref}: "
            + (f"{parsed.model} has {', '.join(have)}" if have else f"model {parsed.model} is not registered")
        )
    return row


def version(session: Session, ref: str) -> Version:
    """One version by number or alias."""
    return to_version(find(session, ref, whole=True))


def versions(session: Session, model: str | None = None) -> list[Version]:
    """All versions of a model, oldest first; of every model if none is named."""
    query = _select(whole=True).join(VersionRow.model).order_by(ModelRow.name, VersionRow.number)
    if model is not None:
        query = query.where(ModelRow.name == check_name(model, "model"))
    found = [to_version(row) for row in session.scalars(query)]
    if model is not None and not found:
        raise NotFound(f"model {model} is not registered: register its first version")
    return found


def models(session: Session) -> list[Model]:
    """All models by name."""
    counted = session.execute(select(VersionRow.model_id, func.count()).group_by(VersionRow.model_id))
    counts = dict(counted.all())
    aliases: dict[int, dict[str, int]] = {}
    for alias in session.scalars(select(AliasRow).order_by(AliasRow.name)):
        aliases.setdefault(alias.model_id, {})[alias.name] = alias.version.number
    return [
        Model(name=row.name, versions=counts.get(row.id, 0), aliases=aliases.get(row.id, {}), created_at=row.created_at)
        for row in session.scalars(select(ModelRow).order_by(ModelRow.name))
    ]


def set_alias(session: Session, model: str, alias: str, number: int) -> None:
    """Let `model@alias` mean version `number` from now on."""
    if check_name(alias, "alias").isdecimal():
        raise BadName(f"alias {alias!r} would be taken for version {model}/{alias}: use a word")
    target = find(session, f"{model}/{number}")
    _locked_model(session, model)
    row = session.get(AliasRow, (target.model_id, alias))
    before = row.version.number if row else None
    if row is None:
        session.add(AliasRow(model_id=target.model_id, name=alias, version_id=target.id))
    else:
        row.version_id = target.id
    record(session, "alias.moved", f"{model}@{alias}", {"from": before, "to": number})


def _tag(key: str, value: str) -> TagRow:
    _check_text(f"tag {key!r:.80}", value, 1000)
    return TagRow(key=check_name(key, "tag"), value=value)


def set_tag(session: Session, ref: str, key: str, value: str) -> None:
    """Note `key` = `value` on a version, replacing what was noted."""
    row = find(session, ref)
    _locked_model(session, row.model.name)  # two writers of one new tag would both insert it
    tag = _tag(key, value)
    tag.version_id = row.id
    session.merge(tag)
    record(session, "version.tagged", row.ref, {key: str(value)})


def to_version(row: VersionRow) -> Version:
    """The frozen value of a row."""
    return Version(
        model=row.model.name, number=row.number, dim=row.dim, metric=row.metric, normalized=row.normalized,  # type: ignore[arg-type]
        dtype=row.dtype, method=row.method, fingerprint=row.fingerprint, created_at=row.created_at, source=row.source,
        parent=row.parent.ref if row.parent else None, run_id=row.run_id, facts=row.facts,
        tags={tag.key: tag.value for tag in row.tags}, aliases=tuple(alias.name for alias in row.aliases),
    )  # fmt: skip
