"""The indexes of a gallery on its page: what each costs and loses, and a button that builds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.errors import InvalidInput
from registry.services import indexes as services
from registry.types import IndexInfo
from web.access import Caller, caller
from web.api.base import covers
from web.current import current_registry
from web.lines import Progress
from web.pages.base import blueprint
from web.pages.working import working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from registry.services.readers import Stored

__all__ = ["Indexed", "rows"]


@dataclass(frozen=True, slots=True)
class Indexed:
    """A segment and its index, if it has one."""

    version: str
    rows: int
    index: IndexInfo | None


def rows(session: Session, who: Caller, gallery: str, shown: Sequence[Stored]) -> list[Indexed]:
    """The indexes of the segments that a page shows. Two statements."""
    found = {i.version: i for i in services.indexes(session, gallery=gallery, models_among=who.models)}
    return [Indexed(s.version, s.rows, found.get(s.version)) for s in shown]


@blueprint.post("/galleries/<name>/index")
def gallery_index(name: str) -> BaseResponse:
    """Build an index, of the kind that fits the number of rows, over what a version stored."""
    version = request.form.get("version", "")
    if not version:
        raise InvalidInput("the form names no version: open the page again, then send it")
    caller().require("writer", galleries=[name])
    covers(version)
    registry = current_registry()

    def work(progress: Progress) -> None:
        registry.build_index(name, version, progress=progress)

    done = url_for("pages.gallery", name=name, _anchor="indexes")
    return working(work, what=f"an index of {version} in {name}", done=done)
