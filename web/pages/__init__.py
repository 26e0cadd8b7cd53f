"""The pages for people: one file for each subject, all on one blueprint."""

from __future__ import annotations

from web.pages import changes, compare, galleries, home, matrix, models, runs, search, service, transforms  # noqa: F401
from web.pages.base import blueprint

__all__ = ["blueprint"]
