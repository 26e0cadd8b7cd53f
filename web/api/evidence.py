"""Routes of evidence: evaluations, the matrix, the comparison, and the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Literal

from flask import Response, current_app
from pydantic import Field

from registry import wire
from registry.errors import NotAllowed, SamespaceError
from registry.types import Change, Comparison, Evaluation, Matrix
from web import transfers, visible
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


class Which(Query):
    """Which matrix."""

    benchmark: str
    metric: Metric = "map"
    label: str | None = None


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
    return Response(transfers.stream(_lines(body)), mimetype="application/x-ndjson")


@blueprint.get("/matrix", tags=TAG, responses={200: answer(Matrix)})
def matrix(query: Which) -> Response:
    """The compatibility matrix of a benchmark: for mAP and its first label column unless others are named."""
    caller().require("reader", galleries=[query.benchmark])
    found = current_registry().matrix(query.benchmark, metric=query.metric, label=query.label)
    return json_answer(visible.matrix(caller(), found))


@blueprint.get("/compare", tags=TAG, responses={200: answer(Comparison)})
def compare(query: Pair) -> Response:
    """Verdicts and advice on replacing `old` by `new` without backfilling."""
    covers(query.old, query.new)
    caller().require("reader", galleries=[query.benchmark] if query.benchmark else [])
    found = current_registry().compare(query.old, query.new, benchmark=query.benchmark, label=query.label)
    caller().require("reader", galleries=[found.benchmark])
    return json_answer(found)


@blueprint.get("/changes", tags=TAG, responses={200: listed("changes", Change)})
def changes(query: Paging) -> Response:
    """The audit log, newest first; for callers who see everything."""
    return page("changes", query, partial(visible.changes, caller()))


def _lines(body: Measure) -> Iterator[bytes]:
    """What `evaluate` says, while it works in a thread of its own."""
    said: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    registry, log = current_registry(), current_app.logger

    def work() -> None:
        try:
            found = registry.evaluate(
                body.benchmark, versions=body.versions, label=body.label, seed=body.seed,
                progress=lambda done, of: said.put({"progress": [done, of]}),
            )  # fmt: skip
            said.put({"matrix": wire.to_json(found)})
        except SamespaceError as error:
            said.put({"error": wire.said(error)})
        except Exception:
            log.exception("an evaluation of %s failed", body.benchmark)
            said.put({"error": {"code": "error", "message": "something went wrong here: the server's log says what"}})
        finally:
            said.put(None)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    return (json.dumps(line).encode() + b"\n" for line in iter(said.get, None))
