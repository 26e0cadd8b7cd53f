"""Routes of studies: closer looks at one upgrade, measured and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from flask import Response
from pydantic import BaseModel, Field

from registry import wire
from registry.types import Study
from web import lines, transfers, visible
from web.access import caller
from web.api.base import (
    ARROW_ANSWER,
    MOST_ITEMS,
    Body,
    Paging,
    answer,
    blueprint,
    covers,
    json_answer,
    listed,
    model_of,
    page,
    tag,
)
from web.api.evidence import measured_on
from web.current import current_registry

TAG = tag("studies", "Closer looks at one upgrade: classes, scores, neighbours, maps, and what a backfill brings")

_ITEMS = 1 << 14  # in one batch


class StudyPath(BaseModel):
    """A study in the address."""

    id: str


class Studies(Paging):
    """Which studies."""

    limit: int = Field(
        100, ge=1, le=MOST_ITEMS, description="the most studies of a page; each takes some ten kilobytes"
    )
    old: str | None = None
    new: str | None = None
    benchmark: str | None = None
    label: str | None = None


class NewStudy(Body):
    """Which upgrade to look at, and where; by default the benchmark on which it is measured."""

    old: str
    new: str
    benchmark: str | None = None
    label: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)


@blueprint.get("/studies", tags=TAG, responses={200: listed("studies", Study)})
def studies(query: Studies) -> Response:
    """Studies, newest first, of these versions, this benchmark and this label column if they are named."""
    caller().require("reader", galleries=[query.benchmark] if query.benchmark else [])
    covers(*(ref for ref in (query.old, query.new) if ref))
    return page(
        "studies", query, partial(visible.studies, caller()), old=query.old, new=query.new, benchmark=query.benchmark,
        label=query.label,
    )  # fmt: skip


@blueprint.post("/studies", tags=TAG, responses={200: {"description": "lines of JSON: progress, and last the study"}})
def study(body: NewStudy) -> Response:
    """Look closer at replacing `old` by `new`, and store what was found. Answers in lines of JSON.

    {"progress": [done, all]} …, and at the end {"study": …} or {"error": …}.
    """
    caller().require("writer")
    covers(body.old, body.new)
    benchmark = body.benchmark or measured_on(body.old, body.new)
    if benchmark is None:
        benchmark = current_registry().compare(body.old, body.new, label=body.label).benchmark
    caller().require("writer", galleries=[benchmark])
    return Response(transfers.stream(_lines(body, benchmark)), mimetype=lines.LINES)


@blueprint.get("/studies/<id>", tags=TAG, responses={200: answer(Study)})
def stored_study(path: StudyPath) -> Response:
    """One study."""
    return json_answer(_seen(path.id))


@blueprint.get("/studies/<id>/items", tags=TAG, responses={200: ARROW_ANSWER})
def study_items(path: StudyPath) -> Response:
    """What a study found of each item: its labels, places on both maps, kept neighbours, and values as a query."""
    items = current_registry().study_items(_seen(path.id).id)
    parts: Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]] = (
        (batch, {}) for batch in items.to_batches(max_chunksize=_ITEMS)
    )
    return Response(transfers.stream(wire.write(items.schema, parts)), mimetype=wire.ARROW)


def _seen(id: str) -> Study:
    """A study whose models and benchmark the caller's token covers."""
    found = current_registry().stored_study(id)
    models = [*model_of(found.old), *model_of(found.new)]
    caller().require_of(f"study {found.id}", models=models, galleries=[found.benchmark])
    return found


def _lines(body: NewStudy, benchmark: str) -> Iterator[bytes]:
    """What `study` says."""
    registry = current_registry()

    def work(progress: lines.Progress) -> dict[str, Any]:
        found = registry.study(
            body.old, body.new, benchmark=benchmark, label=body.label, seed=body.seed, progress=progress
        )
        return {"study": wire.to_json(found)}

    return lines.told(work, f"a study of {body.new} against {body.old}")
