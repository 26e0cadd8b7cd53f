"""Backups: a folder that holds the facts of one moment and exactly the files that those facts refer to.

    <backup>/manifest.json     when, of which release and revision, and every file with its size and sha-256
    <backup>/facts.db          all tables, as SQLite, wherever they came from
    <backup>/files/…           galleries, transforms, canaries, studies and backfills, in the order of a registry's folder

Nobody has to stop for it. The facts come first, from one snapshot; the files that they refer to never change, and what
replaces them leaves them in place for a day (`registry.gallery.superseded`). The manifest is written last: a folder
without one is no backup. Search indexes, which follow from the vectors, and MLflow's own files are not part of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import delete

from registry import __version__
from registry.checking import Progress, faults_of
from registry.copying import copied, digest_of_file, is_free, make_folder, write_durably
from registry.data_files import files_at
from registry.database import HEAD, Database, address_in
from registry.errors import AlreadyExists, CorruptFile, InvalidInput, MigrationNeeded, SamespaceError, Unavailable
from registry.facts import copy_facts
from registry.inventory import Inventory, inventory
from registry.layout import Layout
from registry.places import Place
from registry.stores import claim, note
from registry.tables import IndexRow, now

__all__ = ["Entry", "Manifest", "backup", "restore", "verified"]

_MANIFEST, _FACTS, _FILES, _GALLERIES = "manifest.json", "facts.db", "files", "galleries"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, and of when it is."""

    at: datetime
    samespace: str
    revision: str
    galleries: int
    files: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files)


def backup(layout: Layout, database: Database, target: Path, *, progress: Progress | None = None) -> Manifest:
    """Back a registry up into a new folder, whoever works in it meanwhile.

    Everything that was acknowledged before is in it; of what happens meanwhile, each change is in it whole or not at all.

    Raises:
        AlreadyExists: the folder holds something.
        MigrationNeeded: the database is of another release.
        CorruptFile: something that the facts refer to is missing or damaged.
    """
    if (at := database.revision()) != HEAD:
        raise MigrationNeeded(
            f"the database is at revision {at}, this release backs up {HEAD}: take the backup with the release that the "
            "database is of, or run 'samespace db upgrade' first"
        )
    with _new_folder(target):
        begun = now()
        found = _save_facts(layout, database, target / _FACTS)
        sources = [Place(target / _FACTS), *_files_of(found)]
        names = [_FACTS, *(f"{_FILES}/{_within(layout, source)}" for source in sources[1:])]
        entries = _copy_all("copying", sources, [Place(target / name) for name in names], names, progress)
        _refuse_damaged(_moved(found, layout, Layout(target / _FILES)))
        manifest = Manifest(begun, __version__, HEAD, len(found.galleries), tuple(entries))
        write_durably(target / _MANIFEST, _dumped(manifest))
    return manifest


def verified(source: Path, *, progress: Progress | None = None) -> Manifest:
    """The manifest of a backup, once every file was found to be what was written.

    Raises:
        InvalidInput: the folder holds no backup, or one that was not finished.
        MigrationNeeded: a newer release made it.
        CorruptFile: a file is missing, damaged or changed.
    """
    manifest = _manifest(source)
    tally = _Tally("verifying", manifest.bytes, progress)
    for entry in manifest.files:
        file = source / entry.path
        if not file.is_file() or file.is_symlink():
            raise CorruptFile(f"{file} is missing: this backup is not whole, use another")
        if file.stat().st_size != entry.bytes or digest_of_file(file, tally) != entry.sha256:
            raise CorruptFile(f"{file} fails its checksum: it was damaged or changed, use another backup")
    return manifest


