"""The description of the API: OpenAPI 3.1, and a page that shows it."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, jsonify, render_template, request
from flask_openapi3.models.info import Info
from pydantic import BaseModel, ValidationError

from registry import __version__
from registry.errors import InvalidInput
from web.api.base import Body, Query, blueprint

__all__ = ["INFO", "SECURITY", "refuse"]

INFO = Info(
    title="samespace",
    version=__version__,
    description="Facts as JSON, vectors as Arrow IPC streams. Requests bring a token: Authorization: Bearer <token>.",
)
SECURITY: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}}


def refuse(error: ValidationError) -> Response:
    """Turn what pydantic found wrong into our own error, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    model = next((cls for cls in _declared() if cls.__name__ == error.title), None)
    known = dict(model.model_fields) if model else {}
    if not where:
        raise InvalidInput(f"the body must be a JSON object with {', '.join(known)}, got {first['input']!r:.80}")
    if first["type"] == "missing":
        raise InvalidInput(
            f"{where!r} is missing: give {', '.join(n for n, f in known.items() if f.is_required()) or where}"
        )
    if first["type"] == "extra_forbidden":
        raise InvalidInput(f"there is no parameter {where!r:.120}: use {', '.join(known) or 'none'}")
    said = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    bounds = {type(m).__name__: m for m in known[where].metadata} if where in known else {}
    if {"Ge", "Le"} <= bounds.keys():
        said = f"must be a whole number from {bounds['Ge'].ge} to {bounds['Le'].le}"
    raise InvalidInput(f"{where}: {said}, got {first['input']!r:.80}")


def _declared() -> list[type[BaseModel]]:
    """Every class that declares a request."""
    found: list[type[BaseModel]] = [Query, Body]
    for cls in found:
        found += cls.__subclasses__()
    return found


@blueprint.before_request
def once() -> None:
    """Refuse a parameter that is given twice where it is no list, since nobody can tell which is meant."""
    for name, values in request.args.lists():
        if len(values) > 1 and name != "versions":
            raise InvalidInput(f"query parameter {name!r:.120} is given {len(values)} times: give it once")


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
