"""The compatibility matrix of a benchmark."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/matrix")
def matrix() -> str:
    """The compatibility matrix of a benchmark."""
    return render("stub.html", section="pages.matrix", title="Compatibility")
