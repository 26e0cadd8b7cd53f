"""Tokens, for admins: made, listed and revoked."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus

from flask import Response, make_response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.types import TOKEN_ROLES, Token
from web import queries
from web.access import caller, known_tokens
from web.current import current_registry
from web.errors import status_of
from web.observing import note_error
from web.pages.base import blueprint, render

__all__: list[str] = []

_BETWEEN = re.compile(r"[\s,]+")


@blueprint.get("/tokens")
def tokens() -> str:
    """Tokens, and the form that makes one."""
    caller().require("admin")
    queries.accept()
    return _page()


@blueprint.post("/tokens")
def create_token() -> Response:
    """Make a token. Its text stands in this answer alone, which nothing keeps."""
    caller().require("admin")
    is_first = not known_tokens().any()
    try:
        made, text = _created(is_first)
    except (InvalidInput, AlreadyExists) as error:
        note_error(error.code)
        return make_response(_page(problem=str(error)), status_of(error))
    page = render("token_made.html", section="pages.tokens", token=made, text=text, is_first=is_first)
    response = make_response(page, HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/tokens/<name>/revoke")
def ask_to_revoke(name: str) -> str:
    """Ask whether a token is to be revoked."""
    caller().require("admin")
    queries.accept()
    found = next((t for t in current_registry().tokens() if t.name == name), None)
    if found is None:
        raise NotFound(f"there is no token {name!r:.120}: the page Tokens shows those there are")
    return render("token_revoke.html", section="pages.tokens", token=found)


@blueprint.post("/tokens/<name>/revoke")
def revoke_token(name: str) -> BaseResponse:
    """Revoke a token."""
    caller().require("admin")
    current_registry().revoke_token(name)
    return redirect(url_for("pages.tokens"), HTTPStatus.SEE_OTHER)


def _page(problem: str | None = None) -> str:
    listed = current_registry().tokens()
    return render(
        "tokens.html",
        section="pages.tokens",
        active=[t for t in listed if t.state == "active"],
        ended=[t for t in listed if t.state != "active"],
        is_first=not known_tokens().any(),
        roles=TOKEN_ROLES,
        problem=problem,
        given=request.form,
    )


def _created(is_first: bool) -> tuple[Token, str]:
    form = request.form
    if is_first and form.get("first") != "yes":
        raise InvalidInput("the first token closes this server to all who have none: tick the box that says so")
    return current_registry().create_token(
        form.get("name", "").strip(),
        role=form.get("role", "reader"),  # type: ignore[arg-type]  # checked there
        models=_names(form.get("models", "")),
        galleries=_names(form.get("galleries", "")),
        expires_in=_days(form.get("days", "").strip()),
    )


def _names(text: str) -> list[str] | None:
    """Names with commas or spaces between; None, which is all of them, for an empty text."""
    return [name for name in _BETWEEN.split(text) if name] or None


def _days(text: str) -> timedelta | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidInput(f"a token ends after a whole number of days, got {text!r:.80}: leave it empty for no end")
    return timedelta(days=int(text))
