"""`samespace doctor`: settings, and what is in order, worth a look, or broken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput

if TYPE_CHECKING:
    from registry.doctor import Setting
    from registry.findings import Finding
    from registry.orphans import Orphan

_ASKED_WITH = "what a server is asked with, where the home is a server's address"
_ENCODES_WITH = "what the encoder of a backfill is asked with, where it is an address"
_ORIGINS = {ParameterSource.COMMANDLINE: "flag", ParameterSource.ENVIRONMENT: "variable"}


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Remove what no fact refers to and nobody changed for a day.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@click.option("--dry-run", is_flag=True, help="With --fix: only list what would be removed.")
@click.pass_context
@pass_context
def command(context: Context, ctx: click.Context, fix: bool, yes: bool, dry_run: bool) -> None:
    """List the settings, and look the registry over; exit 1 if something is broken.

    Looked at are the variables, the installed packages, the home and its space, the database, the clocks, who may read
    secrets, and what was left behind by processes that were killed. Whether every stored file is whole is for 'samespace
    db check'.
    """
    from registry.cli.findings import show
    from registry.doctor import examine_variables, settings_now
    from registry.findings import has_problem
    from registry.installed import examine_installed

    if (yes or dry_run) and not fix:
        raise click.UsageError("--yes and --dry-run belong to --fix: give it as well")
    settings = [*_root_options(ctx.find_root()), *_tokens(), *settings_now(os.environ)]
    known = {setting.variable for setting in settings}
    found, left = _examined(context)
    findings = [*examine_variables(os.environ, known), *examine_installed(), *found]
    if not context.as_json:
        rows = [(setting.variable, setting.value, setting.origin, setting.help) for setting in settings]
        context.table("Settings", ("variable", "value", "from", "what it is"), rows, empty="no settings")
        show(context, "Findings", findings)
    removed = _fixed(context, left, yes=yes, dry_run=dry_run) if fix else []
    context.report({"settings": settings, "findings": findings, "left_behind": left, "removed": removed})
    if has_problem(findings):
        raise SystemExit(1)


def _examined(context: Context) -> tuple[list[Finding], list[Orphan]]:
    """What is to be said of the home; that there is none, or none that can be opened, is a finding too."""
    from registry.cli.place import place
    from registry.doctor import examine
    from registry.errors import SamespaceError
    from registry.findings import Finding

    try:
        layout, database = place(context)
    except SamespaceError as error:
        found, _, mend = str(error).partition(": ")
        return [Finding("problem", "home", found, mend)], []
    try:
        return examine(layout, database)
    finally:
        database.close()


def _fixed(context: Context, left: list[Orphan], *, yes: bool, dry_run: bool) -> list[Orphan]:
    """Remove what was left behind, if that is wanted; return what went."""
    from registry.cli.place import place
    from registry.doctor import in_words
    from registry.orphans import remove_orphans

    if not context.as_json:
        rows = [(orphan.what, str(orphan.path), in_words(orphan.bytes)) for orphan in left]
        context.table("Left behind", ("what", "where", "size"), rows, empty="nothing was left behind")
    if dry_run or not left:
        return []
    if not yes:
        click.confirm(f"remove these {len(left)} for good?", abort=True, err=True)
    layout, database = place(context)
    try:
        removed = remove_orphans(database, layout)
    finally:
        database.close()
    if not context.as_json:
        click.echo(f"removed {len(removed)}, which took {in_words(sum(orphan.bytes for orphan in removed))}")
    return removed


def _root_options(root: click.Context) -> list[Setting]:
    """What says where the registry is: the options of `samespace` itself that a variable can give."""
    from registry.doctor import Setting

    listed = []
    for option in root.command.params:
        if not isinstance(option, click.Option) or not isinstance(option.envvar, str) or not option.name:
            continue
        source = root.get_parameter_source(option.name)
        origin = _ORIGINS.get(source, "default") if source else "default"
        help = (option.help or "").split(" [$")[0].rstrip(".")
        listed.append(Setting(option.envvar, _shown(option.name, root.params[option.name]), origin, help))
    return listed


def _address(value: str) -> str:
    """A place of galleries, if it is one: what is none may hold a password."""
    from registry.places import Place

    try:
        return Place.named(value)
    except InvalidInput:
        return "(no address)"


def _tokens() -> list[Setting]:
    """What `connect` asks a server with, and a backfill an encoder."""
    from registry.doctor import Setting

    listed = []
    for name, what in (("SAMESPACE_TOKEN", _ASKED_WITH), ("SAMESPACE_ENCODER_TOKEN", _ENCODES_WITH)):
        held = os.environ.get(name)
        listed.append(Setting(name, "(hidden)" if held else "", "variable" if held else "default", what))
    return listed


def _shown(name: str, value: object) -> str:
    """The value of an option, but no password, and of an option that this does not know, nothing."""
    if not value or name == "home":
        return str(value or "")
    if name == "galleries":
        return _address(str(value))
    if name != "database":
        return "(hidden)"
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(str(value)).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "(no address)"
