"""For machines that look after the server: is it alive, can it work, and what did it do."""

from __future__ import annotations

import tempfile
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, make_response

from registry import __version__
from registry.database import HEAD
from registry.errors import SamespaceError
from web import queries
from web.current import current_registry

if TYPE_CHECKING:
    from web.metrics import Metrics

__all__ = ["install"]

blueprint = Blueprint("health", __name__)

_KEY = "samespace.metrics"


def install(app: Flask, metrics: Metrics) -> None:
    """Let `app` answer `/healthz`, `/readyz` and `/metrics`."""
    app.extensions[_KEY] = metrics
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Alive: this process answers, whatever the stores do."""
    return jsonify(status="ok", version=__version__)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Able to work; otherwise 503, naming the check that failed. What exactly failed is in the log alone."""
    checks = {"database": _database() or "ok", "home": _home() or "ok"}
    ready = set(checks.values()) == {"ok"}
    answer = jsonify(status="ok" if ready else "unavailable", checks=checks)
    return make_response(answer, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Everything that is counted, for Prometheus."""
    queries.accept()
    return Response(
        cast("Metrics", current_app.extensions[_KEY]).text(), content_type="text/plain; version=0.0.4; charset=utf-8"
    )


def _database() -> str | None:
    """What is wrong with the database."""
    try:
        at = current_registry().revision()
    except SamespaceError as error:
        current_app.logger.warning("not ready: %s", error)
        return "does not answer"
    return None if at == HEAD else f"is at revision {at}, this release wants {HEAD}"


def _home() -> str | None:
    """What is wrong with the home."""
    try:
        with tempfile.TemporaryFile(dir=current_registry().home) as file:
            file.write(b"ready?")
    except OSError as error:
        current_app.logger.warning("not ready: the home cannot be written: %s", error)
        return "cannot be written"
    return None
