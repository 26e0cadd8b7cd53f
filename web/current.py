"""The registry that the current application serves, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from registry.settings import Settings

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["current_registry", "current_settings", "keep", "registry_of", "settings_of"]

_KEY = "samespace"


def keep(app: Flask, registry: Registry, settings: Settings | None = None) -> None:
    """Let `app` serve `registry`, by default as the environment says."""
    app.extensions[_KEY] = (registry, settings or Settings.read())


def current_registry() -> Registry:
    """The registry of the application that handles this request."""
    return registry_of(current_app)


def current_settings() -> Settings:
    """The settings of the application that handles this request."""
    return settings_of(current_app)


def registry_of(app: Flask) -> Registry:
    """The registry that `app` serves."""
    return cast("Registry", app.extensions[_KEY][0])


def settings_of(app: Flask) -> Settings:
    """The settings that `app` runs with."""
    return cast("Settings", app.extensions[_KEY][1])
