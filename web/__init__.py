"""The pages and the HTTP API: parse, make one call to the registry, encode.

Without tokens this machine alone is served, see `web.loopback`; with them, whoever has one, see `web.access`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from flask_openapi3.openapi import OpenAPI

from web import (
    access,
    api,
    assets,
    errors,
    formats,
    health,
    limits,
    login,
    logs,
    observing,
    pages,
    policy,
    themes,
    transfers,
)
from web.api.base import Problem
from web.api.descriptions import INFO, SECURITY, refuse
from web.current import keep

if TYPE_CHECKING:
    from registry.embedded import Registry
    from registry.settings import Settings

__all__ = ["create_app"]

_HEADERS = {
    "Content-Security-Policy": policy.policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(
    home: str | os.PathLike[str] | Registry,
    *,
    database: str | None = None,
    settings: Settings | None = None,
    galleries: str | None = None,
) -> Flask:
    """The WSGI application over one registry.

    Args:
        home: the registry's folder, or an open registry.
        database: the address of the facts if they are not in the folder; see `registry.connect`.
        settings: how the server runs; by default as the environment says.
        galleries: the address of vectors, items and previews if they are not in the folder.
    """
    from registry.embedded import Registry
    from web.metrics import Metrics  # not sooner: see there

    if isinstance(home, str | os.PathLike):
        registry = Registry.open(home, database=database, galleries=galleries)
    else:
        registry = home
    app = OpenAPI(
        "web", root_path=os.path.dirname(__file__), static_url_path=assets.prefix(), info=INFO, security_schemes=SECURITY, doc_ui=False,
        validation_error_status=400, validation_error_model=Problem, validation_error_callback=refuse,
    )  # fmt: skip
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(formats.FILTERS)
    keep(app, registry, settings)
    errors.install(app)
    limits.install(app)
    access.install(app)
    metrics = Metrics()
    transfers.install(app, running=metrics.transfers)
    themes.install(app)
    health.install(app, metrics)
    observing.install(app, logs.log_request, metrics.record)
    app.after_request(_harden)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(login.blueprint)
    app.register_api(api.blueprint)
    return app


def _harden(response: Response) -> Response:
    """Headers that every answer carries; answers about the registry are never kept by a shared cache."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint == "static" and response.status_code < 400:
        response.headers["Cache-Control"] = f"public, max-age={assets.KEPT_S}, immutable"
    else:
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response
