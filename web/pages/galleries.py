"""Galleries."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/galleries")
def galleries() -> str:
    """Galleries."""
    return render("stub.html", section="pages.galleries", title="Galleries")


@blueprint.get("/galleries/<name>")
def gallery(name: str) -> str:
    """One gallery."""
    return render("stub.html", section="pages.galleries", title=name)
