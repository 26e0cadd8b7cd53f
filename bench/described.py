"""Requests that schemathesis makes of the description of the API, and what they must be answered."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bench.hostility import DIM, ROUTES, good, stream_of
from registry import wire
from registry.transforms import Affine

__all__ = ["described", "explore"]

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]

_VERSIONS = ("products/1", "products/2", "products@champion", "products/1[:4]")
_KNOWN: dict[str, tuple[Any, ...]] = {
    "name": ("catalog", "numbers", "products/1", "relative/landmarks"), "model": ("products",), "number": (1, 2),
    "ref": _VERSIONS, "version": _VERSIONS, "into": (*_VERSIONS, "relative/landmarks"), "source": _VERSIONS, "target": _VERSIONS,
    "old": _VERSIONS, "new": _VERSIONS, "benchmark": ("numbers",), "label": ("class",), "allow_unmeasured": (True,),
    "versions": (["products/1"], ["products/1", "products/2"]),
}  # fmt: skip
"""What `bench.hostility.fill` makes: random names alone would only ever be told that they are unknown."""


def described(app: Flask) -> Any:
    """The description of `app` as schemathesis knows it."""
    bodies = [stream_of(good(route)) for route in ROUTES]
    schemathesis.openapi.media_type(wire.ARROW, st.sampled_from(bodies) | st.binary(max_size=200))
    made = Affine(weight=np.eye(DIM), bias=np.ones(DIM))
    schemathesis.openapi.media_type("application/octet-stream", st.just(made.dumps()) | st.binary(max_size=200))
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


def explore(app: Flask, examples: int) -> Counter[int]:
    """Ask every operation `examples` times with what it takes, and as often with what it does not.

    Returns how often each status was answered. Raises what schemathesis finds: an answer that is a server's error, or
    that the description does not know.
    """
    statuses: Counter[int] = Counter()
    operations = [found.ok() for found in described(app).get_all_operations()]
    # Once there is a token, nobody is answered without one.
    for operation in sorted(operations, key=lambda o: (o.path.endswith("/tokens"), o.label)):
        for mode in GenerationMode:
            _ask(operation.as_strategy(generation_mode=mode), examples, statuses)
    return statuses


def _ask(cases: st.SearchStrategy[Any], examples: int, statuses: Counter[int]) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases, st.booleans(), st.integers(0, 2**32))
    def ask(case: Any, known: bool, seed: int) -> None:
        if known:
            _name_what_there_is(case, Random(seed))  # noqa: S311 - repeatable, not secret
        answer = case.call()
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    ask()


def _name_what_there_is(case: Any, random: Random) -> None:
    for given_names in (case.path_parameters, case.query):
        for name in given_names if isinstance(given_names, dict) else ():
            if name in _KNOWN:
                given_names[name] = random.choice(_KNOWN[name])
