"""One query in two versions, side by side, over one gallery."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/galleries/<name>/search")
def search(name: str) -> str:
    """Both result lists."""
    return render("stub.html", section="pages.galleries", title=name)
