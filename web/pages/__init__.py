"""The pages for people: one file for each subject, all on one blueprint."""

from __future__ import annotations

from web.pages import (  # noqa: F401
    backfills,
    changes,
    compare,
    galleries,
    home,
    indexes,
    maps,
    matrix,
    models,
    runs,
    search,
    settings,
    tokens,
    transforms,
    webhooks,
)
from web.pages.base import blueprint

__all__ = ["blueprint"]
