"""Which part of a benchmark's matrix is asked for: the parameters of an address, and what they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.services import benchmarks, evidence
from registry.types import Matrix
from web import heat, queries
from web.access import Caller
from web.api.base import model_of

__all__ = ["AT_ONCE", "FIELDS", "MANY", "Selection", "read"]

AT_ONCE = 24
"""The most versions of one matrix: more would be no picture any more."""

FIELDS = ("benchmark", "label", "metric", "show", "model")
MANY = ("versions",)

_OF_ITSELF = 12  # versions shown unless some are named


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown, and what there is to choose from.

    Attributes:
        benchmarks: the label columns of each benchmark that the caller sees.
        matrix: the cells, of the versions shown.
        show: what number and colour say.
        model: the model that versions are taken of, or None for all.
        asked: the versions that the address names; () for the newest.
        counts: model -> how many of its versions are measured.
        stored: where nothing is measured, the newest versions that stored vectors there.
    """

    benchmarks: Mapping[str, tuple[str, ...]]
    matrix: Matrix
    show: heat.Shown
    model: str | None
    asked: tuple[str, ...]
    counts: Mapping[str, int]
    stored: tuple[str, ...] = ()

    @property
    def measured(self) -> int:
        """How many versions could be shown."""
        return self.counts.get(self.model, 0) if self.model else sum(self.counts.values())

    @property
    def address(self) -> dict[str, str | None]:
        """The parameters that lead back here."""
        return {**self._place, "model": self.model, "versions": ",".join(self.asked) or None}

    @property
    def exact(self) -> dict[str, str | None]:
        """The parameters that lead to these very versions, also when there are newer ones."""
        return {**self._place, "versions": ",".join(self.matrix.versions) or None}

    @property
    def _place(self) -> dict[str, str | None]:
        m = self.matrix
        return {"benchmark": m.benchmark, "label": m.label, "metric": m.metric, "show": self.show}


def read(session: Session, who: Caller) -> Selection | None:
    """What the address asks for; None if there is no benchmark at all.

    Raises:
        InvalidInput: parameters that cannot be.
        NotAllowed: the caller's token does not cover what is named.
        NotFound: what is named is not registered.
    """
    metric, show, model, asked = queries.metric() or "map", heat.shown(), queries.optional("model"), _asked()
    named = [name for ref in asked for name in model_of(ref)]
    who.require("reader", models=[*named, *([model] if model else [])])
    if model and any(name != model for name in named):
        raise InvalidInput(f"versions names versions of other models than {model}: leave out model, or these versions")
    there = {name: found for name, found in benchmarks.benchmarks(session).items() if who.sees_gallery(name)}
    benchmark = queries.optional("benchmark") or benchmarks.newest(session, models=who.models, among=who.galleries)
    benchmark = benchmark or next(iter(there), None)
    if benchmark is None:
        return None
    who.require("reader", galleries=[benchmark])
    label = _label(there.get(benchmark, ()))
    found = benchmarks.measured(session, benchmark, label=label, model=model, models=who.models, limit=_OF_ITSELF)
    versions = asked or found.versions
    if versions:
        matrix = evidence.matrix(session, benchmark, metric=metric, label=found.label, versions=versions)
        return Selection(there, matrix, show, model, matrix.versions if asked else (), found.counts)
    stored = benchmarks.stored(session, benchmark, model=model, models=who.models, limit=_OF_ITSELF)
    return Selection(there, Matrix(benchmark, found.label, metric, (), ()), show, model, (), found.counts, stored)


def _asked() -> tuple[str, ...]:
    asked = queries.several("versions")
    if len(asked) > AT_ONCE:
        raise InvalidInput(f"a matrix shows at most {AT_ONCE} versions at once, got {len(asked)}: name fewer")
    return asked


def _label(labels: tuple[str, ...]) -> str | None:
    """The label column asked for. The form sends one of the benchmark shown before: it means nothing on another."""
    asked = queries.optional("label")
    return asked if asked in labels else None
