"""Tokens and settings, for admins."""

from __future__ import annotations

from web.access import caller
from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/tokens")
def tokens() -> str:
    """Tokens: made, listed, revoked."""
    caller().require("admin")
    return render("stub.html", section="pages.tokens", title="Tokens")


@blueprint.get("/settings")
def settings() -> str:
    """How this server runs."""
    caller().require("admin")
    return render("stub.html", section="pages.settings", title="Settings")
