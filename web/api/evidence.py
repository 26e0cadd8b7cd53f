"""Routes of evidence: evaluations, the matrix, the comparison, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from flask import Response
from pydantic import Field

from registry import wire
from registry.errors import NotAllowed, NotFound
from registry.services import models, pairs
from registry.types import Change, Comparison, Evaluation, Matrix
from web import lines, transfers, visible
from web.access import caller
from web.api.base import Body, Paging, Query, answer, blueprint, covers, json_answer, listed, page, tag
from web.current import current_registry

TAG = tag("evidence", "What was measured, what it means, and who changed what")

LINES = {
    "description": "lines of JSON: progress, and last the matrix or an error",
    "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
}

Metric = Literal["cmc@1", "cmc@5", "map", "map@r", "mrr"]


class Cells(Paging):
    """Which evaluations."""

    benchmark: str | None = None
    metric: Metric | None = None
    label: str | None = None


class Changes(Paging):
    """Which lines of the audit log."""

    action: str | None = Field(None, description="such as alias.moved")
    subject: str | None = Field(None, description="such as products/2; products/* is all that begin so")
    who: str | None = Field(None, description="a token or user")
    since: str | None = Field(None, description="from this moment on, as ISO 8601")
    until: str | None = Field(None, description="before this moment")


class Which(Query):
    """Which matrix."""

    benchmark: str
    metric: Metric = "map"
    label: str | None = None
    versions: list[str] | None = Field(None, max_length=1000, description="of these alone: repeat it")


class Pair(Query):
    """Which versions are compared."""

    old: str
    new: str
    benchmark: str | None = None
    label: str | None = None


class Measure(Body):
    """What to measure."""

    benchmark: str
    versions: list[str] | None = None
    label: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)


@blueprint.get("/evaluations", tags=TAG, responses={200: listed("evaluations", Evaluation)})
def evaluations(query: Cells) -> Response:
    """The newest measurement of each pair, of one benchmark, metric and label column if they are named."""
    caller().require("reader", galleries=[query.benchmark] if query.benchmark else [])
    return page(
        "evaluations", query, partial(visible.evaluations, caller()), benchmark=query.benchmark, metric=query.metric,
        label=query.label,
    )  # fmt: skip


@blueprint.post(
    "/evaluations", tags=TAG, responses={200: {"description": "lines of JSON: progress, and last the matrix"}}
)
def evaluate(body: Measure) -> Response:
    """Measure every query version x gallery version of a benchmark by every known path. Answers in lines of JSON.

    {"progress": [done, all]} …, and at the end {"matrix": …} or {"error": …}.
    """
    caller().require("writer", galleries=[body.benchmark])
    covers(*(body.versions or ()))
    if body.versions is None and not caller().unlimited:
        raise NotAllowed(f"{caller().name} does not cover every model: name the versions to measure")
    return Response(transfers.stream(_lines(body)), mimetype=lines.LINES)


@blueprint.get("/matrix", tags=TAG, responses={200: answer(Matrix)})
def matrix(query: Which) -> Response:
    """The compatibility matrix of a benchmark: for mAP, its first label column and all versions unless others are named."""
    caller().require("reader", galleries=[query.benchmark])
    covers(*(query.versions or ()))
    found = current_registry().matrix(query.benchmark, metric=query.metric, label=query.label, versions=query.versions)
    return json_answer(visible.matrix(caller(), found))


@blueprint.get("/compare", tags=TAG, responses={200: answer(Comparison)})
def compare(query: Pair) -> Response:
    """Verdicts and advice on replacing `old` by `new` without backfilling."""
    covers(query.old, query.new)
    caller().require("reader", galleries=[query.benchmark] if query.benchmark else [])
    benchmark = query.benchmark or measured_on(query.old, query.new)
    return json_answer(current_registry().compare(query.old, query.new, benchmark=benchmark, label=query.label))


def measured_on(old: str, new: str) -> str | None:
    """The benchmark on which two versions are measured, of those that the caller's token covers; None if it covers all.

    Raises:
        NotFound: there is none, or there are several.
    """
    who = caller()
    if who.galleries is None:
        return None
    with current_registry().reading() as session:
        before, after = models.fixed(session, old), models.fixed(session, new)
        places = pairs.places(session, old=before.id, new=after.id, galleries=who.galleries)
    names = list(dict.fromkeys(place.benchmark for place in places))
    if len(names) == 1:
        return names[0]
    hint = f"name one of {', '.join(names)}" if names else "name one on which to measure them"
    raise NotFound(
        f"{after.ref} against {before.ref} is measured on {len(names)} benchmarks that {who.name} covers: {hint}"
    )


@blueprint.get("/changes", tags=TAG, responses={200: listed("changes", Change)})
def changes(query: Changes) -> Response:
    """The audit log, newest first; for callers who see everything."""
    filters = query.model_dump(exclude={"limit", "after"})
    return page("changes", query, partial(visible.changes, caller()), **filters)


def _lines(body: Measure) -> Iterator[bytes]:
    """What `evaluate` says."""
    registry = current_registry()

    def work(progress: lines.Progress) -> dict[str, Any]:
        found = registry.evaluate(
            body.benchmark, versions=body.versions, label=body.label, seed=body.seed, progress=progress
        )
        return {"matrix": wire.to_json(found)}

    return lines.told(work, f"an evaluation of {body.benchmark}")
