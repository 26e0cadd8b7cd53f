"""Routes of what there is in all, and of what needs a person."""

from __future__ import annotations

from flask import Response
from pydantic import BaseModel, Field

from registry.errors import NotAllowed
from registry.types import Comparison, Counts, Decision
from web.access import caller
from web.api.base import MOST_ITEMS, Query, answer, blueprint, json_answer, tag
from web.current import current_registry

TAG = tag("overview", "How much there is, and what needs a person's decision")

_MOST_UPGRADES = 100  # each holds all cells of two versions


class Most(Query):
    """How many."""

    limit: int = Field(100, ge=1, le=MOST_ITEMS, description="the most decisions")


class Decisions(BaseModel):
    """What needs a decision."""

    decisions: list[Decision]


class Upgraded(Query):
    """How many."""

    limit: int = Field(10, ge=1, le=_MOST_UPGRADES, description="the most pairs of versions")


class Upgrades(BaseModel):
    """The upgrades that were measured last."""

    upgrades: list[Comparison]


@blueprint.get("/counts", tags=TAG, responses={200: answer(Counts)})
def counts() -> Response:
    """How much there is of everything; for callers who see everything."""
    who = caller()
    if not who.unlimited:
        raise NotAllowed(f"{who.name} does not cover everything, which is counted here: list what it covers instead")
    return json_answer(current_registry().counts())


@blueprint.get("/decisions", tags=TAG, responses={200: Decisions})
def decisions(query: Most) -> Response:
    """What needs a person's decision, the most urgent first, each with the command that would change it."""
    who = caller()
    found = current_registry().decisions(limit=query.limit, models=who.models, galleries=who.galleries)
    return json_answer({"decisions": found})


@blueprint.get("/upgrades", tags=TAG, responses={200: Upgrades})
def upgrades(query: Upgraded) -> Response:
    """The upgrades that were measured last: an older and a newer version each, compared as /compare does."""
    who = caller()
    found = current_registry().upgrades(limit=query.limit, models=who.models, galleries=who.galleries)
    return json_answer({"upgrades": found})
