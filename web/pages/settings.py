"""Settings, for admins: how this server runs. They are the environment's, and are only shown here."""

from __future__ import annotations

from dataclasses import dataclass, fields

from registry import __version__
from registry.installed import releases
from registry.settings import Settings, variable
from web import queries
from web.access import caller, known_tokens
from web.current import current_registry, current_settings
from web.pages.base import blueprint, render

__all__: list[str] = []

_DATABASES = {"sqlite": "SQLite, in the home", "postgresql": "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting as it is shown; `value` is None for a secret that is given, and empty where nothing is."""

    name: str
    variable: str
    help: str
    value: str | None
    is_default: bool


@blueprint.get("/settings")
def settings() -> str:
    """How this server runs."""
    caller().require("admin")
    queries.accept()
    registry = current_registry()
    with registry.reading() as session:
        database = session.get_bind().dialect.name
    return render(
        "settings.html",
        section="pages.settings",
        settings=_settings(current_settings()),
        release=__version__,
        revision=registry.revision(),
        home=registry.home,
        database=_DATABASES.get(database, database),
        has_tokens=known_tokens().any(),
        installed=releases(),
    )


def _settings(found: Settings) -> list[_Setting]:
    return [
        _Setting(
            f.name, variable(f.name), f.metadata["help"], _shown(found, f.name), getattr(found, f.name) == f.default
        )
        for f in fields(found)
    ]


def _shown(found: Settings, name: str) -> str | None:
    value = getattr(found, name)
    is_secret = next(f.metadata["secret"] for f in fields(found) if f.name == name)
    return None if is_secret and value else str(value)
