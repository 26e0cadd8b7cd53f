"""The compatibility matrix of a benchmark: every query version against every gallery version, as a heat map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from flask import Response, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.errors import InvalidInput, NotFound
from registry.types import Evaluation
from web import heat, queries, selections, sheets
from web.access import caller
from web.api.base import covers
from web.current import current_registry
from web.formats import iso
from web.lines import Progress
from web.matrices import STATES, Cell, cells
from web.pages.base import blueprint, render
from web.pages.working import working
from web.selections import AT_ONCE, Selection

__all__: list[str] = []

_MODELS_SUGGESTED = 200
_NUMBERS = (
    "value",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "verdict",
    "queries",
    "items",
    "seed",
    "measurement",
)


@blueprint.get("/matrix")
def matrix() -> str:
    """The matrix, or what to do where nothing is measured."""
    seen = _selection()
    if seen is None:
        return render("matrix.html", section="pages.matrix", seen=None)
    rows = cells(seen.matrix)
    flat = list(chain.from_iterable(row for _, row in rows))
    return render(
        "matrix.html",
        section="pages.matrix",
        seen=seen,
        rows=rows,
        scale=heat.scale_of(flat, seen.show),
        shown=heat.SHOWN,
        example=_example(flat),
        counted=_counted(flat),
        measurements=len({e.measurement for e in seen.matrix.evaluations}),
        models=_models(seen),
        at_once=AT_ONCE,
        may_measure=caller().role != "reader",
    )


def _selection() -> Selection | None:
    queries.accept(*selections.FIELDS, many=selections.MANY)
    with current_registry().reading() as session:
        return selections.read(session, caller())


def _example(flat: Iterable[Cell]) -> Cell | None:
    """A cell to read the matrix by: the largest gain of one version on the vectors of another."""
    measured = [cell for cell in flat if cell.best and cell.state != "own"]
    return max(measured, key=lambda cell: cell.best.gain if cell.best else 0.0, default=None)


def _counted(flat: Iterable[Cell]) -> dict[str, int]:
    """How many pairs have each state; a version with itself is no pair."""
    states = [cell.state for cell in flat if cell.query != cell.gallery]
    return {state: states.count(state) for state in STATES if state in states}


def _models(seen: Selection) -> list[tuple[str, str]]:
    """Models to choose from, with how many of their versions are measured; the largest ones where there are many."""
    most = sorted(seen.counts, key=lambda name: -seen.counts[name])[:_MODELS_SUGGESTED]
    if seen.model and seen.model not in most:
        most.append(seen.model)
    return [(name, f"{name} ({seen.counts.get(name, 0)})") for name in sorted(most)]


# The file


@blueprint.get("/matrix.csv")
def matrix_file() -> Response:
    """All numbers of the matrix: a row for each cell and path."""
    seen = _selection()
    if seen is None:
        raise NotFound("there is no benchmark: create one with reg.create_gallery(NAME, labels=[...])")
    name = f"matrix {seen.matrix.benchmark} {seen.matrix.label} {seen.matrix.metric}.csv"
    header = (
        "benchmark", "label", "metric", "query", "gallery", "state", "role", "best", "way", "query_path", "gallery_path",
        "share", *_NUMBERS, "measured_at",
    )  # fmt: skip
    return sheets.saved(name, header, _rows(seen))


def _rows(seen: Selection) -> Iterator[Sequence[Any]]:
    place = (seen.matrix.benchmark, seen.matrix.label, seen.matrix.metric)
    for cell in chain.from_iterable(row for _, row in cells(seen.matrix)):
        pair = (*place, cell.query, cell.gallery, cell.state)
        measured = [cell.best, *cell.others] if cell.best else cell.others
        if not measured:
            yield (*pair, *(None for _ in range(7 + len(_NUMBERS))))
        for e in measured:
            yield (*pair, *_numbers(e, cell))


def _numbers(e: Evaluation, cell: Cell) -> Sequence[Any]:
    is_best = e is cell.best
    steps = (" > ".join(e.query_path), " > ".join(e.gallery_path))
    share = cell.share if is_best else None
    return (
        e.role, "yes" if is_best else "no", e.way, *steps, share, *(getattr(e, name) for name in _NUMBERS), iso(e.created_at)
    )  # fmt: skip


# Measuring


@blueprint.post("/matrix/evaluate")
def matrix_evaluate() -> BaseResponse:
    """Measure versions with each other."""
    benchmark, label = request.form.get("benchmark", ""), request.form.get("label") or None
    versions = [ref for ref in request.form.get("versions", "").split(",") if ref]
    if not benchmark or not 1 <= len(versions) <= AT_ONCE:
        raise InvalidInput(
            f"the form names no benchmark, or no 1 to {AT_ONCE} versions: open the page again, then send it"
        )
    caller().require("writer", galleries=[benchmark])
    covers(*versions)
    registry = current_registry()

    def work(progress: Progress) -> None:
        registry.evaluate(benchmark, versions=versions, label=label, progress=progress)

    seen = url_for(
        "pages.matrix", benchmark=benchmark, label=label, metric=request.form.get("metric") or None,
        show=request.form.get("show") or None, versions=",".join(versions),
    )  # fmt: skip
    return working(work, what=f"an evaluation of {benchmark}", done=seen)
