"""`samespace webhook`: who is told of events, and what became of the telling."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput
from registry.types import EVENTS, Delivery


@click.group("webhook")
def command() -> None:
    """Tell other services of new versions, moved aliases and changed verdicts."""


@command.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--event", "-e", "events", multiple=True, type=click.Choice(EVENTS), help="May be repeated; all by default."
)
@pass_context
def add(context: Context, name: str, url: str, events: tuple[str, ...]) -> None:
    """Let URL be told of events. Shows the secret that signs them; nothing shows it again."""
    with context.open() as reg:
        webhook, secret = reg.add_webhook(name, url, events=events or EVENTS)
    if not context.report({"webhook": webhook, "secret": secret}):
        click.echo(f"{webhook.name} is told of {', '.join(webhook.events)}; keep the secret, it is shown this once:")
        click.echo(secret)


@command.command("list")
@pass_context
def list_(context: Context) -> None:
    """List webhooks."""
    with context.open() as reg:
        webhooks = reg.webhooks()
    if context.report(webhooks):
        return
    rows = [(w.name, w.url, ", ".join(w.events), f"{w.created_at:%Y-%m-%d %H:%M}") for w in webhooks]
    context.table(
        "Webhooks", ("name", "url", "events", "added"), rows, empty="no webhooks yet: 'samespace webhook add' adds one"
    )


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def remove(context: Context, name: str, yes: bool) -> None:
    """Remove webhook NAME, with what it was not told yet."""
    with context.open() as reg:
        if not yes:
            click.confirm(f"remove webhook {name}, with its deliveries?", abort=True)
        reg.remove_webhook(name)
    if not context.report({"removed": name}):
        click.echo(f"removed webhook {name}")


@command.command("deliveries")
@click.option("--limit", type=int, default=20, show_default=True, help="The most to list, newest first.")
@pass_context
def deliveries(context: Context, limit: int) -> None:
    """List what webhooks were or are to be told."""
    with context.open() as reg:
        found = reg.deliveries(limit=limit)
    if context.report(found):
        return
    rows = [(d.id, d.webhook, d.event, str(d.attempts), _state(d), d.error or "") for d in found]
    context.table(
        "Deliveries", ("id", "webhook", "event", "attempts", "state", "error"), rows, empty="nothing was to be told yet"
    )


@command.command("send")
@pass_context
def send(context: Context) -> None:
    """Send what is due, once; 'samespace serve' does so by itself. Exit 1 if a delivery failed."""
    from registry.client import Client

    with context.open() as reg:
        if isinstance(reg, Client):
            raise InvalidInput("a server sends by itself what is due: see 'samespace webhook deliveries'")
        sent = reg.send_deliveries()
    if not context.report(sent):
        click.echo(f"delivered {sent.delivered}, failed {sent.failed}")
    if sent.failed:
        raise SystemExit(1)


def _state(delivery: Delivery) -> str:
    if delivery.delivered_at:
        return f"delivered {delivery.delivered_at:%Y-%m-%d %H:%M}"
    return f"due {delivery.due_at:%Y-%m-%d %H:%M}" if delivery.due_at else "given up"
