"""`connect`: one call for a folder on this machine or a server elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias

from registry.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from registry.client import Client
    from registry.embedded import Registry

__all__ = ["Connection", "connect"]

Connection: TypeAlias = "Registry | Client"
"""What `connect` gives: both have the same methods."""


def connect(
    home: str | os.PathLike[str],
    *,
    database: str | None = None,
    galleries: str | os.PathLike[str] | None = None,
    token: str | None = None,
    timeout: float = 60.0,
    dtype: Literal["float32", "float16"] = "float32",
    progress: bool | None = None,
    ray: str | None = None,
) -> Connection:
    """Open the registry in the folder `home`, creating it on first use, or the one that a server at that address has.

    Both have the same methods, with the same results and errors.

    Args:
        home: the folder of the registry, or the server's address, such as `http://host:8321`.
        database: an SQLAlchemy address for the facts, such as `postgresql+psycopg://…`; by default SQLite in the folder.
        galleries: where vectors, items and previews are, if not in the folder: another one, or `s3://bucket/prefix`. Said the
            first time, it is remembered; credentials are read from AWS_ACCESS_KEY_ID and the like, never from the address.
        token: what a server is asked with; by default what the variable SAMESPACE_TOKEN holds.
        timeout: seconds that a server may be silent.
        dtype: of vectors that a server sends: float16 halves what travels, and keeps three digits.
        progress: whether long transfers show how far they are; by default where standard error is a terminal.
        ray: the address of a Ray cluster that is to compute, such as `host:6379`, which the `ray` extra needs; by default this
            process does. See `docs/cluster.md`.

    Raises:
        Unavailable: a server cannot be reached, said by the first method that asks it.
        MissingExtra: the `server` extra, which an embedded registry needs, is not installed.
        MigrationNeeded: the database belongs to another release.
    """
    if not isinstance(home, str | os.PathLike) or "\0" in os.fspath(home):
        raise InvalidInput(f"home must be the path of a folder, got {home!r:.120}")
    if str(home).startswith(("http://", "https://")):
        if database is not None:
            raise InvalidInput("a server has its own database: leave database out, or give a folder")
        if galleries is not None:
            raise InvalidInput("a server knows where its galleries are: leave galleries out, or give a folder")
        if ray is not None:
            raise InvalidInput("a server computes where it is: leave ray out, or give a folder")
        from registry.client import Client

        given = os.environ.get("SAMESPACE_TOKEN") if token is None else token
        return Client(str(home), token=given or None, timeout=timeout, dtype=dtype, progress=progress)
    try:
        if ray is not None:
            from registry.cluster.registry import on

            return on(ray, home, database=database, galleries=galleries)
        from registry.embedded import Registry
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "registry":
            raise
        raise MissingExtra(f"an embedded registry needs {error.name}: pip install 'samespace[server]'") from error
    return Registry.open(home, database=database, galleries=galleries)
