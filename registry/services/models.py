"""Models, their immutable versions, and the aliases and tags that move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, contains_eager, joinedload, selectinload

from registry.descriptions import check_description, check_tag
from registry.errors import AlreadyExists, BadName, NotFound
from registry.fingerprints import fingerprint_of
from registry.refs import check_name, parse_version, parse_versions
from registry.services import pages
from registry.services.audit import record
from registry.services.webhooks import emit
from registry.tables import AliasRow, ModelRow, TagRow, VersionRow, now
from registry.types import Model, Page, Version

__all__ = [
    "check_known",
    "find",
    "fixed",
    "ids",
    "models",
    "newest",
    "register",
    "set_alias",
    "set_tag",
    "to_version",
    "version",
    "versions",
]


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
    check_description(
        model, dim=dim, metric=metric, normalized=normalized, dtype=dtype, source=source, parent=parent, method=method,
        run_id=run_id, fingerprint=fingerprint, tags=tags,
    )  # fmt: skip
    above = find(session, parent) if parent else None
    owner = _locked_model(session, model)
    number = 1 + (session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model_id == owner.id)) or 0)
    # Without a fingerprint nothing says what the encoder is: it is then known by its number alone.
    facts = dict(fingerprint) if fingerprint else {"registered_as": f"{model}/{number}"}
    digest = fingerprint_of(facts, dim=dim, metric=metric, normalized=normalized, dtype=dtype)
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
    details = {"fingerprint": digest, "parent": parent, "method": method}
    record(session, "version.registered", row.ref, details)
    session.flush()  # the constraints speak here, while the name of the model is still at hand
    emit(session, "version.registered", row.ref, details)
    return to_version(row)


def _locked_model(session: Session, name: str) -> ModelRow:
    """The model's row, made if need be and locked, so that two registrations cannot take the same number."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(
        insert(ModelRow).values(name=name, created_at=now()).on_conflict_do_nothing(index_elements=["name"])
    )
    return session.scalars(select(ModelRow).where(ModelRow.name == name).with_for_update()).one()


def _select(*, whole: bool = False, one: bool = False) -> Select[VersionRow]:
    """Versions with their models; with tags, aliases and parents as well if they are wanted whole.

    Of `one` version all that comes in one statement: each takes a millisecond or two to PostgreSQL and back.
    """
    query = select(VersionRow).join(VersionRow.model).options(contains_eager(VersionRow.model))
    if whole:
        query = query.options(
            joinedload(VersionRow.tags) if one else selectinload(VersionRow.tags, chunksize=pages.AT_ONCE),
            (
                joinedload(VersionRow.aliases) if one else selectinload(VersionRow.aliases, chunksize=pages.AT_ONCE)
            ).lazyload(AliasRow.version),
            # An inner join inside the outer one makes SQLite read all versions.
            joinedload(VersionRow.parent).joinedload(VersionRow.model, innerjoin=False),
        )
    return query


def find(session: Session, ref: str, *, whole: bool = False) -> VersionRow:
    """The row of `products/2` or `products@champion`; NotFound tells what there is instead."""
    parsed = parse_version(ref)
    # What has a number never changes, and a search asks for the same few versions over and over.
    found: dict[str, VersionRow] = session.info.setdefault("versions", {})
    if ref in found and not whole:
        return found[ref]
    query = _select(whole=whole, one=True).where(ModelRow.name == parsed.model)
    if parsed.number is not None:
        query = query.where(VersionRow.number == parsed.number)
    else:
        same = (AliasRow.version_id == VersionRow.id) & (AliasRow.model_id == ModelRow.id)
        query = query.join(AliasRow, same).where(AliasRow.name == parsed.alias)
    row = session.scalars(query).unique().one_or_none()
    if row is None:
        have = [v.ref for v in session.scalars(_select().where(ModelRow.name == parsed.model).limit(20))]
        raise NotFound(
            f"there is no version {ref}: "
            + (f"{parsed.model} has {', '.join(have)}" if have else f"model {parsed.model} is not registered")
        )
    if parsed.number is not None:
        found[ref] = row
    return row


