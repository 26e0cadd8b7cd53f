"""One transform, and one anchor set: what they are, what they are for, and what was measured of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flask import url_for
from sqlalchemy import or_

from registry.paths import NEEDS_SIDE, Edge
from registry.refs import is_relative, relative
from registry.services import anchors, cells, evidence, links, transforms
from registry.tables import EvaluationRow
from registry.types import Evaluation, Page
from web import queries, reports
from web.access import Caller, caller
from web.api.base import model_of
from web.current import current_registry
from web.pages.base import blueprint, render

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from registry.types import TransformInfo

__all__: list[str] = []

_CELLS_SHOWN = 50
_TRANSFORMS_SHOWN = 100
_ITEMS_SHOWN = 60

KINDS = {
    "prefix": "The first dimensions of each vector, and nothing else: the model was trained so that its beginning lies in the other space.",
    "orthogonal": "A rotation, fitted so that both versions’ vectors of the same items come to lie on each other.",
    "affine": "A linear map and a shift, fitted by least squares with a ridge.",
    "lowrank": "A linear map of few dimensions and a shift, fitted by reduced-rank regression.",
    "mlp": "A small network, trained on both versions’ vectors of the same items.",
    "relative": "Each vector becomes its similarities to the anchors, as the same version embedded them: in that space all versions meet.",
    "slerp": "Between the old query and the rotated new one on the sphere: each query is needed in both versions.",
}
"""Kind -> what it does."""


@blueprint.get("/transforms/<id>")
def transform(id: str) -> str:
    """One transform: what it maps, what its fit says, what was measured through it, and the code to use it."""
    queries.accept("metric", "after")
    who, metric = caller(), queries.metric() or evidence.RANKING_METRIC
    with current_registry().reading() as session:
        found = transforms.to_info(transforms.transform(session, id))
        _require(who, session, found)
        measured = _measured(who, session, metric, _models(found.source, found.target), cells.through([id]))
    return render(
        "transform.html",
        section="pages.models",
        transform=found,
        says=KINDS.get(found.kind, ""),
        needs_side=found.kind in NEEDS_SIDE,
        relative=is_relative(found.target),
        compared=reports.compared(found.report),
        charts=reports.charts(found.report),
        lines=reports.lines(reports.rest(found.report)),
        measured=measured.items,
        metric=metric,
        **_paged("pages.transform", measured, id=id),
    )


@blueprint.get("/anchors/<name>", endpoint="anchors")
def anchor_set(name: str) -> str:
    """One anchor set: what spans the space, who reaches it, and how versions compare in it."""
    queries.accept("metric", "after")
    who, metric = caller(), queries.metric() or evidence.RANKING_METRIC
    with current_registry().reading() as session:
        found = anchors.of_space(session, relative(name))
        who.require_of(found.space, galleries=[found.gallery])
        into = transforms.transforms(session, target=found.space, limit=_TRANSFORMS_SHOWN)
        seen = [t for t in into.items if who.sees_model(t.source.partition("/")[0])]
        measured = _measured(who, session, metric, _models(*(t.source for t in seen)), _meeting(seen))
    return render(
        "anchors.html",
        section="pages.models",
        anchors=found,
        items=list(dict.fromkeys(found.ids)),
        most=_ITEMS_SHOWN,
        transforms=seen,
        more=into.next is not None,
        measured=measured.items,
        metric=metric,
        **_paged("pages.anchors", measured, name=name),
    )


def _require(who: Caller, session: Session, found: TransformInfo) -> None:
    """Go on only if the caller covers the models of both spaces, and the galleries of their anchors."""
    for space in (found.source, found.target):
        if not is_relative(space):
            who.require_of(f"transform {found.id}", models=model_of(space))
        elif who.galleries is not None:
            who.require_of(f"transform {found.id}", galleries=[anchors.of_space(session, space).gallery])


def _models(*spaces: str) -> set[str]:
    return {name for space in spaces if not is_relative(space) for name in model_of(space)}


def _meeting(found: Sequence[TransformInfo]) -> ColumnElement[bool]:
    """The cells of which a side is led into the relative space by one of these maps, and by nothing else."""
    chains = [links.chain(Edge(t.id, t.kind, t.source, t.target)) for t in found]
    return or_(EvaluationRow.query_path.in_(chains), EvaluationRow.gallery_path.in_(chains))


def _measured(
    who: Caller, session: Session, metric: str, models: Collection[str], going: ColumnElement[bool]
) -> Page[Evaluation]:
    """The newest cells of these models, of ways that are `going` so, as the caller sees them.

    What an upgrade is about comes first: short ways, for queries of a newer version on vectors of an older one.
    """
    where = [cells.near(models, metric, going), *cells.covered(who.models, who.galleries)]
    after = queries.optional("after")
    page = evidence.evaluations(session, metric=metric, where=where, after=after, limit=_CELLS_SHOWN)
    return replace(page, items=tuple(sorted(page.items, key=_order)))


def _order(e: Evaluation) -> tuple[str, str, int, bool]:
    steps = len(e.query_path) + len(e.gallery_path)
    return e.benchmark, e.label, steps, evidence.release_order(e.query) < evidence.release_order(e.gallery)


def _paged(endpoint: str, page: Page[Evaluation], **of: str) -> dict[str, Any]:
    """The addresses of the next part of what was measured, and of the first."""
    kept: dict[str, Any] = {**of, "metric": queries.optional("metric")}
    return {
        "next": url_for(endpoint, **kept, after=page.next) if page.next else None,
        "back": url_for(endpoint, **kept) if queries.optional("after") else None,
    }
