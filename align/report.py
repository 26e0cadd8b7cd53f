"""`Report`: what an upgrade does to stored embeddings, as a table for people and numbers for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from registry.bootstrap import Interval
from registry.types import METRIC_NAMES, Verdict

__all__ = ["NEW_NEW", "NEW_OLD", "OLD_OLD", "REFERENCE", "Report"]

OLD_OLD, NEW_OLD, NEW_NEW, REFERENCE = "old/old", "new/old", "new/new", "reference"
"""Cells: query model / gallery model, and the independently trained model on its own gallery."""

_NUMBERS: Mapping[Verdict, int] = {"compatible": 1, "inconclusive": 0, "incompatible": -1}


@dataclass(frozen=True, eq=False)
class Report:
    """What `compare` measured; all values are fractions in [0, 1], named as in `registry.types.METRIC_NAMES`.

    `cells` maps a cell to its metrics, each with a 95 % bootstrap interval over the `queries`, `cmc` a cell to CMC@k by
    k = 1 to 20. Where there is a cell new/old: `gain` is its paired difference to old/old, `verdicts` what the gain's
    interval says, `update_gain` the share of the possible gain that arrives without a backfill (left out where nothing
    could be gained), and `negative_flip_rate` the share of queries that old/old had right at rank 1 and new/old has
    wrong. `way` says how new queries read old vectors, `reference` what the update gain is a share of, `items` how many
    were evaluated.
    """

    cells: Mapping[str, Mapping[str, Interval]]
    cmc: Mapping[str, Mapping[int, float]]
    gain: Mapping[str, Interval]
    verdicts: Mapping[str, Verdict]
    update_gain: Mapping[str, float]
    negative_flip_rate: float | None
    way: str
    reference: str
    items: int
    queries: int
    seed: int

    def numbers(self) -> dict[str, float]:
        """Numbers under names that MLflow takes, grouped by `/`: `new_old/map`, `gain/cmc_at_1`, `gain_low/map`.

        A verdict is 1 for compatible, 0 for inconclusive, -1 for incompatible.
        """
        found = {f"{_key(cell)}/{_key(m)}": i.value for cell, row in self.cells.items() for m, i in row.items()}
        for name, interval in self.gain.items():
            found[f"gain/{_key(name)}"] = interval.value
            found[f"gain_low/{_key(name)}"] = interval.low
            found[f"gain_high/{_key(name)}"] = interval.high
            found[f"verdict/{_key(name)}"] = float(_NUMBERS[self.verdicts[name]])
        found |= {f"update_gain/{_key(name)}": value for name, value in self.update_gain.items()}
        if self.negative_flip_rate is not None:
            found["negative_flip_rate"] = self.negative_flip_rate
        return found

    def markdown(self, title: str = "Compatibility") -> str:
        """The table for people, in percent."""
        return "\n".join([f"# {title}", "", *self._told(), "", *self._rows(), ""])

    def to_json(self) -> str:
        """All of it for programs."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def _told(self) -> Iterator[str]:
        yield (
            f"{self.items} items, each a query and in the gallery, never finding itself; percent, with 95 % bootstrap "
            f"intervals over {self.queries} queries (seed {self.seed})."
        )
        if self.gain:
            yield f"New queries read old vectors by {self.way}."
        if self.negative_flip_rate is not None:
            flips = 100 * self.negative_flip_rate
            yield f"Negative flips: of all queries {flips:.1f} % were right at rank 1 in old/old and are wrong in new/old."

    def _rows(self) -> Iterator[str]:
        yield f"| query/gallery | {' | '.join(METRIC_NAMES.values())} |"
        yield f"|---|{'---|' * len(METRIC_NAMES)}"
        for cell, row in self.cells.items():
            yield f"| {cell} | {' | '.join(_percent(row[m]) for m in METRIC_NAMES)} |"
        if self.gain:
            yield f"| gain of new/old | {' | '.join(_percent(self.gain[m], sign='+') for m in METRIC_NAMES)} |"
            yield f"| verdict | {' | '.join(self.verdicts[m] for m in METRIC_NAMES)} |"
            shares = [f"{self.update_gain[m]:.2f}" if m in self.update_gain else "–" for m in METRIC_NAMES]
            yield f"| update gain, share of {self.reference} | {' | '.join(shares)} |"


def _key(name: str) -> str:
    """As MLflow takes it: `cmc@1` is `cmc_at_1`, `new/old` is `new_old`."""
    return name.replace("@", "_at_").replace("/", "_")


def _percent(interval: Interval, sign: str = "") -> str:
    value, low, high = (f"{100 * x:{sign}.1f}" for x in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"