def ids(session: Session, refs: Sequence[str]) -> Mapping[str, int]:
    """The row ids of versions, by number: `products@champion` is found as `products/2`. At most two statements.

    NotFound as `find` says.
    """
    wanted = parse_versions(refs)
    columns = select(ModelRow.name, VersionRow.number, VersionRow.id).select_from(VersionRow).join(VersionRow.model)
    named = columns.join(AliasRow, AliasRow.version_id == VersionRow.id)
    found: dict[tuple[str, str | int], tuple[str, int]] = {}
    for query, key in ((columns, VersionRow.number), (named, AliasRow.name)):
        keys = [(v.model, k) for v in wanted.values() if (k := v.number if query is columns else v.alias) is not None]
        rows = session.execute(query.where(tuple_(ModelRow.name, key).in_(keys)).add_columns(key)) if keys else ()
        found |= {(model, k): (f"{model}/{number}", id) for model, number, id, k in rows}
    for ref, v in wanted.items():
        if (v.model, v.alias or v.number) not in found:
            find(session, ref)
    return dict(found.values())


@dataclass(frozen=True, slots=True)
class Fixed:
    """What is known of a version without its row, and never changes."""

    id: int
    ref: str
    dim: int
    metric: str
    fingerprint: str


def fixed(session: Session, ref: str) -> Fixed:
    """What never changes of `products/2` or `products@champion`.

    A session that only reads remembers it for those that come after: see `Database.reading`. NotFound as `find` says.
    """
    known: dict[str, Fixed] = session.info.get("fixed", {})
    if ref in known:
        return known[ref]
    row = find(session, ref)
    found = Fixed(row.id, row.ref, row.dim, row.metric, row.fingerprint)
    known[found.ref] = found  # by its number: an alias moves
    return found


def version(session: Session, ref: str) -> Version:
    """One version by number or alias."""
    return to_version(find(session, ref, whole=True))


def versions(
    session: Session,
    model: str | None = None,
    *,
    among: Collection[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Version]:
    """The versions of a model, oldest first; of every model, or of those `among`, by name, if none is named."""
    query = _select(whole=True)
    if among is not None:
        query = query.where(ModelRow.name.in_(among))
    if model is not None:
        query = query.where(ModelRow.name == check_name(model, "model"))
    keys = (ModelRow.name, VersionRow.number)
    found = pages.read(session, query, to_version, of="versions", keys=keys, after=after, limit=limit)
    if model is not None and after is None and not found.items:
        raise _unknown(model)
    return found


def newest(session: Session, model: str, *, below: int | None = None, limit: int) -> Sequence[VersionRow]:
    """The rows of a model's versions, whole, from the newest back, at most `limit`; of those numbered `below` a number."""
    query = _select(whole=True).where(ModelRow.name == check_name(model, "model"))
    if below is not None:
        query = query.where(VersionRow.number < below)
    rows = session.scalars(query.order_by(VersionRow.number.desc()).limit(limit)).all()
    if not rows:
        check_known(session, model)
    return rows


def check_known(session: Session, model: str) -> None:
    """NotFound unless there is a model of this name."""
    if session.scalar(select(ModelRow.id).where(ModelRow.name == model)) is None:
        raise _unknown(model)


def _unknown(model: str) -> NotFound:
    return NotFound(f"model {model} is not registered: register its first version")


def models(
    session: Session,
    *,
    part: str | None = None,
    among: Collection[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Model]:
    """Models by name: of these `among` alone, and with this `part` in their name, if one is given."""
    # Counted for each model that is shown, from an index: a page must not count the versions of all others.
    count = select(func.count()).where(VersionRow.model_id == ModelRow.id).scalar_subquery()
    version = selectinload(ModelRow.aliases, chunksize=pages.AT_ONCE).joinedload(AliasRow.version, innerjoin=True)
    query = select(ModelRow, count).options(version.load_only(VersionRow.number).lazyload(VersionRow.model))
    if part is not None:
        query = query.where(ModelRow.name.contains(part.lower(), autoescape=True))
    if among is not None:
        query = query.where(ModelRow.name.in_(among))
    return pages.read(session, query, _to_model, of="models", keys=(ModelRow.name,), after=after, limit=limit)


def _to_model(row: ModelRow, versions: int) -> Model:
    aliases = {alias.name: alias.version.number for alias in row.aliases}
    return Model(name=row.name, versions=versions, aliases=aliases, created_at=row.created_at)


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
    details = {"from": before, "to": number}
    record(session, "alias.moved", f"{model}@{alias}", details)
    if before != number:
        emit(session, "alias.moved", f"{model}@{alias}", details)


def _tag(key: str, value: str) -> TagRow:
    check_tag(key, value)
    return TagRow(key=key, value=value)


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
