"""What may be said of a version, checked alike by whoever registers it and whoever keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from registry.errors import InvalidInput
from registry.refs import check_name
from registry.vectors import METRICS

__all__ = ["check_depth", "check_description", "check_key", "check_tag", "check_text"]

_DTYPES = ("float32", "float16")
_DEEPEST = 32


def check_description(
    model: str,
    *,
    dim: object,
    metric: object,
    normalized: object,
    dtype: object,
    source: object,
    parent: object,
    method: object,
    run_id: object,
    fingerprint: object,
    tags: Any,
) -> None:
    """Refuse what no version can have.

    Raises:
        InvalidInput: a value of another type or range than a version's.
        BadName: a model or a tag that cannot be called so.
    """
    check_name(model, "model")
    for name, given in (("fingerprint", fingerprint), ("tags", tags)):
        if given is not None and not isinstance(given, Mapping):
            raise InvalidInput(f"{name} must be a mapping such as {{'key': 'value'}}, got {given!r:.80}")
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= 65536:
        raise InvalidInput(f"dim must be a whole number from 1 to 65536, got {dim!r}")
    if metric not in METRICS:
        raise InvalidInput(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if dtype not in _DTYPES:
        raise InvalidInput(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    if not isinstance(normalized, bool):
        raise InvalidInput(f"normalized must be True or False, got {normalized!r:.80}")
    check_text("method", method, 100)
    for name, text, longest in (("source", source, 1000), ("run_id", run_id, 100), ("parent", parent, 300)):
        if text is not None:
            check_text(name, text, longest)
    for key, value in (tags or {}).items():
        check_tag(key, value)


def check_depth(name: str, value: object) -> None:
    """Refuse JSON that is nested so deep that whoever copies or lists it later runs out of stack."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for outer in level if isinstance(outer, Mapping | list | tuple) for item in _inside(outer)]
        if not level:
            return
    raise InvalidInput(f"{name} is nested more than {_DEEPEST} deep: flatten it")


def _inside(outer: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, Mapping) else outer


def check_tag(key: object, value: object) -> None:
    """Refuse a note that no version can have."""
    check_text(f"tag {key!r:.80}", value, 1000)
    check_name(key, "tag")  # type: ignore[arg-type]  # of another type it is refused too


def check_key(key: object) -> None:
    """Refuse an idempotency key that no HTTP header can carry."""
    fits = isinstance(key, str) and 0 < len(key) <= 100 and key.isascii() and key.isprintable() and key == key.strip()
    if not fits:
        raise InvalidInput(f"an idempotency key is 1 to 100 printable ASCII characters, got {key!r:.120}")


def check_text(name: str, text: object, longest: int) -> None:
    """PostgreSQL refuses longer texts and NUL; SQLite would store them. Half a surrogate pair is no text at all."""
    if not isinstance(text, str) or not 0 < len(text) <= longest or "\0" in text or not _encodes(text):
        raise InvalidInput(f"{name} must be a text of 1 to {longest} characters without NUL, got {text!r:.80}")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
