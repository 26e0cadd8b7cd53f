"""The query part of an address: read strictly, so that a typo is told and never ignored."""

from __future__ import annotations

from flask import request

from registry.errors import InvalidInput

__all__ = ["METRICS", "accept", "metric", "optional"]

METRICS: dict[str, tuple[str, str]] = {
    "map": ("mAP", "mean average precision: how high all items of the query's class are ranked"),
    "cmc@1": ("CMC@1", "share of queries whose closest item is of their class"),
    "cmc@5": ("CMC@5", "share of queries with an item of their class among the closest five"),
    "map@r": ("mAP@R", "mean average precision among the first R results, R being the size of the query's class"),
    "mrr": ("MRR", "mean reciprocal rank of the first item of the query's class"),
}
"""Metric -> its written name, and what it says."""


def accept(*names: str) -> None:
    """Refuse a parameter that is not one of `names`, or that is given twice."""
    for name, values in request.args.lists():
        if name not in names:
            known = f"this address knows {', '.join(names)}" if names else "this address takes none"
            raise InvalidInput(f"there is no query parameter {name!r:.120}: {known}")
        if len(values) > 1:
            raise InvalidInput(f"query parameter {name!r} is given {len(values)} times: give it once")


def optional(name: str) -> str | None:
    """The value of a parameter; None where it is missing or empty."""
    return request.args.get(name) or None


def metric() -> str | None:
    """The parameter `metric`, which must be one that is measured."""
    value = optional("metric")
    if value is not None and value not in METRICS:
        raise InvalidInput(f"metric {value!r:.120} is not known: use one of {', '.join(METRICS)}")
    return value
