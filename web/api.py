"""The JSON API, `/api/v1`: reads, one registry call each."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from web import queries
from web.current import current_registry
from web.encoding import encode

__all__ = ["blueprint"]

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

_MOST_CHANGES = 1000


def _json(value: Any) -> Response:
    return jsonify(encode(value))


@blueprint.get("/models")
def models() -> Response:
    """All models by name."""
    queries.accept()
    return _json({"models": current_registry().models()})


@blueprint.get("/models/<model>/versions")
def versions(model: str) -> Response:
    """The versions of a model, oldest first."""
    queries.accept()
    return _json({"versions": current_registry().versions(model)})


@blueprint.get("/versions/<model>/<int:number>")
def version(model: str, number: int) -> Response:
    """One version."""
    queries.accept()
    return _json(current_registry().version(f"{model}/{number}"))


@blueprint.get("/galleries")
def galleries() -> Response:
    """All galleries by name."""
    queries.accept()
    return _json({"galleries": current_registry().galleries()})


@blueprint.get("/galleries/<name>")
def gallery(name: str) -> Response:
    """One gallery."""
    queries.accept()
    return _json(current_registry().gallery(name))


@blueprint.get("/transforms")
def transforms() -> Response:
    """All transforms, oldest first."""
    queries.accept()
    return _json({"transforms": current_registry().transforms()})


@blueprint.get("/anchor-sets")
def anchor_sets() -> Response:
    """All anchor sets by name."""
    queries.accept()
    return _json({"anchor_sets": current_registry().anchor_sets()})


@blueprint.get("/evaluations")
def evaluations() -> Response:
    """The newest evaluation of each cell, of one benchmark, metric and label column if they are named."""
    queries.accept("benchmark", "metric", "label")
    benchmark, label = queries.optional("benchmark"), queries.optional("label")
    found = current_registry().evaluations(benchmark, metric=queries.metric(), label=label)
    return _json({"evaluations": found})


@blueprint.get("/matrix")
def matrix() -> Response:
    """The compatibility matrix of a benchmark: for mAP and its first label column unless others are named."""
    queries.accept("benchmark", "metric", "label")
    benchmark, metric = queries.required("benchmark"), queries.metric() or "map"
    return _json(current_registry().matrix(benchmark, metric=metric, label=queries.optional("label")))


@blueprint.get("/compare")
def compare() -> Response:
    """Verdicts and advice on replacing `old` by `new` without backfilling."""
    queries.accept("old", "new", "benchmark", "label")
    old, new = queries.required("old"), queries.required("new")
    benchmark, label = queries.optional("benchmark"), queries.optional("label")
    return _json(current_registry().compare(old, new, benchmark=benchmark, label=label))


@blueprint.get("/changes")
def changes() -> Response:
    """The audit log, newest first."""
    queries.accept("limit")
    limit = queries.whole("limit", default=100, most=_MOST_CHANGES)
    return _json({"changes": current_registry().changes(limit=limit)})
