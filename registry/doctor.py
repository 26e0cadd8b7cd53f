"""Looking a registry over: settings, packages, storage, database, clock, and what was left behind."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import func, select, text

from registry.checking import revision_of
from registry.database import Database
from registry.errors import InvalidInput, SamespaceError
from registry.findings import Finding, Level
from registry.inventory import inventory
from registry.layout import Layout
from registry.orphans import OLD_STATES, Orphan, orphans
from registry.places import Place
from registry.settings import Settings, variable
from registry.tables import ChangeRow, TokenRow, WebhookRow, now

__all__ = ["Setting", "examine", "examine_variables", "in_words", "settings_now"]

_SKEW = timedelta(seconds=5)
_LITTLE_SPACE = 1 << 30


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it is: its value, unless that is a secret, and whether a flag, a variable or the default gave it."""

    variable: str
    value: str
    origin: str
    help: str


def settings_now(environment: Mapping[str, str]) -> list[Setting]:
    """All settings of the service, as the environment gives them."""
    listed = []
    for setting in fields(Settings):
        assert setting.default is not MISSING  # noqa: S101 - every setting has one
        name = variable(setting.name)
        value = environment.get(name, str(setting.default))
        shown = "(hidden)" if setting.metadata["secret"] and value else value
        origin = "variable" if name in environment else "default"
        listed.append(Setting(name, shown, origin, setting.metadata["help"]))
    return listed


def examine_variables(environment: Mapping[str, str], also_known: Collection[str]) -> list[Finding]:
    """Variables of ours that hold what their setting cannot be, or that no setting has."""
    known = {variable(setting.name) for setting in fields(Settings)}
    findings = []
    for name in sorted(name for name in environment if name.startswith("SAMESPACE_")):
        if name in known:
            try:
                Settings.read({name: environment[name]})
            except InvalidInput as error:
                findings.append(Finding("problem", "settings", str(error), f"set {name} anew, or unset it"))
        elif name not in also_known:
            findings.append(Finding("warning", "settings", f"nothing reads {name}", "check how it is written"))
    return findings or [Finding("ok", "settings", "every variable is one that can be read")]


def examine(layout: Layout, database: Database) -> tuple[list[Finding], list[Orphan]]:
    """The folder and the database, and what `remove_orphans` would remove."""
    findings = list(_storage(layout))
    left: list[Orphan] = []
    try:
        findings.append(revision := revision_of(database))
        if revision.level == "ok":
            with database.reading() as session:
                found = inventory(session, layout)
            left = orphans(layout, found)
            findings += [_permissions(layout, database), _clock(database), *_left_behind(left)]
    except SamespaceError as error:
        findings.append(
            Finding("problem", "database", str(error), "check --home and --database, and 'samespace db check'")
        )
    return findings, left


def _storage(layout: Layout) -> Iterator[Finding]:
    for folder in (layout.root, *layout.folders):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            mend = "give it, and what is in it, to the user that runs samespace"
            yield Finding("problem", "storage", f"{folder} cannot be written: {error.strerror}", mend)
            return
    if layout.elsewhere and (why := _unwritable(layout.elsewhere)):
        yield Finding("problem", "storage", why, "mend that: vectors can be neither read nor stored until then")
    free = shutil.disk_usage(layout.root).free
    little = free < _LITTLE_SPACE
    mend = "make room: an append that finds none stores nothing" if little else ""
    yield Finding("warning" if little else "ok", "storage", f"writable, {in_words(free)} free", mend)


def _unwritable(place: Place) -> str | None:
    """Why no galleries can be written to a place, by trying."""
    probe = place / f"_doctor-{uuid4().hex}"
    try:
        with probe.writer() as file:
            file.write(b"1")
        probe.remove()
    except (SamespaceError, OSError) as error:
        return str(error).splitlines()[0]
    return None


def _permissions(layout: Layout, database: Database) -> Finding:
    """Whether other users of this machine can read the digests of tokens, the secrets of webhooks, or the key of sessions."""
    with database.reading() as session:
        held = any(session.scalar(select(func.count()).select_from(row)) for row in (TokenRow, WebhookRow))
    holding = [layout.session_key, *([layout.database] if held else [])]
    open_to_all = [file.name for file in holding if file.is_file() and file.stat().st_mode & stat.S_IROTH]
    if open_to_all and layout.root.stat().st_mode & stat.S_IXOTH:
        found = f"every user of this machine can read {' and '.join(open_to_all)}, which holds secrets"
        return Finding("warning", "permissions", found, f"chmod 700 {layout.root}")
    return Finding("ok", "permissions", "no secrets lie open")


def _clock(database: Database) -> Finding:
    with database.reading() as session:
        newest = session.scalar(select(func.max(ChangeRow.at)))
    if newest and newest > now() + _SKEW:
        found = f"the newest change is of {newest:%Y-%m-%d %H:%M:%S} UTC, which is still to come"
        return Finding("warning", "clock", found, "set the clock of this machine, or of the one that wrote it, by NTP")
    if abs(apart := _ahead(database)) > _SKEW:
        found = f"the database's clock is {apart.total_seconds():+.0f} s from this machine's"
        return Finding("warning", "clock", found, "set the clocks of both machines by NTP")
    return Finding("ok", "clock", "nothing is written in the future")


def _ahead(database: Database) -> timedelta:
    """How far the clock of PostgreSQL's machine is ahead of ours; SQLite has none of its own."""
    if database.engine.dialect.name != "postgresql":
        return timedelta()
    with database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # so that the time it takes to connect is not counted
        before = now()
        there: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return there - (before + (now() - before) / 2)


def _left_behind(left: Sequence[Orphan]) -> Iterator[Finding]:
    """A line for each kind of what could go. Old states are no fault: writing leaves them, and clears them up at times."""
    for what in sorted({orphan.what for orphan in left}):
        of_kind = [orphan for orphan in left if orphan.what == what]
        found = (
            f"{len(of_kind)} x {what}, {in_words(sum(orphan.bytes for orphan in of_kind))}: {of_kind[0].path.name}, …"
        )
        level: Level = "ok" if what == OLD_STATES else "warning"
        yield Finding(level, "left behind", found, "'samespace doctor --fix' removes it")
    if not left:
        yield Finding("ok", "left behind", "nothing that is older than a day")


def in_words(count: int) -> str:
    """A number of bytes, in the unit that fits: `1.5 MiB`."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} B"
