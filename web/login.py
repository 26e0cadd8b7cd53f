"""Signing in to the pages with a token, and out."""

from __future__ import annotations

import re
from typing import cast

from flask import Blueprint, Response, current_app, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.errors import NotSignedIn
from registry.services.tokens import digest
from web import sessions
from web.access import known_tokens
from web.attempts import Attempts

__all__ = ["blueprint", "local_path"]

blueprint = Blueprint("login", __name__)

_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")

_KEY = "samespace.attempts"
blueprint.record(lambda state: state.app.extensions.update({_KEY: Attempts()}))


@blueprint.route("/login", methods=["GET", "POST"], endpoint="page")
def page() -> BaseResponse:
    """The form, and what becomes of it."""
    if not known_tokens().any():  # nothing to sign in to
        return redirect(url_for("pages.index"))
    if request.method == "GET":
        return _form()
    address, attempts = request.remote_addr or "", cast("Attempts", current_app.extensions[_KEY])
    attempts.check(address)
    signing_in = digest(request.form.get("token", "").strip())
    try:
        token = known_tokens().of_digest(signing_in)
    except NotSignedIn as error:
        attempts.failed(address)
        current_app.logger.warning("a sign-in from %s failed: %s", address, error)
        return _form(str(error))
    sessions.begin(signing_in)
    current_app.logger.info("%s signed in from %s", token.name, address)
    return redirect(local_path(request.form.get("next")), 303)


@blueprint.post("/logout")
def logout() -> BaseResponse:
    """End the session."""
    sessions.end()
    return redirect(url_for("login.page"), 303)


def local_path(wanted: str | None) -> str:
    """`wanted` if it is a path on this server, else the first page: nobody is sent elsewhere after signing in."""
    return wanted if wanted and _LOCAL.fullmatch(wanted) else url_for("pages.index")


def _form(problem: str | None = None) -> Response:
    wanted = request.form.get("next") or request.args.get("next") or ""
    return make_response(render_template("login.html", problem=problem, next=wanted), 401 if problem else 200)
