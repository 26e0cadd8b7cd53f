"""Routes of the service itself: tokens and webhooks."""

from __future__ import annotations

from datetime import timedelta

from flask import Response
from pydantic import BaseModel, Field

from registry import __version__
from registry.types import Delivery, Token, Webhook
from web.access import caller
from web.api.base import Body, Query, answer, blueprint, json_answer, tag
from web.current import current_registry, current_settings

TAG = tag("service", "Tokens, webhooks, and what is served; for admins")


class NamePath(BaseModel):
    """A token or webhook in the address."""

    name: str


class NewToken(Body):
    """What a token may do."""

    name: str
    role: str = "reader"
    models: list[str] | None = None
    galleries: list[str] | None = None
    expires_in_s: int | None = Field(None, ge=1, lt=10**10)


class NewWebhook(Body):
    """Who is told of what."""

    name: str
    url: str = Field(max_length=1000)
    events: list[str] | None = None
    secret: str | None = None


class Limit(Query):
    """How many."""

    limit: int = Field(100, ge=1, le=1000)


class Tokens(BaseModel):
    """All tokens."""

    tokens: list[Token]


class Webhooks(BaseModel):
    """All webhooks."""

    webhooks: list[Webhook]


class Deliveries(BaseModel):
    """What webhooks were told."""

    deliveries: list[Delivery]


class MadeToken(BaseModel):
    """A token and its text, which is given here once."""

    token: Token
    text: str


class MadeWebhook(BaseModel):
    """A webhook and its secret, which is given here once."""

    webhook: Webhook
    secret: str


class About(BaseModel):
    """Which release serves."""

    version: str
    revision: str | None


@blueprint.get("/about", tags=TAG, responses={200: About})
def about() -> Response:
    """Which release serves, and at which revision its database is."""
    return json_answer({"version": __version__, "revision": current_registry().revision()})


@blueprint.get("/tokens", tags=TAG, responses={200: Tokens})
def tokens() -> Response:
    """All tokens by name, without their texts."""
    caller().require("admin")
    return json_answer({"tokens": current_registry().tokens()})


@blueprint.post("/tokens", tags=TAG, responses={201: MadeToken})
def create_token(body: NewToken) -> Response:
    """A new token, and its text, which is given here once and kept nowhere."""
    caller().require("admin")
    lasts = None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s)
    token, text = current_registry().create_token(
        body.name, role=body.role, models=body.models, galleries=body.galleries, expires_in=lasts  # type: ignore[arg-type]
    )  # fmt: skip
    return json_answer({"token": token, "text": text}, 201)


@blueprint.delete("/tokens/<name>", tags=TAG, responses={200: answer(Token)})
def revoke_token(path: NamePath) -> Response:
    """Make a token good for nothing."""
    caller().require("admin")
    return json_answer(current_registry().revoke_token(path.name))


@blueprint.get("/webhooks", tags=TAG, responses={200: Webhooks})
def webhooks() -> Response:
    """All webhooks by name, without their secrets."""
    caller().require("admin")
    return json_answer({"webhooks": current_registry().webhooks()})


@blueprint.post("/webhooks", tags=TAG, responses={201: MadeWebhook})
def add_webhook(body: NewWebhook) -> Response:
    """Let an address be told of events; its secret is given here once."""
    caller().require("admin")
    given = body.model_dump(exclude_none=True)
    hosts = current_settings().webhook_hosts
    webhook, secret = current_registry().add_webhook(given.pop("name"), given.pop("url"), **given, allowed=hosts)
    return json_answer({"webhook": webhook, "secret": secret}, 201)


@blueprint.delete("/webhooks/<name>", tags=TAG, responses={204: None})
def remove_webhook(path: NamePath) -> tuple[str, int]:
    """Remove a webhook and what it was not told yet."""
    caller().require("admin")
    current_registry().remove_webhook(path.name)
    return "", 204


@blueprint.get("/deliveries", tags=TAG, responses={200: Deliveries})
def deliveries(query: Limit) -> Response:
    """What webhooks were or are to be told, newest first."""
    caller().require("admin")
    return json_answer({"deliveries": current_registry().deliveries(limit=query.limit)})
