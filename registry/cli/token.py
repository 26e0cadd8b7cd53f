"""`samespace token`: who may use the server, and for what."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

from registry.cli.context import Context, pass_context, plain
from registry.errors import InvalidInput
from registry.types import TOKEN_ROLES, Token, TokenRole

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DURATION = re.compile(r"([0-9]{1,6})([hdw])")


@click.group("token")
def command() -> None:
    """Make, list and revoke the tokens that a server answers to."""


@command.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(TOKEN_ROLES), required=True, help="Each may what the one before it may, and more."
)
@click.option("--model", "models", multiple=True, help="A model that it covers, all by default; may be repeated.")
@click.option(
    "--gallery", "galleries", multiple=True, help="A gallery that it covers, all by default; may be repeated."
)
@click.option(
    "--expires", metavar="TIME", help="How long it is good for, such as 12h, 90d or 8w; without end by default."
)
@pass_context
def create(
    context: Context, name: str, role: TokenRole, models: tuple[str, ...], galleries: tuple[str, ...], expires: str | None
) -> None:  # fmt: skip
    """Make a token for NAME and show it, this once. From the first one on, a server answers only to tokens."""
    with context.open(create=True) as reg:
        token, text = reg.create_token(
            name, role=role, models=models or None, galleries=galleries or None, expires_in=_duration(expires)
        )
    click.echo(f"{_described(token)}; keep what is printed now, nothing shows it again", err=True)
    if not context.report({"token": _facts(token), "secret": text}):
        click.echo(text)


@command.command("list")
@pass_context
def list_(context: Context) -> None:
    """List tokens, those that are good for nothing any more too."""
    with context.open() as reg:
        tokens = reg.tokens()
    if context.report([_facts(t) for t in tokens]):
        return
    rows = [
        (t.name, t.role, t.state, _listed(t.models), _listed(t.galleries), _day(t.created_at), _day(t.expires_at))
        for t in tokens
    ]
    columns = ("name", "role", "state", "models", "galleries", "created", "expires")
    context.table("Tokens", columns, rows, empty="no tokens yet: 'samespace token create' makes one")


@command.command("revoke")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def revoke(context: Context, name: str, yes: bool) -> None:
    """Make the token of NAME good for nothing. Servers know within 5 seconds; its name is not used again."""
    with context.open() as reg:
        if not yes:
            click.confirm(f"revoke the token {name} for good?", abort=True)
        token = reg.revoke_token(name)
    if not context.report(_facts(token)):
        click.echo(f"revoked {name}")


def _duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"--expires must be a number of hours, days or weeks, such as 12h, 90d or 8w, got {text!r:.80}"
        )
    return int(match[1]) * _UNITS[match[2]]


def _described(token: Token) -> str:
    until = f" until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else ""
    scopes = (("models", token.models), ("galleries", token.galleries))
    covered = " and ".join(
        f"all {what}" if names is None else f"the {what} {', '.join(names)}" for what, names in scopes
    )
    return f"{token.name} has the role {token.role}{until}, for {covered}"


def _facts(token: Token) -> dict[str, object]:
    return {**plain(token), "state": token.state}


def _listed(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
