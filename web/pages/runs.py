"""Training and fit runs."""

from __future__ import annotations

from web.pages.base import blueprint, render

__all__: list[str] = []


@blueprint.get("/runs")
def runs() -> str:
    """Training and fit runs."""
    return render("stub.html", section="pages.runs", title="Runs")


@blueprint.get("/runs/<run_id>")
def run(run_id: str) -> str:
    """One run."""
    return render("stub.html", section="pages.runs", title=run_id)
