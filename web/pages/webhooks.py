"""Webhooks, for admins: who is told of what, and whether it arrived."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, make_response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.addresses import host_of, parse
from registry.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from registry.types import EVENTS, Webhook
from web import queries
from web.access import caller
from web.current import current_registry, current_settings
from web.errors import status_of
from web.observing import note_error
from web.pages.base import blueprint, render

__all__: list[str] = []

_DELIVERIES = 30


@blueprint.get("/webhooks")
def webhooks() -> str:
    """Webhooks, what they were told last, and the form that adds one."""
    caller().require("admin")
    queries.accept()
    return _page()


@blueprint.post("/webhooks")
def add_webhook() -> Response:
    """Add a webhook. Its secret stands in this answer alone, which nothing keeps."""
    caller().require("admin")
    form = request.form
    name, url, events = form.get("name", "").strip(), form.get("url", "").strip(), form.getlist("events")
    try:
        made, secret = current_registry().add_webhook(
            name, url, events=events, allowed=current_settings().webhook_hosts
        )
    except (InvalidInput, AlreadyExists, Unavailable) as error:
        note_error(error.code)
        return make_response(_page(problem=str(error)), status_of(error))
    page = render("webhook_made.html", section="pages.tokens", webhook=made, host=_host(made), secret=secret)
    response = make_response(page, HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/webhooks/<name>/remove")
def ask_to_remove(name: str) -> str:
    """Ask whether a webhook is to be removed."""
    caller().require("admin")
    queries.accept()
    found = next((w for w in current_registry().webhooks() if w.name == name), None)
    if found is None:
        raise NotFound(f"there is no webhook {name!r:.120}: the page Webhooks shows those there are")
    return render("webhook_remove.html", section="pages.tokens", webhook=found, host=_host(found))


@blueprint.post("/webhooks/<name>/remove")
def remove_webhook(name: str) -> BaseResponse:
    """Remove a webhook."""
    caller().require("admin")
    current_registry().remove_webhook(name)
    return redirect(url_for("pages.webhooks"), HTTPStatus.SEE_OTHER)


def _page(problem: str | None = None) -> str:
    return render(
        "webhooks.html",
        section="pages.tokens",
        webhooks=[(w, _host(w)) for w in current_registry().webhooks()],
        deliveries=current_registry().deliveries(limit=_DELIVERIES),
        events=EVENTS,
        problem=problem,
        given=request.form,
        chosen=request.form.getlist("events") if problem else EVENTS,
    )


def _host(webhook: Webhook) -> str:
    """Of the address the host alone: its path may be a secret."""
    return host_of(parse(webhook.url))
