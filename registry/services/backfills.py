"""Backfills: what is re-embedded by which version, how far that is, and who is at it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, defaultload

from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.services import galleries, models, pages
from registry.services.audit import record
from registry.services.webhooks import emit
from registry.tables import BackfillRow, GalleryRow, ModelRow, VersionRow, now
from registry.types import Backfill, Curve, Page

__all__ = [
    "LEASE_S", "OPEN", "add", "backfill", "backfills", "finish", "hold", "leave", "locked", "of_gallery", "open_of",
    "pause", "resume", "seen", "to_backfill",
]  # fmt: skip

LEASE_S = 60
"""How long a runner is taken for alive after it was last heard of."""

OPEN = ("planned", "running", "paused")
"""What can still be run."""

_NAMES_ALONE = (  # of the gallery and the version
    defaultload(BackfillRow.gallery).load_only(GalleryRow.name).lazyload(GalleryRow.segments),
    defaultload(BackfillRow.version).load_only(VersionRow.number),
)


def add(session: Session, made: Backfill, digest: str, settings: Mapping[str, Any]) -> Backfill:
    """Keep a plan whose order is in a file of this digest; `settings` are what of it has no column of its own.

    Raises:
        AlreadyExists: the version is about to re-embed the gallery already.
    """
    row = galleries.locked(session, made.gallery)
    version = models.find(session, made.version)
    for other in open_of(session, row.id, version.id):
        raise AlreadyExists(
            f"{other.id} re-embeds {made.gallery} by {made.version} already: run that, or roll it back first"
        )
    session.add(
        BackfillRow(
            id=made.id, gallery_id=row.id, version_id=version.id, status=made.status, settings=dict(settings),
            digest=digest, total=made.total, predicted=[[metric, c.at, c.values] for metric, c in made.predicted.items()],
            measured=[], created_at=made.created_at, changed_at=made.changed_at,
        )
    )  # fmt: skip
    details = {"gallery": made.gallery, "version": made.version, "items": made.total, "order": made.order}
    record(session, "backfill.planned", made.id, details)
    session.flush()
    return backfill(session, made.id)


def open_of(session: Session, gallery: int, version: int) -> Sequence[BackfillRow]:
    """The backfills of a gallery by a version (row ids) that can still be run."""
    query = select(BackfillRow).where(BackfillRow.gallery_id == gallery, BackfillRow.version_id == version)
    return session.scalars(query.where(BackfillRow.status.in_(OPEN)).options(*_NAMES_ALONE)).all()


def backfills(
    session: Session,
    *,
    gallery: str | None = None,
    going: bool = False,
    among: Collection[str] | None = None,
    models: Collection[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Backfill]:
    """Backfills, newest first: of a gallery, `among` galleries and by `models` alone, and only those `going` on, if so asked."""
    query = select(BackfillRow).options(*_NAMES_ALONE)
    if gallery is not None:
        query = query.where(BackfillRow.gallery_id == galleries.gallery(session, gallery, segments=False).id)
    if going:
        query = query.where(BackfillRow.status.in_(OPEN))
    if among is not None:
        query = query.where(BackfillRow.gallery_id.in_(select(GalleryRow.id).where(GalleryRow.name.in_(among))))
    if models is not None:
        of_models = select(VersionRow.id).join(ModelRow, ModelRow.id == VersionRow.model_id)
        query = query.where(BackfillRow.version_id.in_(of_models.where(ModelRow.name.in_(models))))
    keys = (BackfillRow.created_at, BackfillRow.id)
    return pages.read(session, query, to_backfill, of="backfills", keys=keys, after=after, limit=limit, descending=True)


def backfill(session: Session, id: str) -> Backfill:
    """One backfill. NotFound if there is none."""
    return to_backfill(_row(session, id))


def locked(session: Session, id: str, runner: str | None = None) -> tuple[BackfillRow, GalleryRow]:
    """A backfill and its gallery, both locked until the transaction ends; only for its `runner` if one is named.

    Raises:
        NotFound: there is no such backfill.
        AlreadyExists: another process runs it.
    """
    gallery = galleries.locked(session, _row(session, id).gallery.name)
    statement = select(BackfillRow).where(BackfillRow.id == id).options(*_NAMES_ALONE)
    row = session.scalars(statement.with_for_update(of=BackfillRow).execution_options(populate_existing=True)).one()
    if runner is not None:
        _check_runner(row, runner)
    return row, gallery


def seen(session: Session, id: str, runner: str) -> tuple[BackfillRow, GalleryRow]:
    """A backfill that `runner` runs, and its gallery, as they are; nothing is locked. See `locked`."""
    row = _row(session, id)
    _check_runner(row, runner)
    return row, galleries.gallery(session, row.gallery.name)


def _check_runner(row: BackfillRow, runner: str) -> None:
    if row.runner != runner:
        raise AlreadyExists(
            f"{row.id} is not run by {runner!s:.120} any more but by {row.runner or 'nobody'}: what it stored is kept"
        )


def hold(session: Session, id: str, runner: str) -> Backfill:
    """Let `runner` run it for `LEASE_S` seconds from now on.

    Raises:
        AlreadyExists: another process runs it.
        InvalidInput: it is paused, finished or rolled back.
    """
    if not isinstance(runner, str) or not (1 <= len(runner) <= 200 and runner.isprintable()):
        raise InvalidInput(f"a runner is named by 1 to 200 printable characters, got {runner!r:.80}")
    row, _ = locked(session, id)
    found = to_backfill(row)
    if found.is_run and row.runner != runner:
        raise AlreadyExists(f"{id} is run by {row.runner} until {row.runs_until:%H:%M:%S} UTC: wait, or pause it")
    if row.runner != runner:
        _check_runnable(found)
        row.error, row.status = None, "running"
        record(session, "backfill.started", id, {**_about(row), "runner": runner, "done": row.done})
        row.changed_at = now()
    row.runner, row.runs_until = runner, now() + timedelta(seconds=LEASE_S)
    return to_backfill(row)


def _check_runnable(found: Backfill) -> None:
    if found.status == "paused":
        raise InvalidInput(f"{found.id} is paused: 'samespace backfill resume {found.id}' goes on with it")
    if not found.is_open:
        raise InvalidInput(f"{found.id} is {found.status}: plan another with 'samespace backfill plan'")


def leave(session: Session, id: str, runner: str, *, error: str | None, pause: bool, reached: bool = False) -> Backfill:
    """Run it no longer: paused, with an `error` or by `pause`; finished, if it `reached` what was asked for."""
    row, _ = locked(session, id)
    if row.runner != runner:
        return to_backfill(row)  # somebody else's by now
    if reached:
        finish(session, row)
        return to_backfill(row)
    row.runner = row.runs_until = None
    row.error, row.changed_at = error and error[:1000], now()
    if row.status == "running":
        row.status = "paused" if pause or error else "planned"
    if row.status == "paused" and (pause or error):
        record(session, "backfill.paused", id, {**_about(row), "done": row.done, "error": row.error})
    return to_backfill(row)


def pause(session: Session, id: str) -> Backfill:
    """Stop it after the batch at hand, until it is resumed. InvalidInput if it is over."""
    row, _ = locked(session, id)
    found = to_backfill(row)
    if not found.is_open:
        raise InvalidInput(f"{id} is {found.status}: nothing is left to pause")
    if row.status != "paused":
        row.status, row.changed_at = "paused", now()
        record(session, "backfill.paused", id, {**_about(row), "done": row.done})
    return to_backfill(row)


def resume(session: Session, id: str) -> Backfill:
    """Let it be run again. InvalidInput if it is over; nothing is done to one that is not paused."""
    row, _ = locked(session, id)
    found = to_backfill(row)
    if not found.is_open:
        raise InvalidInput(f"{id} is {found.status}: plan another with 'samespace backfill plan'")
    if row.status == "paused":
        row.status, row.changed_at = "running" if found.is_run else "planned", now()
        record(session, "backfill.resumed", id, {**_about(row), "done": row.done})
    return to_backfill(row)


def finish(session: Session, row: BackfillRow) -> None:
    """It is done: note so, and tell whoever wants to know."""
    row.status, row.runner, row.runs_until, row.error, row.changed_at = "finished", None, None, None, now()
    details = {**_about(row), "items": row.done, "of": row.total, "written": row.written}
    record(session, "backfill.finished", row.id, details)
    emit(session, "backfill.finished", row.id, details)


def of_gallery(session: Session, gallery: int) -> Sequence[BackfillRow]:
    """Those that can be rolled back, since vectors that they wrote into the gallery (row id) are still there."""
    query = select(BackfillRow).where(BackfillRow.gallery_id == gallery)
    may = query.where(or_(BackfillRow.written_version > 0, BackfillRow.status.in_(OPEN)))
    return session.scalars(may.options(*_NAMES_ALONE)).all()


def _about(row: BackfillRow) -> dict[str, Any]:
    return {"gallery": row.gallery.name, "version": row.version.ref}


def _row(session: Session, id: str) -> BackfillRow:
    found = select(BackfillRow).where(BackfillRow.id == id).options(*_NAMES_ALONE)
    row = session.scalar(found) if isinstance(id, str) and id.isprintable() else None
    if row is None:
        raise NotFound(f"there is no backfill {id!r:.120}: 'samespace backfill status' lists them")
    return row


def to_backfill(row: BackfillRow) -> Backfill:
    """The frozen value of a row."""
    said = row.settings
    metrics = sorted({metric for _, values in row.measured for metric in values})
    return Backfill(
        id=row.id, gallery=row.gallery.name, version=row.version.ref, old=said["old"], status=row.status,  # type: ignore[arg-type]
        encoder=said["encoder"], inputs=said["inputs"], order=said["order"], seed=said["seed"], batch=said["batch"],
        rate=said["rate"], stop_at=said["stop_at"], benchmark=said["benchmark"], label=said["label"], total=row.total,
        done=row.done, written=row.written,
        predicted={metric: Curve(tuple(at), tuple(values)) for metric, at, values in row.predicted},
        predicted_from=said["predicted_from"], measured={metric: _measured(row, metric) for metric in metrics},
        advice=said["advice"], evidence=said["evidence"], pace=row.pace, error=row.error, runner=row.runner,
        runs_until=row.runs_until, created_at=row.created_at, changed_at=row.changed_at,
    )  # fmt: skip


def _measured(row: BackfillRow, metric: str) -> Curve:
    points = [(share, values[metric]) for share, values in row.measured if metric in values]
    return Curve(tuple(share for share, _ in points), tuple(value for _, value in points))
