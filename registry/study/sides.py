"""How a stage compares: what its queries and what is stored become before they are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.types import Stage
from registry.vectors import Array, Metric

__all__ = ["Sides", "Stages"]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Queries (q, d) and stored vectors (n, d) of one space, and the metric that compares them."""

    queries: Array
    gallery: Array
    metric: Metric


Stages = Mapping[Stage, Sides]
"""Those of each stage that there is, of the same queries and items; without a path nothing is `upgraded`."""
