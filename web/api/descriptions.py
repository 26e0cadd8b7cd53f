"""The description of the API: OpenAPI 3.1, and a page that shows it."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, jsonify, render_template
from flask_openapi3.models.info import Info
from pydantic import ValidationError

from registry import __version__
from registry.errors import InvalidInput
from web.api.base import blueprint

__all__ = ["INFO", "SECURITY", "refuse"]

INFO = Info(
    title="samespace",
    version=__version__,
    description="Facts as JSON, vectors as Arrow IPC streams. Requests bring a token: Authorization: Bearer <token>.",
)
SECURITY: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}}


def refuse(error: ValidationError) -> Response:
    """Turn what pydantic found wrong into our own error."""
    first = error.errors()[0]
    if not first["loc"]:
        raise InvalidInput("the body must be a JSON object, sent with Content-Type: application/json")
    where = ".".join(str(part) for part in first["loc"])
    got = "" if first["type"] == "missing" else f", got {first['input']!r:.80}"
    raise InvalidInput(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}{got}")


def _described(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.api_doc  # type: ignore[attr-defined]
    return found


@blueprint.get("/openapi.json", doc_ui=False)
def openapi() -> Response:
    """The description as OpenAPI 3.1."""
    return jsonify(_described(current_app))


@blueprint.get("/", doc_ui=False)
def browse() -> str:
    """The description as a page."""
    return render_template("api.html", api=_described(current_app))
