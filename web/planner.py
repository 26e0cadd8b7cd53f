"""What re-embedding a part of what is stored costs, and what it brings by the measured curves of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from registry.errors import InvalidInput
from registry.types import Filling, Study
from web import queries

__all__ = ["FIELDS", "Brings", "Plan", "Wish", "brings", "plan", "wish"]

FIELDS = ("items", "rate", "price", "per", "share")
"""The parameters of an address that ask for a plan."""

Per = Literal["hour", "thousand"]

_METRICS = ("map", "cmc@1")
_MOST = 1e15
_SLOWEST = 1e-6  # an item in eleven days
_NOTHING = 0.0005  # a change that is written as none


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody would pay for: `share` of `items`, at `rate` items per second, and a price per hour or 1,000 items."""

    items: float
    share: float = 0.5
    rate: float | None = None
    price: float | None = None
    per: Per = "hour"


@dataclass(frozen=True, slots=True)
class Plan:
    """Items to re-embed, and what that takes; None where a rate or a price is missing."""

    items: int
    hours: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Brings:
    """What a share of a backfill brings by one metric: before, with it, and with all; `today` is the old version alone.

    `chosen` is with the items first that the path is predicted to serve worst, `random` in any order.
    """

    metric: str
    today: float | None
    before: float
    chosen: float
    random: float
    after: float

    @property
    def best(self) -> float:
        """The better of the two orders."""
        return max(self.chosen, self.random)

    @property
    def order(self) -> str:
        """The better of the two orders, in words."""
        return "the worst served items first" if self.chosen >= self.random else "in random order"

    @property
    def part(self) -> float | None:
        """The part of the whole gain that it brings; None where all of it brings none, or the share alone a loss."""
        gains = self.after > self.before and self.best >= self.before - _NOTHING
        return max((self.best - self.before) / (self.after - self.before), 0.0) if gains else None


def wish(stored: int) -> Wish:
    """What the address asks for; `stored` rows unless it names another number."""
    share = _number("share", 0, 100)
    per = queries.optional("per") or "hour"
    if per not in ("hour", "thousand"):
        raise InvalidInput(f"per must be 'hour' or 'thousand' (items), got {per!r:.80}")
    items, rate = _number("items", 0, _MOST), _number("rate", 0, _MOST)
    if rate and rate < _SLOWEST:
        raise InvalidInput(f"rate must be a number of items per second from {_SLOWEST:g}, got {rate:g}")
    return Wish(
        items=float(stored) if items is None else items, share=0.5 if share is None else share / 100, rate=rate,
        price=_number("price", 0, _MOST), per="hour" if per == "hour" else "thousand",
    )  # fmt: skip


def _number(name: str, low: float, high: float) -> float | None:
    text = queries.optional(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InvalidInput(f"{name} must be a number from {low:g} to {high:g}, got {text!r:.80}")
    return value


def plan(wish: Wish) -> Plan:
    """Time and cost of re-embedding the share: items / rate, and its hours or thousands of items times the price."""
    items = wish.share * wish.items
    hours = items / wish.rate / 3600 if wish.rate else None
    amount = items / 1000 if wish.per == "thousand" else hours
    cost = None if wish.price is None or amount is None else amount * wish.price
    return Plan(round(items), hours, cost)


def brings(study: Study, share: float, today: dict[str, float]) -> list[Brings]:
    """What the share brings by each metric, between the measured shares by a straight line; `today` by metric."""
    found = {(f.metric, f.order): f for f in study.filling}
    metrics = [m for m in _METRICS if (m, "random") in found and (m, "uncertainty") in found]
    return [_brings(found[m, "random"], found[m, "uncertainty"], share, today.get(m)) for m in metrics]


def _brings(random: Filling, chosen: Filling, share: float, today: float | None) -> Brings:
    ends = random.curve.values
    return Brings(random.metric, today, ends[0], _at(chosen, share), _at(random, share), ends[-1])


def _at(filling: Filling, share: float) -> float:
    at: Sequence[float] = filling.curve.at
    return float(np.interp(share, at, filling.curve.values))
