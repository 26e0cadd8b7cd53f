"""The commands of `samespace gallery` that show items, and store what people look at of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import files, preview_files
from registry.cli.context import Context, pass_context
from registry.previews import media_type

if TYPE_CHECKING:
    from registry.connecting import Connection
    from registry.types import Item

__all__ = ["items", "preview_url", "previews"]

_SHOWN = 60  # characters of a text in a table


@click.command("items")
@click.argument("name")
@click.option("--after", metavar="CURSOR", help="Those behind this place: what the page before named.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The most items.")
@click.option("--previews", is_flag=True, help="With their previews, of up to 100 items.")
@pass_context
def items(context: Context, name: str, after: str | None, limit: int, previews: bool) -> None:
    """List the items of gallery NAME in stored order, with their labels and the versions that embedded them."""
    with context.open() as reg:
        page = reg.items(name, after=after, limit=limit, previews=previews)
    if context.report({"items": [_plain(item) for item in page.items], "next": page.next}):
        return
    labels = list(page.items[0].labels) if page.items else []
    rows = [
        (_line(i.id), *(_line(i.labels[label]) for label in labels), ", ".join(i.versions), *([_said(i)] * previews))
        for i in page.items
    ]
    columns = ("item", *labels, "versions", *(["preview"] * previews))
    context.table(
        f"Items of {name}", columns, rows, empty=f"no items here: 'samespace gallery append {name}' adds some"
    )
    if page.next:
        click.echo(f"more: samespace gallery items {name} --after {page.next}")


def _plain(item: Item) -> dict[str, Any]:
    """An item as JSON, as the HTTP API has it."""
    from base64 import b64encode

    preview = item.preview
    picture, text = (b64encode(preview).decode(), None) if isinstance(preview, bytes) else (None, preview)
    return {"id": item.id, "labels": item.labels, "versions": item.versions, "picture": picture, "text": text}


def _said(item: Item) -> str:
    """A preview in a cell of a table."""
    if isinstance(item.preview, bytes):
        return f"{media_type(item.preview)}, {len(item.preview)} bytes"
    text = _line(item.preview or "–")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _line(value: object) -> str:
    """A value without line breaks, and without what a terminal would take for a command."""
    return "".join(c if c.isprintable() else " " for c in str(value))


@click.command("previews")
@click.argument("name")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of small pictures: shoes/7.png is of the item shoes/7. PNG, JPEG, WebP or GIF, at most 64 KiB each.",
)
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .csv, .jsonl or Parquet file with a column of texts.",
)
@click.option("--ids", metavar="COLUMN", help="With --texts: the column of the ids, by default 'id'.")
@click.option("--text", metavar="COLUMN", help="With --texts: the column of the texts, by default 'text'.")
@click.option(
    "--data",
    metavar="SET[:train|:test]",
    help="A data set whose images are drawn small: 'digits', an .npz file, or a folder of images.",
)
@click.option("--first", type=click.IntRange(min=1), help="With --data: only so many items.")
@pass_context
def previews(
    context: Context, name: str, pictures: Path | None, texts: Path | None, ids: str | None, text: str | None,
    data: str | None, first: int | None,
) -> None:  # fmt: skip
    """Store a small picture, or a text, of items of gallery NAME: all of them, or none. They are never replaced."""
    if sum(given is not None for given in (pictures, texts, data)) != 1:
        raise click.UsageError("previews come from --pictures, --texts or --data: give one of the three")
    for option, value, needs, given in (
        ("--ids", ids, "--texts", texts), ("--text", text, "--texts", texts), ("--first", first, "--data", data),
    ):  # fmt: skip
        if value is not None and given is None:
            raise click.UsageError(f"{option} goes with {needs}: leave it out")
    with context.open() as reg:
        if data is not None:
            count = _draw(reg, name, data, first)
        else:
            numbers = reg.gallery(name).id_type == "int"
            parts: Iterator[Any] = (
                preview_files.pictures(pictures, whole_numbers=numbers)
                if pictures is not None
                else preview_files.texts(texts, ids=ids or "id", text=text or "text", whole_numbers=numbers)  # type: ignore[arg-type]
            )
            count = reg.add_preview_parts(name, kind="text" if pictures is None else "picture", parts=parts)
    if not context.report({"gallery": name, "previews": count}):
        click.echo(f"stored {count} previews in {name}")


def _draw(reg: Connection, name: str, data: str, first: int | None) -> int:
    from align import publish

    ids, x, _ = files.dataset_part(data, first)
    return publish.draw_previews(reg, name, ids=ids, x=x)


@click.command("preview-url")
@click.argument("name")
@click.argument("url", required=False)
@click.option("--remove", is_flag=True, help="Take the address back.")
@pass_context
def preview_url(context: Context, name: str, url: str | None, remove: bool) -> None:
    """Say where browsers find pictures of the items of gallery NAME: URL with {id}, as in https://images.example/{id}.jpg."""
    if (url is None) != remove:
        raise click.UsageError("give a URL with {id} for the item's id, or --remove: one of the two")
    with context.open() as reg:
        gallery = reg.set_preview_url(name, url)
    if not context.report(gallery):
        click.echo(f"pictures of {name} are at {url}" if url else f"pictures of {name} are nowhere else")
