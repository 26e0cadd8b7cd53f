"""Every error that samespace raises on purpose.

    SamespaceError
    ├── InvalidInput          (ValueError)   what was given can never be right
    │   ├── BadVector                        NaN, infinity or a zero vector, at a row
    │   ├── DimensionMismatch                vectors of another width than their space
    │   ├── DuplicateId                      one id twice in a batch
    │   └── BadName                          a name or reference that does not parse
    ├── NotFound              (LookupError)  no such model, version, gallery, id, …
    ├── AlreadyExists                        the name, id or version is taken
    ├── Incompatible                         no known path between two spaces
    │   └── Unmeasured                       a path is known, but nobody measured it
    ├── NotWorthIt                           every map that was fitted loses against staying
    ├── NotSignedIn           (PermissionError)  no token, or one that is unknown, expired or revoked
    ├── NotAllowed            (PermissionError)  the token's role or scope does not cover this
    ├── TooLarge                             more than the server takes or gives at once
    ├── TooMany                              more requests than the server allows; try again later
    ├── CorruptFile                          a file fails its checksum or does not parse
    ├── MigrationNeeded                      the database is of another release
    ├── Unavailable                          a store could not be reached or is busy
    └── MissingExtra          (ImportError)  an optional dependency is not installed

A message is one line: what was wrong, what was got, what to do. `code` is stable: it is what the HTTP API sends and
what the client turns back into the same class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AlreadyExists",
    "BadName",
    "BadVector",
    "CorruptFile",
    "DimensionMismatch",
    "DuplicateId",
    "Incompatible",
    "InvalidInput",
    "MigrationNeeded",
    "MissingExtra",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "NotWorthIt",
    "SamespaceError",
    "TooLarge",
    "TooMany",
    "Unavailable",
    "Unmeasured",
    "from_code",
]


class SamespaceError(Exception):
    """The root of the tree."""

    code = "error"


class InvalidInput(SamespaceError, ValueError):
    """What was given can never be right, whatever the registry holds."""

    code = "invalid_input"


class BadVector(InvalidInput):
    """A vector with NaN, infinity or only zeros; `row` is its position in the batch."""

    code = "bad_vector"

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class DimensionMismatch(InvalidInput):
    """Vectors of another width than the space that they are said to be of."""

    code = "dimension_mismatch"


class DuplicateId(InvalidInput):
    """One id stands twice in a batch; `row` is the position of its second occurrence."""

    code = "duplicate_id"

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class BadName(InvalidInput):
    """A name or a reference that does not parse."""

    code = "bad_name"


class NotFound(SamespaceError, LookupError):
    """There is no such model, version, alias, gallery, item, transform or benchmark."""

    code = "not_found"


class AlreadyExists(SamespaceError):
    """The name, id or version is taken, and what is stored is never replaced silently."""

    code = "already_exists"


class Incompatible(SamespaceError):
    """No known path leads between two spaces, so comparing their vectors would mean nothing."""

    code = "incompatible"


class Unmeasured(Incompatible):
    """A path is known but no evaluation says how good it is; `allow_unmeasured=True` takes it all the same."""

    code = "unmeasured"


class NotWorthIt(SamespaceError):
    """Every map that was fitted finds less than staying with the old version does; `report` says what was measured."""

    code = "not_worth_it"

    def __init__(self, message: str, *, report: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report: Mapping[str, Any] = report or {}


class NotSignedIn(SamespaceError, PermissionError):
    """The server wants a token, and got none, or one that is unknown, expired or revoked."""

    code = "not_signed_in"


class NotAllowed(SamespaceError, PermissionError):
    """The token's role, models or galleries do not cover what was asked."""

    code = "not_allowed"


class TooLarge(SamespaceError):
    """The request holds more than the server takes at once."""

    code = "too_large"


class TooMany(SamespaceError):
    """More requests than the server allows this caller; trying again is safe, after `retry_after` seconds."""

    code = "too_many"

    def __init__(self, message: str, *, retry_after: int = 60) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CorruptFile(SamespaceError):
    """A file fails its checksum or does not parse; nothing of it was used."""

    code = "corrupt_file"


class MigrationNeeded(SamespaceError):
    """The database belongs to another release of samespace."""

    code = "migration_needed"


class Unavailable(SamespaceError):
    """A store could not be reached or stayed busy; trying again later is safe."""

    code = "unavailable"


class MissingExtra(SamespaceError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    code = "missing_extra"


def _tree(root: type[SamespaceError]) -> list[type[SamespaceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


def from_code(code: str) -> type[SamespaceError]:
    """The class whose `code` this is; an unknown code, from a newer server, gives the root."""
    return {cls.code: cls for cls in _tree(SamespaceError)}.get(code, SamespaceError)
