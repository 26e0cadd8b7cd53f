"""Tokens of the HTTP API: made once, shown once, kept as digests, never deleted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import AlreadyExists, InvalidInput, NotFound, NotSignedIn
from registry.refs import check_name
from registry.services.audit import record
from registry.tables import TokenRow, now
from registry.types import TOKEN_ROLES, Token, TokenRole

__all__ = ["authenticate", "create", "digest", "exist", "of_digest", "revoke", "tokens"]

_PREFIX = "sst_"  # so that scanners for leaked secrets know one
_SECRET_BYTES = 32
_LONGEST = timedelta(days=3650)


def digest(text: str) -> str:
    """sha-256 of a token, hex: what is kept, and found by. A secret of 256 random bits needs no slower hash."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def create(
    session: Session,
    name: str,
    role: TokenRole,
    *,
    models: Sequence[str] | None = None,
    galleries: Sequence[str] | None = None,
    expires_in: timedelta | None = None,
) -> tuple[Token, str]:
    """A new token, and its text, which nobody can read again.

    Raises:
        BadName, InvalidInput: a value that no token can have.
        AlreadyExists: there is or was a token of this name; names are not used again, so that the audit log stays clear.
    """
    check_name(name, "token")
    if role not in TOKEN_ROLES:
        raise InvalidInput(f"role must be one of {', '.join(TOKEN_ROLES)}, got {role!r:.80}")
    if role == "admin" and (
        models is not None or galleries is not None
    ):  # who makes tokens could make one that covers everything
        raise InvalidInput("an admin covers everything: leave models and galleries out, or make a writer")
    if expires_in is not None and not timedelta() < expires_in <= _LONGEST:
        raise InvalidInput(f"a token expires in more than nothing and at most {_LONGEST.days} days, got {expires_in}")
    taken = _find(session, name)
    if taken is not None:
        raise AlreadyExists(f"there is or was a token {name}, now {to_token(taken).state}: choose another name")
    text, at = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES), now()
    row = TokenRow(
        name=name, digest=digest(text), role=role, models=_scope(models, "model"), galleries=_scope(galleries, "gallery"),
        created_at=at, expires_at=at + expires_in if expires_in else None, revoked_at=None,
    )  # fmt: skip
    session.add(row)
    made = to_token(row)
    expires = made.expires_at.isoformat() if made.expires_at else None
    said = {"role": role, "models": row.models, "galleries": row.galleries, "expires_at": expires}
    record(session, "token.created", name, said)
    return made, text


def tokens(session: Session) -> list[Token]:
    """All tokens by name, expired and revoked ones too."""
    return [to_token(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.name))]


def revoke(session: Session, name: str) -> Token:
    """Make a token good for nothing; doing it again changes nothing."""
    row = _find(session, name)
    if row is None:
        raise NotFound(f"there is no token {name!r:.120}: 'samespace token list' shows those there are")
    if row.revoked_at is None:
        row.revoked_at = now()
        record(session, "token.revoked", name)
    return to_token(row)


def exist(session: Session) -> bool:
    """Whether a token was ever created. One that expired or was revoked counts: its end must not open a server."""
    return session.scalar(select(TokenRow.id).limit(1)) is not None


def authenticate(session: Session, text: str, *, at: datetime | None = None) -> Token:
    """The token with this text, which must be active now, or at another moment.

    Raises:
        NotSignedIn: it is unknown, expired or revoked; the message says which and never holds the text.
    """
    return of_digest(session, digest(text), at=at)


def of_digest(session: Session, digest: str, *, at: datetime | None = None) -> Token:
    """As `authenticate`, for who kept the digest of the text."""
    row = session.scalar(select(TokenRow).where(TokenRow.digest == digest))
    if row is None:
        raise NotSignedIn("the token is unknown here: check that it was copied whole and is one of this server")
    found = to_token(row)
    state = found.state_at(at or now())
    if state != "active":
        raise NotSignedIn(f"the token {found.name} is {state}: ask for a new one")
    return found


def _find(session: Session, name: str) -> TokenRow | None:
    return session.scalar(select(TokenRow).where(TokenRow.name == name))


def _scope(names: Sequence[str] | None, what: str) -> list[str] | None:
    """Names in order, each once. They need not exist yet: a writer may be the one to create them."""
    if isinstance(names, str):
        raise InvalidInput(f"name each {what} in a list, got the text {names!r:.120}: write [{names!r:.120}]")
    return None if names is None else sorted({check_name(name, what) for name in names})


def to_token(row: TokenRow) -> Token:
    """The frozen value of a row, which never holds the digest."""
    models, galleries = (None if scope is None else tuple(scope) for scope in (row.models, row.galleries))
    return Token(
        name=row.name, role=row.role, models=models, galleries=galleries, created_at=row.created_at,  # type: ignore[arg-type]
        expires_at=row.expires_at, revoked_at=row.revoked_at,
    )  # fmt: skip
