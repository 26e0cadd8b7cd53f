"""The audit log."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/changes")
def changes() -> str:
    """The audit log."""
    return render("stub.html", section="pages.changes", title="Changes")
