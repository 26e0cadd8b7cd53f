"""The items of a study, as the two maps of the comparison draw them."""

from __future__ import annotations

from flask import Response, request

from registry.types import Study
from web import points, queries
from web.access import caller
from web.api.base import model_of
from web.current import current_registry
from web.pages.base import blueprint

__all__: list[str] = []


@blueprint.get("/studies/<id>/points", endpoint="points")
def study_points(id: str) -> Response:
    """The items in the form of `web.points`, by gzip for whoever takes it.

    A study never changes, but who may see it does: browsers keep the answer and ask each time whether it is still theirs,
    which costs no bytes.
    """
    queries.accept()
    study = _seen(id)
    answer = Response(mimetype="application/octet-stream")
    version = f"{points.FORM}-{study.id}"
    answer.set_etag(version, weak=True)  # of both encodings
    answer.vary.add("Accept-Encoding")
    if not request.if_none_match.contains_weak(version):
        _fill(answer, study)
    return answer.make_conditional(request)  # type: ignore[return-value]  # it returns what it was called on


def _seen(id: str) -> Study:
    """A study whose models and benchmark the caller's token covers."""
    found = current_registry().stored_study(id)
    models = [*model_of(found.old), *model_of(found.new)]
    caller().require_of(f"study {found.id}", models=models, galleries=[found.benchmark])
    return found


def _fill(answer: Response, study: Study) -> None:
    registry = current_registry()
    found = points.kept().get(study.id, lambda: points.encode(study, registry.study_items(study.id)))
    if request.accept_encodings["gzip"] > 0:
        answer.content_encoding = "gzip"
        answer.data = found.packed
    else:
        answer.data = found.plain
