"""One encoder for everything that the registry returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

__all__ = ["encode"]


def encode(value: Any) -> Any:
    """Plain JSON values: dataclasses with their derived facts (such as `ref`), moments as ISO 8601 in UTC.

    JSON has no NaN and no infinity: they become null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass, then its public properties."""
    derived = (name for name, item in vars(cls).items() if isinstance(item, property) and not name.startswith("_"))
    return (*(f.name for f in fields(cls)), *derived)
