"""Which place holds a registry's galleries: decided when it is first opened, and remembered with its facts."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import lance
import pyarrow as pa
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.database import HEAD, Database
from registry.errors import AlreadyExists, InvalidInput, SamespaceError, Unavailable
from registry.places import Place, why_not
from registry.tables import GalleryRow, StoreRow

__all__ = ["claim", "note", "remembered", "settled"]

_OWNER = "_owner.lance"  # no gallery can be called so


def settled(database: Database, root: Path, galleries: str | os.PathLike[str] | None) -> Place | None:
    """Where the galleries of a registry are, unless in its home; `galleries` says where, the first time for good.

    Raises:
        InvalidInput: no such address can be, or they are elsewhere.
        AlreadyExists: something is there, perhaps of another registry.
        Unavailable: the store cannot be reached, or refuses.
    """
    wanted = _named(root, galleries)
    with database.reading() as session:
        row = session.get(StoreRow, 1)
    address = row.address if row else _first(database, wanted or "")
    return _agreed(address, wanted)


def remembered(database: Database, root: Path, galleries: str | os.PathLike[str] | None) -> Place | None:
    """The same for whoever only looks: nothing is decided, nor if the database cannot say."""
    wanted = _named(root, galleries)
    try:
        if database.revision() != HEAD:
            return None
        with database.reading() as session:
            row = session.get(StoreRow, 1)
    except SamespaceError:  # which will be found, and told, by what looks at the facts
        return None
    return _agreed(row.address if row else "", wanted)


def claim(place: Place) -> str:
    """Take an empty place for one registry alone, with a note whose it is; return what the note says.

    Raises:
        AlreadyExists, Unavailable: see `settled`.
    """
    owner = uuid4().hex
    taken = f"{place} holds something, perhaps the galleries of another registry: name a place that holds nothing"
    try:
        place.make()
        if place.entries():
            raise AlreadyExists(taken)
        table = pa.table({"registry": [owner]})
        made = lance.write_dataset(table, place / _OWNER, mode="create", storage_options=place.options or None)
        # Of those who come at once one puts the first manifest, in a store by a conditional put; Lance lets the others
        # go on and write a second, as if they had come later.
        if made.version != 1:
            raise AlreadyExists(taken)
    except (OSError, ValueError) as error:
        if isinstance(error, SamespaceError):
            raise
        if "already exists" in str(error) or "conflict" in str(error):
            raise AlreadyExists(taken) from None
        first = (str(error).splitlines() or ["no reason given"])[0]
        why = why_not(place, error)
        raise Unavailable(f"{place} cannot hold galleries: {f'the store {why}' if why else f'{first:.200}'}") from None
    return owner


def note(session: Session, address: str, owner: str) -> None:
    """Remember where the galleries are; "" is the home. What was remembered before is forgotten."""
    session.execute(delete(StoreRow))
    session.add(StoreRow(id=1, address=address, owner=owner))
    session.flush()


def _named(root: Path, galleries: str | os.PathLike[str] | None) -> Place | None:
    """The place that was asked for; "" is the home."""
    if galleries is None:
        return None
    named = Place.named(galleries)
    return Place("") if named == str(root / "galleries") else named


def _first(database: Database, wanted: str) -> str:
    """Decide; of processes that do so at once, one."""
    try:
        with database.writing() as session:
            if session.scalar(select(GalleryRow.id).limit(1)) is not None:
                wanted = ""  # of a release that knew no other place
            row = StoreRow(id=1, address=wanted, owner="")
            session.add(row)
            session.flush()  # whoever else decides waits, or has: before the place is claimed
            row.owner = claim(Place(wanted)) if wanted else ""
    except AlreadyExists:
        with database.reading() as session:
            there = session.get(StoreRow, 1)
        if there is None:
            raise
        return there.address
    return wanted


def _agreed(address: str, wanted: Place | None) -> Place | None:
    if wanted is not None and wanted != address:
        raise InvalidInput(
            f"the galleries of this registry are {f'at {address}' if address else 'in its home'}, not {wanted or 'there'}: "
            "leave galleries out; to move them, restore a backup with --galleries"
        )
    return Place(address) if address else None
