"""`connect`: one call for a folder on this machine or a server elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from registry.errors import InvalidInput, MissingExtra, Unavailable

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["connect"]


def connect(home: str | os.PathLike[str], *, database: str | None = None) -> Registry:
    """Open the registry in the folder `home`, creating it on first use.

    Args:
        home: the folder of the registry.
        database: an SQLAlchemy address for the facts, such as `postgresql+psycopg://…`; by default SQLite in the folder.

    Raises:
        MissingExtra: the `server` extra, which an embedded registry needs, is not installed.
        MigrationNeeded: the database belongs to another release.
    """
    if not isinstance(home, str | os.PathLike) or "\0" in os.fspath(home):
        raise InvalidInput(f"home must be the path of a folder, got {home!r:.120}")
    if str(home).startswith(("http://", "https://")):
        raise Unavailable(f"this release opens folders only, got {home}: give the registry's folder")
    try:
        from registry.embedded import Registry
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "registry":
            raise
        raise MissingExtra(f"an embedded registry needs {error.name}: pip install 'samespace[server]'") from error
    return Registry.open(home, database=database)
