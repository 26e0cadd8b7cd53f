"""Holding the facts against the files: everything acknowledged must be there, whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from registry import canaries, transforms
from registry.data_files import fault
from registry.database import HEAD, Database
from registry.errors import CorruptFile, SamespaceError
from registry.findings import Finding
from registry.indexes.files import digest_of
from registry.inventory import Inventory, StoredDataset, StoredFile, StoredIndexFiles, inventory
from registry.layout import Layout
from registry.study import items

__all__ = ["Progress", "check", "faults_of", "revision_of"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_MEND = "restore the newest backup: 'samespace db restore BACKUP --home NEW'"


def check(database: Database, layout: Layout, *, progress: Progress | None = None) -> list[Finding]:
    """Everything that the facts say is stored: what is wrong with it, and a line for what is in order."""
    revision = revision_of(database)
    if revision.level != "ok":
        return [revision]
    if wrong := list(_broken_database(database)):
        return [revision, *wrong]  # what such facts say of the files means nothing
    with database.reading() as session:
        found = inventory(session, layout)
    wrong = [
        *_broken_datasets(database, layout, found, progress),
        *_broken_files(found),
        *_broken_indexes(database, layout, found),
    ]
    counted = f"{len(found.datasets)} datasets, {len(found.files)} transforms, canaries and studies"
    return [revision, *(wrong or [Finding("ok", "files", f"{counted}, all as the facts say")])]


def revision_of(database: Database) -> Finding:
    """The database's revision against the one of this release; that it cannot be opened is a finding too."""
    try:
        at = database.revision()
    except CorruptFile as error:
        return Finding("problem", "database", str(error), _MEND)
    except SamespaceError as error:
        return Finding("problem", "database", str(error), "check --home and --database, and that the database runs")
    found = f"revision {at or 'none'}, this release wants {HEAD}"
    if at == HEAD:
        return Finding("ok", "database", found)
    newer = at is not None and at > HEAD
    return Finding("problem", "database", found, "upgrade samespace" if newer else "run 'samespace db upgrade'")


def faults_of(found: Inventory) -> Iterator[tuple[StoredDataset | StoredFile, str]]:
    """What of an inventory is damaged, and how."""
    for dataset in found.datasets:
        if why := fault(dataset):
            yield dataset, why
    for file in found.files:
        if why := _fault_of_file(file):
            yield file, why


def _broken_database(database: Database) -> Iterator[Finding]:
    """What SQLite finds in its own file; PostgreSQL looks after itself."""
    if database.engine.dialect.name != "sqlite":
        return
    try:
        with database.reading() as session:
            for line in session.scalars(text("PRAGMA integrity_check(20)")):
                if line != "ok":
                    yield Finding("problem", "database", f"SQLite: {line}", _MEND)
            for table, row, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
                yield Finding("problem", "database", f"row {row} of {table} refers to a missing row of {parent}", _MEND)
    except DatabaseError as error:  # too damaged to be looked through
        yield Finding("problem", "database", f"SQLite: {error.orig}", _MEND)


def _broken_datasets(
    database: Database, layout: Layout, found: Inventory, progress: Progress | None
) -> Iterator[Finding]:
    left, total = list(found.datasets), len(found.datasets)
    while left:
        faults = []
        for done, stored in enumerate(left, 1):
            if why := fault(stored):
                faults.append((stored, why))
            if progress:
                progress("checking", total - len(left) + done, total)
        if not faults:
            return
        # Somebody may have written meanwhile: what was looked at counts only where the facts still say it.
        with database.reading() as session:
            now = inventory(session, layout).datasets
        for stored, why in faults:
            if stored in now:
                what = f"{stored.gallery}/{stored.path.name}"
                yield Finding("problem", what, f"{why} ({stored.rows} rows acknowledged)", _MEND)
        changed = {stored.path for stored, _ in faults if stored not in now}
        left = [stored for stored in now if stored.path in changed]


def _broken_files(found: Inventory) -> Iterator[Finding]:
    for stored in found.files:
        if why := _fault_of_file(stored):
            mend = f"copy {stored.path.name} from a backup's files/{stored.path.parent.name}, or {_MEND}"
            yield Finding("problem", f"{stored.kind} {stored.of}", why, mend)


def _broken_indexes(database: Database, layout: Layout, found: Inventory) -> Iterator[Finding]:
    """Nothing that was acknowledged is in an index, and searches go on without it, only slower."""
    faults = [(index, why) for index in found.indexes if (why := _fault_of_index(index))]
    with database.reading() as session:
        now = inventory(session, layout).indexes if faults else ()
    for index, why in faults:
        if index in now:  # else it was replaced while it was looked at
            mend = f"'samespace gallery index build {index.gallery} --version {index.version}' builds it again"
            yield Finding("warning", f"index of {index.version} in {index.gallery}", why, mend)


def _fault_of_index(index: StoredIndexFiles) -> str | None:
    name = index.paths[0].stem
    try:
        return None if digest_of(index.paths) == index.digest else f"{name} fails its checksum"
    except OSError:
        return f"{name} is gone, or cannot be read"


def _fault_of_file(stored: StoredFile) -> str | None:
    """What is wrong with the file of a transform, of canaries, of a study or of a backfill."""
    try:
        data = stored.path.read_bytes()
        if stored.kind == "canaries":
            canaries.loads(data, digest=stored.digest, name=stored.path.name)
        elif stored.kind in ("study", "backfill"):
            items.loads(data, digest=stored.digest, name=stored.path.name)
        elif transforms.loads(data, name=stored.path.name).digest() != stored.digest:
            return f"{stored.path.name} holds another transform"
    except FileNotFoundError:
        return f"{stored.path.name} is gone"
    except (SamespaceError, OSError) as error:
        return str(error).split(";")[0]
    return None
