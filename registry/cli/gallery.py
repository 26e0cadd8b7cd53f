"""`samespace gallery`: items with stored vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import files
from registry.cli.attach import attach, detach
from registry.cli.context import Context, pass_context
from registry.cli.export import export
from registry.cli.index import index
from registry.cli.items import items, preview_url, previews
from registry.cli.segments import drop_segment
from registry.errors import InvalidInput

if TYPE_CHECKING:
    from registry.connecting import Connection


@click.group("gallery")
def command() -> None:
    """Create galleries, append vectors, search."""


for shown in (items, previews, preview_url, attach, detach, export, drop_segment, index):
    command.add_command(shown)


@command.command("create")
@click.argument("name")
@click.option("--id-type", type=click.Choice(["string", "int"]), default="string", show_default=True)
@pass_context
def create(context: Context, name: str, id_type: str) -> None:
    """Create the empty gallery NAME."""
    with context.open(create=True) as reg:
        gallery = reg.create_gallery(name, id_type=id_type)
    if not context.report(gallery):
        click.echo(f"created gallery {name}: fill it with 'samespace gallery append {name} --version VERSION …'")


@command.command("list")
@pass_context
def list_(context: Context) -> None:
    """List galleries and the versions that wrote into them."""
    with context.open() as reg:
        galleries = reg.galleries()
    if context.report(galleries):
        return
    rows = [
        (g.name, str(g.items), g.id_type, ", ".join(g.labels), ", ".join(f"{s.version} ({s.rows})" for s in g.segments))
        for g in galleries
    ]
    context.table(
        "Galleries",
        ("gallery", "items", "ids", "labels", "segments"),
        rows,
        empty="no galleries yet: 'samespace gallery create NAME' makes one",
    )


@command.command("append")
@click.argument("name")
@click.option("--version", required=True, help="The version that made the vectors, such as products/1.")
@click.option(
    "--vectors",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npy file (n, d), or Parquet with a column of lists.",
)
@click.option(
    "--ids",
    metavar="FILE|COLUMN",
    help="A .npy file (n,), or text with one id a line; with Parquet a column, by default 'id'.",
)
@click.option(
    "--labels",
    "-l",
    multiple=True,
    metavar="COLUMN=FILE",
    help="Labels, as --ids; may be repeated. With Parquet COLUMN=COLUMN, by default those of the same names.",
)
@click.option("--vector-column", metavar="COLUMN", help="With Parquet: the column of the vectors, by default 'vector'.")
@click.option(
    "--data",
    metavar="SET[:train|:test]",
    help="Instead of files: encode a data set with the version's own encoder: 'digits', an .npz file, or a folder of "
    "images.",
)
@click.option("--first", type=click.IntRange(min=1), help="With --data: only so many items.")
@click.option(
    "--trust",
    multiple=True,
    metavar="MODULE:FACTORY",
    help="With --data: a backbone of yours that the version's encoder may import.",
)
@pass_context
def append(
    context: Context, name: str, version: str, vectors: Path | None, ids: str | None, labels: tuple[str, ...],
    vector_column: str | None, data: str | None, first: int | None, trust: tuple[str, ...],
) -> None:  # fmt: skip
    """Store vectors that a version made of items in gallery NAME: all of them, or none."""
    table = vectors if vectors is not None and files.is_parquet(vectors) else None
    if (data is None) == (vectors is None) or (table is None and (vectors is None) != (ids is None)):
        raise click.UsageError("vectors come from --vectors and --ids, or from --data: give one of the two")
    if vector_column is not None and table is None:
        raise click.UsageError("--vector-column names a column of a Parquet file: leave it out")
    with context.open() as reg:
        if data is not None:
            count = _append_encoded(context, reg, name, version, data, first, trust)
        elif table is not None:
            count = _append_table(context, reg, name, version, table, ids, vector_column, labels)
        else:
            given = {label: files.column(Path(file)) for label, file in files.pairs(labels, "--labels").items()}
            known = files.column(Path(ids), whole_numbers=reg.gallery(name).id_type == "int")  # type: ignore[arg-type]
            count = reg.append(name, version=version, ids=known, vectors=files.matrix(vectors), labels=given)  # type: ignore[arg-type]
    if not context.report({"gallery": name, "version": version, "rows": count}):
        click.echo(f"appended {count} vectors of {version} to {name}")


def _append_table(
    context: Context, reg: Connection, name: str, version: str, path: Path, ids: str | None, vector: str | None,
    labels: tuple[str, ...],
) -> int:  # fmt: skip
    """Append a Parquet file; the gallery's labels that are columns of it need not be named."""
    reg.version(version)  # a mistyped reference is told before a large file is read
    columns = files.table_columns(path)
    named = {label: label for label in reg.gallery(name).labels if label in columns}
    named |= files.pairs(labels, "--labels")
    given = files.table(path, ids=ids or "id", vector=vector or "vector", labels=named, folder=Path(context.home))
    return reg.append(name, version=version, ids=given.ids, vectors=given.vectors, labels=given.labels)


