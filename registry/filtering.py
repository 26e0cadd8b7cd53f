"""Which items a search is among: those whose label columns hold the wanted values."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from registry.errors import InvalidInput
from registry.gallery import Dataset

__all__ = ["Among", "Filters", "Where", "wanted"]

Where = Mapping[str, Any]
"""By label column a value, or several of which an item has any."""

Wanted = tuple[tuple[str, tuple[str | int, ...]], ...]
"""The same, in one order, to be compared."""

_MOST_VALUES = 1000
_KEPT_BYTES = 512 << 20


def wanted(where: Where | None, labels: Sequence[str], gallery: str) -> Wanted | None:
    """What `where` asks for, checked; None for all items.

    Raises:
        InvalidInput: a column that the gallery does not have, no values, too many, or what no label can be.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping) or not where:
        raise InvalidInput(f"where maps label columns to values, such as {{'class': 'shoe'}}, got {where!r:.80}")
    return tuple(sorted((_column(name, labels, gallery), _values(name, value)) for name, value in where.items()))


def _column(name: Any, labels: Sequence[str], gallery: str) -> str:
    if not isinstance(name, str) or name not in labels:
        has = f"it has {', '.join(labels)}" if labels else "it has none"
        raise InvalidInput(f"{gallery} has no label column {name!r:.80}: {has}")
    return name


def _values(name: str, given: Any) -> tuple[str | int, ...]:
    listed = [given] if isinstance(given, str | int | np.integer) else given
    if not isinstance(listed, list | tuple | set | frozenset | np.ndarray) or not 1 <= len(listed) <= _MOST_VALUES:
        raise InvalidInput(f"{name} is a value or a list of 1 to {_MOST_VALUES} of them, got {given!r:.80}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in listed]
    for value in plain:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"labels are texts or whole numbers, {name} is to be {value!r:.80}: convert it")
        if isinstance(value, str) and not value.isascii():
            _check_text(name, value)
    return tuple(sorted(set(plain), key=lambda value: (str(value), isinstance(value, str))))


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} is to be {value!r:.80}, which is no valid text: {error.reason}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """The ids of the items that a search is among; two of one `key` are the same."""

    ids: pa.Array
    key: Hashable


class Filters:
    """Ids of items, kept for the states that were asked last, up to so many bytes. Safe to share between threads.

    Of one state the same array comes each time: whoever derives something from it can tell by that.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def among(self, items: Dataset, version: int, asked: Wanted) -> Among:
        """All items at `version` that have the wanted values; 3 and "3" are one value."""
        key = (items.uri, version, asked)
        return Among(self.ids(key, lambda: items.having(version, dict(asked))), key)

    def ids(self, key: Hashable, find: Callable[[], pa.Array]) -> pa.Array:
        """The ids that `key` stands for, found by `find` unless they are known."""
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        found = find()
        with self._lock:
            found = self._kept.setdefault(key, found)
            while len(self._kept) > 1 and sum(ids.nbytes for ids in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return found
