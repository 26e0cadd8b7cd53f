"""Light or dark: what the person chose, which their browser sends along."""

from __future__ import annotations

from flask import Flask, request

__all__ = ["install"]

_COOKIE = "samespace-theme"
_CHOICES = ("light", "dark")


def install(app: Flask) -> None:
    """Give the templates of `app` a `theme`: `light`, `dark`, or None for as the system is."""
    app.context_processor(lambda: {"theme": _chosen()})


def _chosen() -> str | None:
    asked = request.cookies.get(_COOKIE)
    return asked if asked in _CHOICES else None
