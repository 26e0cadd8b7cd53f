"""Models."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/models")
def models() -> str:
    """Models."""
    return render("stub.html", section="pages.models", title="Models")


@blueprint.get("/models/<name>")
def model(name: str) -> str:
    """One model."""
    return render("stub.html", section="pages.models", title=name)
