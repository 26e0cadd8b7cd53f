"""`samespace gallery`: items with stored vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import files
from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput

if TYPE_CHECKING:
    from registry.embedded import Registry


@click.group("gallery")
def command() -> None:
    """Create galleries, append vectors, search."""


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
@click.option("--vectors", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A .npy file (n, d).")
@click.option(
    "--ids",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .npy file (n,), or text with one id a line.",
)
@click.option("--labels", "-l", multiple=True, metavar="COLUMN=FILE", help="Labels, as --ids; may be repeated.")
@click.option(
    "--data",
    metavar="SET[:train|:test]",
    help="Instead of files: encode 'digits' or an .npz data set with the version's own encoder.",
)
@click.option("--first", type=click.IntRange(min=1), help="With --data: only so many items.")
@pass_context
def append(
    context: Context, name: str, version: str, vectors: Path | None, ids: Path | None, labels: tuple[str, ...],
    data: str | None, first: int | None,
) -> None:  # fmt: skip
    """Store vectors that a version made of items in gallery NAME: all of them, or none."""
    if (data is None) == (vectors is None) or (vectors is None) != (ids is None):
        raise click.UsageError("vectors come from --vectors and --ids, or from --data: give one of the two")
    with context.open() as reg:
        if data is not None:
            count = _append_encoded(context, reg, name, version, data, first)
        else:
            given = {label: files.column(Path(file)) for label, file in files.pairs(labels, "--labels").items()}
            known = files.column(ids, whole_numbers=reg.gallery(name).id_type == "int")  # type: ignore[arg-type]
            count = reg.append(name, version=version, ids=known, vectors=files.matrix(vectors), labels=given)  # type: ignore[arg-type]
    if not context.report({"gallery": name, "version": version, "rows": count}):
        click.echo(f"appended {count} vectors of {version} to {name}")


def _append_encoded(context: Context, reg: Registry, name: str, version: str, data: str, first: int | None) -> int:
    from align import publish
    from align.data import load

    source, _, part = data.partition(":")
    dataset = load(source)
    if part not in ("", "train", "test"):
        raise click.UsageError(f"--data takes SET, SET:train or SET:test, got {data!r}")
    part = part or "train"
    x, y, ids = (getattr(dataset, f"{field}_{part}")[:first] for field in ("x", "y", "ids"))
    encoder = publish.encoder_of(reg.version(version), tracking_uri=context.tracking_uri)
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
@pass_context
def search(context: Context, name: str, version: str, queries: Path, k: int, allow_unmeasured: bool) -> None:
    """Find the items of gallery NAME that are closest to each query, whichever version stored them."""
    with context.open() as reg:
        hits = reg.search(name, files.matrix(queries), version=version, k=k, allow_unmeasured=allow_unmeasured)
    found = [
        [(id, score) for id, score in zip(ids, scores, strict=True) if score > float("-inf")]
        for ids, scores in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)
    ]
    listed = [[{"id": id, "score": score} for id, score in hit] for hit in found]
    if context.report({"hits": listed, "path": hits.path}):
        return
    rows = [(str(q), "  ".join(f"{id} {score:.3f}" for id, score in hit)) for q, hit in enumerate(found)]
    context.table(f"Closest items of {name}", ("query", "id and score"), rows, empty="no queries")
    for path in hits.path.values():
        click.echo(f"path: {path}")


@command.command("delete")
@click.argument("name")
@click.argument("ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_context
def delete(context: Context, name: str, ids: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Remove items and all their vectors from gallery NAME."""
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


def _whole(ids: tuple[str, ...]) -> list[int]:
    for id in ids:
        if not id.isdecimal():
            raise InvalidInput(f"ids of this gallery are whole numbers, got {id!r:.80}")
    return [int(id) for id in ids]
