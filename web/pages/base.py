"""What all pages share: their blueprint, and how one is made."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template

from web import queries
from web.comparisons import ANSWERS
from web.matrices import STATES, state_of

__all__ = ["blueprint", "render"]

blueprint = Blueprint("pages", __name__)


def render(template: str, *, section: str, **values: Any) -> str:
    """A page; `section` is the endpoint that the navigation shows as the current one."""
    return render_template(
        template, section=section, states=STATES, state_of=state_of, metrics=queries.METRICS, answers=ANSWERS, **values
    )
