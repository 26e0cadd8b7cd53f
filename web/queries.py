"""The query part of an address: read strictly, so that a typo is told and never ignored."""

from __future__ import annotations

from flask import request

from registry.errors import InvalidInput

__all__ = ["METRICS", "accept", "item_id", "metric", "optional", "several", "whole"]

METRICS: dict[str, tuple[str, str]] = {
    "map": ("mAP", "mean average precision: how high all items of the query's class are ranked"),
    "cmc@1": ("CMC@1", "share of queries whose closest item is of their class"),
    "cmc@5": ("CMC@5", "share of queries with an item of their class among the closest five"),
    "map@r": ("mAP@R", "mean average precision among the first R results, R being the size of the query's class"),
    "mrr": ("MRR", "mean reciprocal rank of the first item of the query's class"),
}
"""Metric -> its written name, and what it says."""

_DIGITS = 9
_LONGEST_ID = 19  # digits of the largest id that is a number


def accept(*names: str, many: tuple[str, ...] = ()) -> None:
    """Refuse a parameter that is not one of `names`, or that is given twice; one of `many` may be given often."""
    names += many
    for name, values in request.args.lists():
        if name not in names:
            known = f"this address knows {', '.join(names)}" if names else "this address takes none"
            raise InvalidInput(f"there is no query parameter {name!r:.120}: {known}")
        if len(values) > 1 and name not in many:
            raise InvalidInput(f"query parameter {name!r} is given {len(values)} times: give it once")


def optional(name: str) -> str | None:
    """The value of a parameter; None where it is missing or empty."""
    return request.args.get(name) or None


def several(name: str) -> tuple[str, ...]:
    """The values of a parameter that may be given often, or once with commas between them; each one once."""
    found = (value.strip() for given in request.args.getlist(name) for value in given.split(","))
    return tuple(dict.fromkeys(value for value in found if value))


def whole(name: str) -> int | None:
    """The value of a parameter that is a whole number from 1; None where it is missing or empty."""
    value = optional(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS and int(value)):
        raise InvalidInput(f"{name} must be a whole number from 1, got {value!r:.80}")
    return int(value)


def item_id(id_type: str, text: str) -> str | int:
    """The id of an item of a gallery whose ids are of this type, `string` or `int`, as an address has it."""
    if id_type == "string":
        return text
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID):
        raise InvalidInput(f"ids of this gallery are whole numbers, got {text!r:.80}")
    return int(text)


def metric() -> str | None:
    """The parameter `metric`, which must be one that is measured."""
    value = optional("metric")
    if value is not None and value not in METRICS:
        raise InvalidInput(f"metric {value!r:.120} is not known: use one of {', '.join(METRICS)}")
    return value
