"""The audit log: who changed what, and when."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import url_for

from registry.errors import InvalidInput
from registry.types import ACTIONS
from web import changelog, queries
from web.access import caller
from web.current import current_registry
from web.pages.base import blueprint, render

__all__: list[str] = []

_AT_ONCE = 50
_FILTERS = ("action", "subject", "who", "since", "until")


@blueprint.get("/changes")
def changes() -> str:
    """The audit log, newest first, of what the filters let through; both days of `since` and `until` are in."""
    queries.accept(*_FILTERS, "after")
    if not caller().unlimited:  # it names every model and gallery
        return render("changes.html", section="pages.changes", lines=None)
    asked: dict[str, Any] = {name: value for name in _FILTERS if (value := queries.optional(name))}
    given = dict(asked)
    if "since" in asked:
        given["since"] = _midnight("since", asked["since"])
    if "until" in asked:
        given["until"] = _midnight("until", asked["until"], days=1)
    after = queries.optional("after")
    found = current_registry().page("changes", after=after, limit=_AT_ONCE, **given)
    return render(
        "changes.html",
        section="pages.changes",
        lines=changelog.lines(found.items),
        actions=ACTIONS,
        asked=asked,
        following=found.next and url_for("pages.changes", **asked, after=found.next),
        start=after and url_for("pages.changes", **asked),
    )


def _midnight(name: str, text: str, *, days: int = 0) -> datetime:
    """The beginning of a day in UTC, or of the day that comes so many `days` later."""
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=days), time(), UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a day such as 2026-01-31, got {text!r:.80}") from error
