"""One transform, and one anchor set."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/transforms/<id>")
def transform(id: str) -> str:
    """One transform."""
    return render("stub.html", section="pages.models", title=id)


@blueprint.get("/anchors/<name>")
def anchors(name: str) -> str:
    """One anchor set."""
    return render("stub.html", section="pages.models", title=name)