def restore(
    source: Path,
    home: Path,
    *,
    address: str | None = None,
    galleries: str | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Build a new home from a backup, in full or not at all; the facts go into the database at `address` if one is given.

    So do the galleries to the place `galleries`, see `registry.connect`; wherever they were, by default they come home.

    Raises:
        AlreadyExists: the home, the database, or the place of the galleries holds something.
        InvalidInput, MigrationNeeded, CorruptFile: see `verified`.
        Unavailable: the home cannot be made, or the store does not answer.
    """
    home = home.expanduser().absolute()
    elsewhere = None if galleries is None else Place.named(galleries)
    elsewhere = None if elsewhere == str(home / "galleries") else elsewhere
    if not is_free(home):
        raise AlreadyExists(f"{home} holds something: name a folder that is new or empty")
    manifest = verified(source, progress=progress)
    staging = home.with_name(f".{home.name}.restoring")
    if staging.exists():
        raise AlreadyExists(
            f"{staging} is left of a restore that was stopped, or one is running: remove it, then retry"
        )
    try:
        with _claimed(elsewhere) as owner:
            _stage(source, manifest, Layout(staging, elsewhere), owner, progress)
            _put_in_place(Layout(staging), home, address)
    except OSError as error:
        raise Unavailable(f"{home} cannot be made: {error.strerror}; nothing was restored") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


@contextmanager
def _claimed(elsewhere: Place | None) -> Iterator[str]:
    """A place for galleries, which the block fills; emptied again if the block fails."""
    if elsewhere is None:
        yield ""
        return
    owner = claim(elsewhere)
    try:
        yield owner
    except BaseException:
        with suppress(SamespaceError, OSError):  # what is left there is named by the next who wants the place
            elsewhere.remove()
        raise


@contextmanager
def _new_folder(target: Path) -> Iterator[None]:
    """A folder for the block to fill; emptied again if the block fails."""
    if target.exists() and not target.is_dir():
        raise InvalidInput(f"{target} is a file: name a folder; to have one file, pack the folder with tar afterwards")
    if not is_free(target):
        raise AlreadyExists(f"{target} holds something: name a folder that is new or empty")
    before = target.exists()
    try:
        make_folder(target)
        yield
    except BaseException as error:
        for left in target.iterdir() if target.is_dir() else ():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if not before and target.is_dir():
            target.rmdir()
        if isinstance(error, OSError):
            raise Unavailable(f"{target} cannot be written: {error.strerror}; no backup was made") from error
        raise


def _save_facts(layout: Layout, database: Database, file: Path) -> Inventory:
    """Copy one snapshot of the facts into a new SQLite file; return what that very snapshot refers to."""
    file.touch(mode=0o600)
    target = Database(address_in(file))
    try:
        with database.reading() as session, target.building() as connection:
            copy_facts(session, connection)
            connection.execute(
                delete(IndexRow)
            )  # an index follows from the vectors: it is built again where it is wanted
            return inventory(session, layout)
    finally:
        target.close()


def _files_of(found: Inventory) -> Iterator[Place]:
    """Every file that an inventory needs."""
    for stored in found.datasets:
        yield from (stored.path / name for name in files_at(stored.path, stored.version))
    yield from (Place(stored.path) for stored in found.files)


def _within(layout: Layout, file: Place) -> str:
    """The way to a file from a registry's folder, as if its galleries were there."""
    if file.startswith(f"{layout.galleries}/"):
        return f"{_GALLERIES}/{file.below(layout.galleries)}"
    return file.below(Place(layout.root))


def _copy_all(
    what: str, sources: Sequence[Place], targets: Sequence[Place], names: Sequence[str], progress: Progress | None
) -> list[Entry]:
    """Copy files, those that are in place already being only read; return the entry of each."""
    try:
        tally = _Tally(what, sum(_sizes(sources)), progress)
        entries = []
        for source, target, name in zip(sources, targets, names, strict=True):
            before = tally.done
            digest = digest_of_file(target, tally) if source == target else copied(source, target, tally)
            entries.append(Entry(name, tally.done - before, digest))
    except FileNotFoundError as error:
        raise CorruptFile(
            f"{error.filename} is gone: run 'samespace db check'; if a copy took more than a day, take it again"
        ) from error
    return entries


def _sizes(files: Sequence[Place]) -> Iterator[int]:
    """The size of each file; those of one folder of a store are asked for together."""
    folders = {Place(file.rsplit("/", 1)[0]) for file in files if not file.is_local}
    there = {found.place: found.bytes for folder in folders for found in folder.files()}
    return (Path(file).stat().st_size if file.is_local else there.get(file, 0) for file in files)


def _moved(found: Inventory, source: Layout, target: Layout) -> Inventory:
    """The same inventory in another folder."""
    return Inventory(
        found.galleries,
        tuple(
            replace(stored, path=target.galleries / stored.path.below(source.galleries)) for stored in found.datasets
        ),
        tuple(replace(stored, path=target.root / stored.path.relative_to(source.root)) for stored in found.files),
    )


def _refuse_damaged(found: Inventory) -> None:
    for stored, why in faults_of(found):
        raise CorruptFile(f"{stored.path} {why}: run 'samespace db check', which says how to mend it")


def _stage(source: Path, manifest: Manifest, staging: Layout, owner: str, progress: Progress | None) -> None:
    """Copy a backup into a folder that nobody knows yet, and hold its facts against its files."""
    names = [entry.path for entry in manifest.files]
    places = [_place(staging, name) for name in names]
    entries = _copy_all("restoring", [Place(source / name) for name in names], places, names, progress)
    if tuple(entries) != manifest.files:
        raise CorruptFile(f"{source} changed while it was read: leave it alone, and try again")
    for folder in staging.folders:
        make_folder(folder)
    facts = Database(address_in(staging.database))
    try:
        facts.ensure()  # of an older release, it is brought to this one's revision
        with facts.writing() as session:
            note(session, staging.elsewhere or "", owner)
        with facts.reading() as session:
            _refuse_damaged(inventory(session, staging))
    finally:
        facts.close()


def _place(staging: Layout, name: str) -> Place:
    """Where a file of a backup goes."""
    if name == _FACTS:
        return Place(staging.database)
    folder, *rest = PurePosixPath(name).relative_to(_FILES).parts
    return Place("/".join((staging.galleries if folder == _GALLERIES else str(staging.root / folder), *rest)))


def _put_in_place(staging: Layout, home: Path, address: str | None) -> None:
    if address is None:
        staging.root.rename(home)
        return
    facts, target = Database(address_in(staging.database)), Database(address)
    try:
        with target.building() as connection:
            with facts.reading() as session:
                copy_facts(session, connection)
            facts.close()
            staging.database.unlink()
            staging.root.rename(home)  # last, and before the commit: a folder is easier to take back than a database
    except BaseException:
        if not staging.root.exists():
            home.rename(staging.root)
        raise
    finally:
        facts.close()
        target.close()


class _Tally:
    """Adds up bytes, and tells of them."""

    def __init__(self, what: str, total: int, progress: Progress | None) -> None:
        self._what, self._total, self._progress, self.done = what, total, progress, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self._progress:
            self._progress(self._what, self.done, self._total)


def _dumped(manifest: Manifest) -> bytes:
    content = {"format": _FORMAT, **asdict(manifest), "at": manifest.at.isoformat()}
    return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _manifest(source: Path) -> Manifest:
    file = source / _MANIFEST
    if not file.is_file():
        raise InvalidInput(f"{source} holds no {_MANIFEST}, so no backup, or one that was stopped: name a finished one")
    try:
        content = json.loads(file.read_bytes())
        sound = content.pop("sha256") == _digest(content)
        format, entries = content.pop("format"), [Entry(**entry) for entry in content.pop("files")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFile(f"{file} is no manifest of a backup: use another backup") from error
    if not sound or not all(_is_inside(entry.path) for entry in entries):
        raise CorruptFile(f"{file} fails its checksum: it was damaged or changed, use another backup")
    if format != _FORMAT or content["revision"] > HEAD:
        raise MigrationNeeded(
            f"{source} was made by samespace {content['samespace']}, at revision {content['revision']}; this release knows "
            f"{HEAD}: upgrade samespace"
        )
    content["at"] = datetime.fromisoformat(content["at"])
    return Manifest(**content, files=tuple(entries))


def _is_inside(path: str) -> bool:
    """Whether the path of an entry is one that a backup writes, and leads nowhere else."""
    parts = PurePosixPath(path).parts
    return path == _FACTS or (len(parts) > 2 and parts[0] == _FILES and not {"..", "/"} & set(parts))
