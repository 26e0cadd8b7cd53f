"""`samespace serve`: the pages and the JSON reads."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context
from registry.errors import NotFound


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback only: there are no tokens yet.")
@click.option("--port", type=int, default=8321, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True)
@pass_context
def command(context: Context, host: str, port: int, workers: int) -> None:
    """Open the page with models, versions, galleries and the compatibility matrix."""
    try:
        from web.serving import serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the pages need {error.name}: run from a checkout, with 'samespace[server]' installed"
        ) from error
    if not context.exists:
        raise NotFound(f"there is no registry at {context.home}: check --home, or make one with 'samespace demo'")
    # The registry is opened by the workers, after the fork: Lance must not be loaded before it.
    serve(context.home, host=host, port=port, workers=workers, database=context.database)
