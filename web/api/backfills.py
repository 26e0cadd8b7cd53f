"""Routes of backfills: planned, looked at, paused and taken back; and the steps of a run, which is at home elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from flask import Response
from pydantic import BaseModel, Field

from registry import wire
from registry.services import backfills as services
from registry.types import Backfill, Portion
from web import lines, transfers, visible
from web.access import caller
from web.api.base import (
    Arrow,
    Body,
    Paging,
    Query,
    answer,
    blueprint,
    covers,
    json_answer,
    listed,
    model_of,
    tag,
)
from web.api.evidence import LINES
from web.api.galleries import GalleryPath
from web.api.streams import batches, whole
from web.current import current_registry
from web.observing import count_rows

TAG = tag("backfills", "Re-embedding a gallery by a newer version; whoever runs one encodes, and stores here")

MOST_COUNTED = 1_000_000


class BackfillPath(BaseModel):
    """A backfill in the address."""

    id: str


class Backfills(Paging):
    """Which backfills."""

    gallery: str | None = None
    going: bool = Field(False, description="only those that can still be run")


class NewBackfill(Body):
    """What is to be re-embedded by which version, and how."""

    gallery: str
    into: str
    encoder: str | None = None
    inputs: str = "ids"
    order: str = "random"
    seed: int = Field(0, ge=0, lt=2**31)
    batch: int = Field(256, ge=1, le=65536)
    rate: float | None = None
    stop_at: str | None = None
    benchmark: str | None = None
    label: str | None = None
    counted: list[str | int] | None = Field(None, max_length=MOST_COUNTED, description="ids, for most-searched")
    counts: list[float] | None = Field(None, max_length=MOST_COUNTED, description="how often each was searched")
    dry_run: bool = False


class Runner(Body):
    """Who runs it."""

    runner: str = Field(min_length=1, max_length=200)


class Next(Runner):
    """And how many items are wanted."""

    most: int | None = Field(None, ge=1, le=65536)


class Leaving(Runner):
    """And why it is run no longer."""

    error: str | None = Field(None, max_length=1000)
    pause: bool = False
    reached: bool = False


class Store(Query):
    """Which portion, and who runs it."""

    runner: str = Field(min_length=1, max_length=200)
    start: int = Field(ge=0, lt=2**53)
    stop: int = Field(ge=0, lt=2**53)
    pace: float | None = Field(None, ge=0, allow_inf_nan=False)


class NextPortion(BaseModel):
    """The items to encode next; null when all is done."""

    portion: Portion | None


class Drop(Body):
    """Whose vectors go, and whether backfills may lose their way back."""

    version: str
    final: bool = False


class Dropped(BaseModel):
    """How many vectors went."""

    rows: int


@blueprint.get("/backfills", tags=TAG, responses={200: listed("backfills", Backfill)})
def backfills(query: Backfills) -> Response:
    """Backfills, newest first, of a gallery if it is named."""
    caller().require("reader", galleries=[query.gallery] if query.gallery else [])
    who = caller()
    with current_registry().reading() as session:
        found = services.backfills(
            session, gallery=query.gallery, going=query.going, among=who.galleries, models=who.models,
            after=query.after, limit=query.limit,
        )  # fmt: skip
    return json_answer({"backfills": visible.backfills(who, found.items), "next": found.next})


@blueprint.post("/backfills", tags=TAG, responses={200: LINES})
def plan_backfill(body: NewBackfill) -> Response:
    """Plan to re-embed what a gallery holds. Answers in lines of JSON: last {"backfill": …} or {"error": …}."""
    caller().require("writer", galleries=[body.gallery, *([body.benchmark] if body.benchmark else [])])
    covers(body.into)
    return Response(transfers.stream(_planned(body)), mimetype=lines.LINES)


def _planned(body: NewBackfill) -> Iterator[bytes]:
    registry, who = current_registry(), caller()
    wish = body.model_dump(exclude={"gallery", "counted", "counts"})
    counts = None if body.counted is None and body.counts is None else (body.counted or [], body.counts or [])

    def work(progress: lines.Progress) -> dict[str, Any]:
        made = registry.plan_backfill(body.gallery, **wish, counts=counts, galleries=who.galleries)
        return {"backfill": wire.to_json(visible.backfills(who, [made])[0])}

    return lines.told(work, f"a plan to re-embed {body.gallery} by {body.into}")


@blueprint.get("/backfills/<id>", tags=TAG, responses={200: answer(Backfill)})
def backfill(path: BackfillPath) -> Response:
    """One backfill."""
    return _told(_seen(path.id))


@blueprint.post("/backfills/<id>/pause", tags=TAG, responses={200: answer(Backfill)})
def pause_backfill(path: BackfillPath) -> Response:
    """Stop it after the batch at hand, until it is resumed."""
    return _told(current_registry().pause_backfill(_written(path.id).id))


@blueprint.post("/backfills/<id>/resume", tags=TAG, responses={200: answer(Backfill)})
def resume_backfill(path: BackfillPath) -> Response:
    """Let it be run again, by whoever runs it."""
    return _told(current_registry().resume_backfill(_written(path.id).id))


@blueprint.post("/backfills/<id>/rollback", tags=TAG, responses={200: answer(Backfill)})
def roll_back_backfill(path: BackfillPath) -> Response:
    """Remove the vectors that it wrote, and end it."""
    return _told(current_registry().roll_back_backfill(_written(path.id).id))


@blueprint.post("/backfills/<id>/hold", tags=TAG, responses={200: answer(Backfill)})
def hold_backfill(path: BackfillPath, body: Runner) -> Response:
    """Begin to run it, or say that this goes on."""
    return _told(current_registry().hold_backfill(_written(path.id).id, runner=body.runner))


@blueprint.post("/backfills/<id>/next", tags=TAG, responses={200: NextPortion})
def next_portion(path: BackfillPath, body: Next) -> Response:
    """The items to encode next; null when all is done."""
    found = current_registry().next_portion(_written(path.id).id, runner=body.runner, most=body.most)
    return json_answer({"portion": found})


@blueprint.post("/backfills/<id>/store", tags=TAG, responses={200: answer(Backfill)})
def store_portion(path: BackfillPath, query: Store, raw: Arrow) -> Response:
    """Store the vectors of a portion, columns id and vector, and move on behind it. A portion may have no rows."""
    _written(path.id)
    with transfers.transfer():
        sent = batches({"id", "vector"})
        first = next(sent, None)
        columns = {} if first is None else whole(chain([first], sent))
        ids = columns["id"].to_pylist() if columns else []
        vectors = wire.matrix(columns["vector"]) if columns else None
        portion = Portion(query.start, query.stop, tuple(ids))
        found = current_registry().store_portion(
            path.id, runner=query.runner, portion=portion, vectors=vectors, pace=query.pace
        )
    count_rows(appended=len(ids))
    return _told(found)


@blueprint.post("/backfills/<id>/measure", tags=TAG, responses={200: LINES})
def measure_backfill(path: BackfillPath, body: Runner) -> Response:
    """Measure how good the gallery is now, and keep it. Answers in lines of JSON: last {"backfill": …} or {"error": …}."""
    found, registry, who = _written(path.id), current_registry(), caller()

    def work(_: lines.Progress) -> dict[str, Any]:
        made = registry.measure_backfill(found.id, runner=body.runner)
        return {"backfill": wire.to_json(visible.backfills(who, [made])[0])}

    return Response(transfers.stream(lines.told(work, f"measuring {found.id}")), mimetype=lines.LINES)


@blueprint.post("/backfills/<id>/leave", tags=TAG, responses={200: answer(Backfill)})
def leave_backfill(path: BackfillPath, body: Leaving) -> Response:
    """Run it no longer."""
    return _told(current_registry().leave_backfill(_written(path.id).id, **body.model_dump()))


@blueprint.post("/galleries/<name>/drop-segment", tags=TAG, responses={200: Dropped})
def drop_segment(path: GalleryPath, body: Drop) -> Response:
    """Let go of all vectors that a version stored in a gallery, as long as each item keeps one."""
    caller().require("writer", galleries=[path.name])
    covers(body.version)
    return json_answer({"rows": current_registry().drop_segment(path.name, body.version, final=body.final)})


def _seen(id: str) -> Backfill:
    """A backfill whose gallery and version the caller's token covers."""
    found = current_registry().backfill(id)
    caller().require_of(f"backfill {found.id}", models=model_of(found.version), galleries=[found.gallery])
    return found


def _written(id: str) -> Backfill:
    """One that the caller may change."""
    caller().require("writer")
    return _seen(id)


def _told(found: Backfill) -> Response:
    """A backfill as the caller sees it."""
    return json_answer(visible.backfills(caller(), [found])[0])
