"""`samespace gallery attach` and `detach`: vectors that stay where they are."""

from __future__ import annotations

import click

from registry.cli import files
from registry.cli.context import Context, pass_context

__all__ = ["attach", "detach"]


@click.command("attach")
@click.argument("name")
@click.option("--version", required=True, help="The version that made the vectors, such as products/1.")
@click.option("--pgvector", metavar="ADDRESS", help="A table of PostgreSQL, at postgresql://user@host/db; no password.")
@click.option("--qdrant", metavar="ADDRESS", help="A collection of Qdrant.")
@click.option("--milvus", metavar="ADDRESS|FILE", help="A collection of Milvus.")
@click.option("--parquet", metavar="PATH", help="A Parquet file, or a folder of them.")
@click.option("--npy", metavar="PATH", help="A .npy file (n, d), or a folder with vectors.npy and perhaps ids.npy.")
@click.option(
    "--faiss", metavar="FILE", help="A saved FAISS index. FAISS parses it in C++: attach none that you do not trust."
)
@click.option(
    "--table", "--collection", metavar="NAME", help="The table, which may be schema.table, or the collection."
)
@click.option("--id", metavar="COLUMN", help="The column of the ids, by default 'id'.")
@click.option(
    "--vector", metavar="COLUMN", help="The column of the vectors: by default 'embedding' of pgvector, else 'vector'."
)
@click.option("--ids", metavar="FILE", help="With --npy and --faiss: ids, a .npy file (n,) or text with one a line.")
@click.option(
    "--label", "-l", "labels", multiple=True, metavar="LABEL[=COLUMN]",
    help="A label column of the gallery, and the column there; may be repeated. Labels make a benchmark.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Look anew at what is attached, and accept what changed.")
@pass_context
def attach(
    context: Context, name: str, version: str, pgvector: str | None, qdrant: str | None, milvus: str | None,
    parquet: str | None, npy: str | None, faiss: str | None, table: str | None, id: str | None, vector: str | None,
    ids: str | None, labels: tuple[str, ...], again: bool,
) -> None:  # fmt: skip
    """Make vectors of VERSION a part of gallery NAME where they already live: nothing is copied, nothing written."""
    places = {
        "pgvector": pgvector, "qdrant": qdrant, "milvus": milvus, "parquet": parquet, "npy": npy, "faiss": faiss,
    }  # fmt: skip
    given = [(kind, where) for kind, where in places.items() if where is not None]
    if len(given) + again != 1:
        raise click.UsageError(f"say where the vectors are by one of --{', --'.join(places)}; or --again alone")
    kind, where = given[0] if given else (None, None)
    columns = files.pairs(tuple(label if "=" in label else f"{label}={label}" for label in labels), "--label")
    with context.open() as reg:
        ref = reg.version(version).ref
        found = reg.attach(
            name, version=ref, kind=kind, where=where, table=table, id=id, vector=vector, ids=ids,
            labels=columns or None, again=again,
        )  # fmt: skip
    if context.report(found):
        return
    segment = next(s for s in found.segments if s.version == ref)
    click.echo(
        f"attached {segment.rows} vectors of {segment.version} to {name}, where they are: {segment.where or segment.backend}"
    )
    if (effort := segment.effort) is not None:
        click.echo(
            f"by {effort.setting} {effort.value} its index finds {effort.recall:.1%} of the 10 nearest to {effort.queries} of "
            "its rows"
        )


@click.command("detach")
@click.argument("name")
@click.option("--version", required=True, help="The version whose vectors are attached.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def detach(context: Context, name: str, version: str, yes: bool) -> None:
    """Forget vectors that are attached to gallery NAME; what is there stays as it is."""
    with context.open() as reg:
        ref = reg.version(version).ref
        if not yes:
            click.confirm(f"forget where the vectors of {ref} in {name} are? Nothing is removed there", abort=True)
        found = reg.detach(name, version=ref)
    if not context.report(found):
        click.echo(f"detached {ref} from {name}; what is there stays as it is")
