"""The registry that the current application serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["current_registry", "keep", "registry_of"]

_KEY = "samespace"


def keep(app: Flask, registry: Registry) -> None:
    """Let `app` serve `registry`."""
    app.extensions[_KEY] = registry


def current_registry() -> Registry:
    """The registry of the application that handles this request."""
    return registry_of(current_app)


def registry_of(app: Flask) -> Registry:
    """The registry that `app` serves."""
    return cast("Registry", app.extensions[_KEY])