def _append_encoded(
    context: Context, reg: Connection, name: str, version: str, data: str, first: int | None, trust: tuple[str, ...]
) -> int:
    from align import publish

    ids, x, y = files.dataset_part(data, first)
    encoder = publish.encoder_of(reg.version(version), tracking_uri=context.tracking_uri, trust=trust)
    column = reg.gallery(name).labels[:1]
    return publish.embed(reg, name, encoder, version=version, ids=ids, x=x, labels=dict.fromkeys(column, y))


@command.command("search")
@click.argument("name")
@click.option("--version", required=True, help="The version that embedded the queries.")
@click.option(
    "--queries", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A .npy file (q, d)."
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items for each query.")
@click.option("--allow-unmeasured", is_flag=True, help="Use a path that no evaluation speaks for.")
@click.option(
    "--shortlist",
    type=click.IntRange(min=1),
    metavar="WIDTH",
    help="Find candidates by the first WIDTH dimensions, of a version trained with nested prefixes.",
)
@click.option("--candidates", type=click.IntRange(min=1), help="How many the shortlist finds; 10 k by default.")
@click.option(
    "--side",
    multiple=True,
    metavar="VERSION=FILE",
    help="The same queries as an older version embeds them, a .npy file: a slerp bridge needs them. May be repeated.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=True,
    show_default=True,
    help="Make scores of several versions comparable before they are merged.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Among the items with this label alone. Repeated: any of the values of a column, and all of the columns.",
)
@pass_context
def search(
    context: Context, name: str, version: str, queries: Path, k: int, allow_unmeasured: bool,
    shortlist: int | None, candidates: int | None, side: tuple[str, ...], calibrate: bool, where: tuple[str, ...],
) -> None:  # fmt: skip
    """Find the items of gallery NAME that are closest to each query, whichever version stored them."""
    beside = {ref: files.matrix(Path(file)) for ref, file in files.pairs(side, "--side").items()}
    with context.open() as reg:
        hits = reg.search(
            name, files.matrix(queries), version=version, k=k, allow_unmeasured=allow_unmeasured,
            shortlist=shortlist, candidates=candidates, side=beside, calibrate=calibrate, where=_where(where),
        )  # fmt: skip
    found = [
        [(id, score) for id, score in zip(ids, scores, strict=True) if score > float("-inf")]
        for ids, scores in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)
    ]
    listed = [[{"id": id, "score": score} for id, score in hit] for hit in found]
    if context.report({"hits": listed, "path": hits.path, "calibrated": list(hits.calibrated)}):
        return
    rows = [(str(q), "  ".join(f"{id} {score:.3f}" for id, score in hit)) for q, hit in enumerate(found)]
    context.table(f"Closest items of {name}", ("query", "id and score"), rows, empty="no queries")
    for path in hits.path.values():
        click.echo(f"path: {path}")
    if hits.calibrated:
        click.echo(f"scores of {', '.join(hits.calibrated)} are calibrated: as {version} would give them")


@command.command("delete")
@click.argument("name")
@click.argument("ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_context
def delete(context: Context, name: str, ids: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Remove items, all their vectors and previews from gallery NAME."""
    with context.open() as reg:
        items: list[Any] = _whole(ids) if reg.gallery(name).id_type == "int" else list(ids)
        if dry_run:
            if not context.report({"gallery": name, "asked": len(items), "deleted": 0}):
                click.echo(f"would delete those of the {len(items)} items that {name} holds")
            return
        if not yes:
            click.confirm(f"delete {len(items)} items from {name}, with the vectors of every version?", abort=True)
        count = reg.delete(name, items)
    if not context.report({"gallery": name, "deleted": count}):
        click.echo(f"deleted {count} items from {name}")


def _where(given: tuple[str, ...]) -> dict[str, list[str]] | None:
    found: dict[str, list[str]] = {}
    for text in given:
        column, sign, value = text.partition("=")
        if not sign or not column:
            raise click.UsageError(f"--where is COLUMN=VALUE, such as class=shoe, got {text!r:.80}")
        found.setdefault(column, []).append(value)
    return found or None


def _whole(ids: tuple[str, ...]) -> list[int]:
    for id in ids:
        if not id.isdecimal():
            raise InvalidInput(f"ids of this gallery are whole numbers, got {id!r:.80}")
    return [int(id) for id in ids]
