"""Encoders of backfills on a cluster: a batch is encoded in pieces by its nodes, and stored whole by this process."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from registry import encoding
from registry.backfill import encoders
from registry.cluster.nodes import Cluster
from registry.encoding import Encoder, Inputs
from registry.errors import InvalidInput, MissingExtra, Unavailable
from registry.vectors import Array, as_rows

__all__ = ["opened"]

_LEAST = 16  # items of a piece
_PIECES_PER_CPU = 2


def opened(cluster: Cluster, place: str | Callable[[Any], Any], tracking_uri: str | None) -> Encoder:
    """The encoder at `place`, called by the nodes, each of which imports it, loads it or asks its address.

    Raises:
        InvalidInput: there can be no such encoder, or it is a function that a node cannot find by its name.
        Unavailable: by the encoder, when it is called: a node lacks what it needs.
    """
    named = place if isinstance(place, str) else _name(place)
    encoding.check_place(named)
    if named.startswith("__main__:"):  # each process has one of its own
        raise _not_found_by(named)

    def call(inputs: Inputs) -> Array:
        found = list(cluster.map(_encode, _pieces(cluster, named, tracking_uri, inputs), per_cpu=_PIECES_PER_CPU))
        if len({rows.shape[1] for rows in found}) > 1:
            raise InvalidInput("the encoder gave vectors of several widths: it must give one")
        return np.concatenate(found)

    return call


def _pieces(cluster: Cluster, place: str, tracking_uri: str | None, inputs: Inputs) -> Iterator[tuple[Any, ...]]:
    ((kind, values),) = inputs.items()
    size = max(_LEAST, -(-len(values) // (_PIECES_PER_CPU * cluster.cpus())))
    return ((place, tracking_uri, kind, values[at : at + size]) for at in range(0, len(values), size))


def _name(function: Callable[[Any], Any]) -> str:
    """The name by which other processes find a function."""
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    try:
        encoding.check_place(name)
        same = encoding.imported(name) is function
    except InvalidInput:
        same = False
    if not same:
        raise _not_found_by(name)
    return name


def _not_found_by(name: str) -> InvalidInput:
    return InvalidInput(
        "an encoder for a cluster is a function of a module that its nodes can import, such as package.module:function, "
        f"got {name!r:.120}"
    )


def _encode(place: str, tracking_uri: str | None, kind: str, values: Any) -> Array:
    """The vectors (m, d) of the m inputs of a piece; in a worker. In a batch, one too many and one too few would make up."""
    rows = as_rows(_opened(place, tracking_uri)({kind: values}), what="what the encoder gave")
    if len(rows) != len(values):
        raise InvalidInput(f"the encoder gave {len(rows)} vectors for {len(values)} inputs: it must give one for each")
    return rows


@lru_cache(4)
def _opened(place: str, tracking_uri: str | None) -> Encoder:
    try:
        return encoders.opened(place, tracking_uri=tracking_uri, token=os.environ.get(encoders.TOKEN))
    except (InvalidInput, MissingExtra) as error:
        raise Unavailable(
            f"the node {platform.node()} cannot open the encoder, install what it needs on every node: {error}"
        ) from error
