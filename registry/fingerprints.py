"""Fingerprints: sha-256 over what decides a vector space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from registry.descriptions import check_depth
from registry.errors import Incompatible, InvalidInput
from registry.types import Version

__all__ = ["Fingerprint", "canonical", "check_fingerprint", "fingerprint_digest", "fingerprint_of"]

Fingerprint = Mapping[str, Any] | str | None
"""What a caller says of its encoder: the facts that the version was registered with, or their digest."""


def canonical(facts: Mapping[str, Any]) -> str:
    """Facts as JSON that is the same for the same facts."""
    check_depth("a fingerprint", facts)
    try:
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a fingerprint holds plain JSON values, got {error}: use strings and numbers") from error


def fingerprint_digest(facts: Mapping[str, Any]) -> str:
    """sha-256, hex, over canonical JSON of what decides a vector space."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def fingerprint_of(facts: Mapping[str, Any], *, dim: int, metric: str, normalized: bool, dtype: str) -> str:
    """The fingerprint of a version: its facts, with what the registry itself knows of the space."""
    return fingerprint_digest({**facts, "dim": dim, "metric": metric, "normalized": normalized, "dtype": dtype})


def check_fingerprint(version: Version, given: Fingerprint) -> None:
    """Hold what a caller says of its encoder to what was registered; None says nothing.

    Raises:
        Incompatible: they differ, so vectors of that encoder are not of this version's space.
    """
    if given is None:
        return
    if not isinstance(given, str | Mapping):
        raise InvalidInput(f"fingerprint must be a mapping of facts or their digest, got {given!r:.80}")
    if isinstance(given, str):
        differs = given != version.fingerprint
    else:
        known = {"dim": version.dim, "metric": version.metric, "normalized": version.normalized, "dtype": version.dtype}
        differs = fingerprint_digest({**given, **known}) != version.fingerprint
    if differs:
        raise Incompatible(
            f"this encoder's fingerprint is not that of {version.ref}: its vectors are of another space; "
            f"load the encoder of {version.ref}, or register this one as a version of its own"
        )
