"""Two versions side by side."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/compare")
def compare() -> str:
    """Two versions side by side."""
    return render("stub.html", section="pages.compare", title="Compare")
