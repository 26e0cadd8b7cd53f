"""The folder and the database of a registry, for commands that look at them from outside and change nothing by opening."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registry.cli.context import Context
from registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from registry.database import Database
    from registry.layout import Layout

__all__ = ["place", "refuse_server"]


def refuse_server(context: Context) -> None:
    """InvalidInput for a home that is another machine's: what looks after files needs to be where they are."""
    if context.is_server:
        raise InvalidInput(f"{context.home} is a server: run this on its machine, with --home naming its folder")


def place(context: Context) -> tuple[Layout, Database]:
    """Where the registry is. NotFound where there is none, InvalidInput where it is another machine's."""
    from registry.database import Database, address_in
    from registry.layout import Layout
    from registry.stores import remembered

    refuse_server(context)
    layout = Layout(Path(context.home).expanduser().resolve())
    if not (layout.transforms.is_dir() if context.database else layout.database.is_file()):
        raise NotFound(f"there is no registry at {context.home}: check --home, or make one with 'samespace db upgrade'")
    database = Database(context.database or address_in(layout.database))
    return Layout(layout.root, remembered(database, layout.root, context.galleries)), database
