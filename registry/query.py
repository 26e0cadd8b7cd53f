"""`Query`: an encoder and the registry that knows its space, together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.errors import InvalidInput
from registry.fingerprints import Fingerprint
from registry.types import Hits, Ids
from registry.vectors import Array, as_rows

if TYPE_CHECKING:
    from registry.canaries import Encode, EncoderCheck
    from registry.connecting import Connection

__all__ = ["Query"]


@dataclass(frozen=True)
class Query:
    """An encoder of a known version: embeds, converts, searches and appends in one call each.

        query = Query(reg, "products/2", encode)
        query.verify().raise_for_drift()                  # once, at start-up
        hits = query.search("catalog", ["red shoes"], k=10)

    Args:
        registry: what `registry.connect` gave.
        version: the version whose space `encode` embeds into, such as `products/2`, or an alias.
        encode: the encoder: a sequence or array of n inputs to vectors (n, d).
        fingerprint: of the encoder, facts or digest; checked with every search and append.
        batch: the most inputs that are encoded at a time.
        older: encoders of older versions, for bridges that go between the two (slerp).
    """

    registry: Connection
    version: str
    encode: Encode
    fingerprint: Fingerprint = None
    batch: int = 256
    older: Mapping[str, Encode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be no encoder, before the first query."""
        if not callable(self.encode):
            raise InvalidInput(f"encode must be callable, got {self.encode!r:.80}: give the encoder's function")
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1:
            raise InvalidInput(f"batch must be a whole number from 1, got {self.batch!r:.80}")

    def embed(self, inputs: Sequence[Any] | Array) -> Array:
        """Vectors (n, d) of n inputs, in the version's own space."""
        return _encoded(self.encode, self._listed(inputs), self.batch)

    def search(
        self, gallery: str, inputs: Sequence[Any] | Array, *, k: int = 10, allow_unmeasured: bool = False,
        where: Mapping[str, Any] | None = None,
    ) -> Hits:  # fmt: skip
        """The k stored items closest to each of n inputs, whichever version stored them; see `Registry.search`."""
        listed = self._listed(inputs)
        side = {ref: _encoded(encode, listed, self.batch) for ref, encode in self.older.items()}
        return self.registry.search(
            gallery, self.embed(listed), version=self.version, k=k, allow_unmeasured=allow_unmeasured,
            side=side or None, fingerprint=self.fingerprint, where=where,
        )  # fmt: skip

    def convert(self, inputs: Sequence[Any] | Array, *, into: str, allow_unmeasured: bool = False) -> Array:
        """Vectors (n, dt) of n inputs in another space, such as that of a vector database which nobody backfilled."""
        return self.registry.convert(
            self.embed(inputs), source=self.version, into=into, allow_unmeasured=allow_unmeasured
        )

    def append(
        self, gallery: str, ids: Ids, inputs: Sequence[Any] | Array, *, labels: Mapping[str, Any] | None = None
    ) -> int:
        """Embed n inputs and store them under their ids (n,), a batch at a time; all of them, or nothing."""
        listed = self._listed(inputs)
        if len(ids) != len(listed):
            raise InvalidInput(f"{len(ids)} ids for {len(listed)} inputs: give one id for each")

        def parts() -> Iterator[tuple[Any, Any, Mapping[str, Any] | None]]:
            for i in range(0, len(listed), self.batch):
                chosen = slice(i, i + self.batch)
                here = None if labels is None else {name: values[chosen] for name, values in labels.items()}
                yield ids[chosen], self.encode(listed[chosen]), here

        return self.registry.append_parts(gallery, version=self.version, parts=parts(), fingerprint=self.fingerprint)

    def verify(self, *, tolerance: float = 0.01) -> EncoderCheck:
        """Whether the encoder still gives what was registered of the version's canaries; see `verify_encoder`."""
        return self.registry.verify_encoder(self.version, self.encode, tolerance=tolerance)

    def _listed(self, inputs: Any) -> Any:
        if isinstance(inputs, str | bytes):  # a text is a sequence of characters, but never meant so
            raise InvalidInput(f"inputs must be a list or an array, got {inputs!r:.80}: write [{inputs!r:.80}]")
        return inputs if isinstance(inputs, np.ndarray) else list(inputs)


def _encoded(encode: Encode, inputs: Any, batch: int) -> Array:
    if not len(inputs):
        raise InvalidInput("there is nothing to encode: give at least one input")
    parts = [as_rows(encode(inputs[i : i + batch]), what="what encode gave") for i in range(0, len(inputs), batch)]
    vectors: Array = np.concatenate(parts)
    if len(vectors) != len(inputs):
        raise InvalidInput(f"encode gave {len(vectors)} vectors for {len(inputs)} inputs: it must give one for each")
    return vectors
