"""`samespace db`: the database's revision, facts against files, backups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.context import Context, pass_context
from registry.errors import SamespaceError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from registry.backup import Manifest
    from registry.checking import Progress


@click.group("db")
def command() -> None:
    """Look after the database, and take and restore backups."""


@command.command("upgrade")
@pass_context
def upgrade(context: Context) -> None:
    """Bring the database to this release's revision; does nothing if it is there."""
    from registry.cli.place import refuse_server

    refuse_server(context)
    with context.open(create=True) as reg:
        from registry.database import HEAD

        if not context.report({"revision": HEAD, "home": reg.home}):
            click.echo(f"{reg.home} is at revision {HEAD}")


@command.command("check")
@pass_context
def check(context: Context) -> None:
    """Check the database and its revision, and that every file that it refers to is there, whole; exit 1 if not.

    Galleries are opened and counted, and the sizes of their files compared; the vectors themselves are not read. It may
    run while others write.
    """
    from registry.checking import check
    from registry.cli.findings import show
    from registry.cli.place import place
    from registry.database import HEAD
    from registry.findings import has_problem

    layout, database = place(context)
    with _progress(context) as progress:
        findings = check(database, layout, progress=progress)
    revision: str | None = None
    with suppress(SamespaceError):  # then the findings say why there is none
        revision = database.revision()
    if not context.report({"revision": revision, "wanted": HEAD, "findings": findings}):
        show(context, f"{layout.root}", findings)
    database.close()
    if has_problem(findings):
        raise SystemExit(1)


@command.command("backup")
@click.argument("folder", type=click.Path(path_type=Path))
@pass_context
def backup(context: Context, folder: Path) -> None:
    """Take a backup into FOLDER, which is new or empty; others may go on working meanwhile.

    It holds facts, galleries, transforms, canaries and studies, with checksums; not the runs and models of MLflow. Only its owner
    may read it, since it holds the secrets of webhooks. To have one file, pack the folder afterwards: tar -cf FOLDER.tar
    FOLDER.
    """
    from registry.backup import backup
    from registry.cli.place import place

    layout, database = place(context)
    with _progress(context) as progress:
        made = backup(layout, database, folder.expanduser().resolve(), progress=progress)
    database.close()
    _tell(context, made, f"backed {layout.root} up into {folder}")


@command.command("restore")
@click.argument("folder", metavar="BACKUP", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--home", help="The new home, a folder that is new or empty; by default the --home before 'db'.")
@click.option("--yes", is_flag=True, help="With --database: do not ask before it is filled.")
@click.option("--dry-run", is_flag=True, help="Only verify the backup.")
@pass_context
def restore(context: Context, folder: Path, home: str | None, yes: bool, dry_run: bool) -> None:
    """Build a new home from the backup in folder BACKUP, once all of it is verified.

    The facts go into the home, or, with --database, into that empty PostgreSQL database, wherever they came from.
    """
    from registry.backup import restore, verified

    target = Path(home or context.home)
    if context.database and not (yes or dry_run):
        click.confirm("fill the database that --database names from this backup?", abort=True)
    with _progress(context) as progress:
        if dry_run:
            found = verified(folder, progress=progress)
        else:
            found = restore(folder, target, address=context.database, galleries=context.galleries, progress=progress)
    _tell(context, found, f"{folder} is whole" if dry_run else f"restored {folder} into {target}")


def _tell(context: Context, manifest: Manifest, what: str) -> None:
    from registry.doctor import in_words

    summary = {
        "at": manifest.at, "samespace": manifest.samespace, "revision": manifest.revision,
        "galleries": manifest.galleries, "files": len(manifest.files), "bytes": manifest.bytes,
    }  # fmt: skip
    if not context.report(summary):
        held = f"{manifest.galleries} galleries, {len(manifest.files)} files, {in_words(manifest.bytes)}"
        click.echo(f"{what}: {held}, as of {manifest.at:%Y-%m-%d %H:%M:%S} UTC")


@contextmanager
def _progress(context: Context) -> Iterator[Progress]:
    """A bar for each thing that is done, on standard error."""
    with context.progress() as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield told
