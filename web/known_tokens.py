"""The tokens that a process has seen lately, so that most requests ask the database for none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry.types import Token

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["KEPT_S", "KnownTokens"]

KEPT_S = 5.0
"""How long a revoked token may still be taken for a good one."""


class KnownTokens:
    """The tokens of a registry, by the digests of their texts."""

    def __init__(self, registry: Registry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._any = False
        self._kept: dict[str, tuple[Token, float]] = {}

    def any(self) -> bool:
        """Whether the registry answers only to tokens. Once it does, it always will, so that this is remembered."""
        self._any = self._any or self._registry.has_tokens()
        return self._any

    def of_digest(self, digest: str) -> Token:
        """The active token with this digest. NotSignedIn if it is unknown, expired, or was revoked 5 seconds ago."""
        token, until = self._kept.get(digest, (None, 0.0))
        if token is None or token.state != "active" or self._clock() >= until:
            token = self._registry.token_of(digest)
            self._kept[digest] = (token, self._clock() + KEPT_S)
        return token
