"""The pages and the HTTP API: parse, make one call to the registry, encode.

Only loopback callers are served, because this release has no tokens: `web.serving` binds nothing else, and a request
that names another host is refused, which is what stops a foreign page that rebinds its DNS name to 127.0.0.1.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from registry import connect
from web import api, errors, formats, pages
from web.current import keep
from web.loopback import refuse_foreign_host

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["create_app"]

_LARGEST_BODY_BYTES = 64 << 10  # nothing here reads a body yet

_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(home: str | os.PathLike[str] | Registry, *, database: str | None = None) -> Flask:
    """The WSGI application over one registry.

    Args:
        home: the registry's folder, or an open registry.
        database: the address of the facts if they are not in the folder; see `registry.connect`.
    """
    registry = connect(home, database=database) if isinstance(home, str | os.PathLike) else home
    app = Flask("web", root_path=os.path.dirname(__file__))
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY_BYTES
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(formats.FILTERS)
    keep(app, registry)
    errors.install(app)
    app.before_request(refuse_foreign_host)
    app.after_request(_harden)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    return app


def _harden(response: Response) -> Response:
    """Headers that every answer carries; answers about the registry are never kept by a shared cache."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "private, no-cache")
    return response
