"""`samespace serve`: the page and the API on a local port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any

import click

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput, NotFound
from registry.settings import Settings, variable

_PUBLIC = [setting for setting in fields(Settings) if not setting.metadata["secret"]]
"""Secrets are read from the environment alone: everybody on a machine sees its command lines."""


def _flag(setting: Field[Any]) -> Callable[[Any], Any]:
    return click.option(
        f"--{setting.name.replace('_', '-')}",
        type=type(setting.default),
        default=setting.default,
        envvar=variable(setting.name),
        show_default=bool(setting.default),
        show_envvar=True,
        help=setting.metadata["help"],
    )


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(_PUBLIC):
        command = _flag(setting)(command)
    return command


@click.command("serve")
@_flags
@pass_context
def command(context: Context, /, **given: Any) -> None:
    """Open the page with models, versions, galleries and the compatibility matrix, and the API beside it."""
    try:
        from web.serving import serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the pages need {error.name}: run from a checkout, with 'samespace[server]' installed"
        ) from error
    if context.home.startswith(("http://", "https://")):
        raise InvalidInput(f"{context.home} is a server already: name a folder with --home")
    if not context.exists:
        raise NotFound(f"there is no registry at {context.home}: check --home, or make one with 'samespace db upgrade'")
    # The registry is opened by the workers, after the fork: Lance must not be loaded before it.
    serve(context.home, Settings.read(**given), database=context.database, galleries=context.galleries)
