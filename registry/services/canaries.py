"""Which versions have canaries, and the digest that their file must have."""

from __future__ import annotations

from sqlalchemy.orm import Session

from registry.canaries import Canaries, Inputs, made
from registry.errors import AlreadyExists, NotFound
from registry.services import models
from registry.services.audit import record
from registry.tables import CanariesRow
from registry.types import Version

__all__ = ["add", "digest"]


def add(session: Session, ref: str, inputs: Inputs, vectors: object) -> Canaries:
    """Note the canaries of a version, once and for all; see `Registry.add_canaries`. Their file is to be stored."""
    version = models.find(session, ref)
    if session.get(CanariesRow, version.id) is not None:
        raise AlreadyExists(
            f"{version.ref} has canaries, and they never change: register a new version of a new encoder"
        )
    canaries = made(version.ref, inputs, vectors, dim=version.dim)
    session.add(CanariesRow(version_id=version.id, digest=canaries.digest(), count=len(canaries)))
    record(session, "canaries.added", version.ref, {"count": len(canaries)})
    session.flush()
    return canaries


def digest(session: Session, ref: str) -> tuple[Version, str]:
    """A version, and the digest of its canaries. NotFound if it has none."""
    version = models.find(session, ref)
    row = session.get(CanariesRow, version.id)
    if row is None:
        raise NotFound(f"{version.ref} has no canaries: store some with add_canaries when its encoder is registered")
    return models.to_version(version), row.digest
