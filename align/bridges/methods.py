"""The methods of `align.fit`, and which options belong to which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from registry.errors import InvalidInput

__all__ = ["CANDIDATES", "CLOSED", "LABELLED", "METHODS", "OPTIONS", "Method", "check", "check_share"]

Method = Literal["orthogonal", "affine", "lowrank", "mlp", "lambda-orthogonal", "fct", "slerp", "gpa", "auto"]
METHODS: tuple[Method, ...] = get_args(Method)

CLOSED = ("orthogonal", "affine", "lowrank")
"""Solved from the moments of the pairs, in one pass; the simplest first."""

CANDIDATES = (*CLOSED, "lambda-orthogonal", "mlp")
"""What `auto` may choose from; the simplest first."""

LABELLED = ("lambda-orthogonal", "slerp")
"""Methods whose fit itself can use labels."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "orthogonal": (),
    "affine": ("ridge",),
    "lowrank": ("rank", "ridge"),
    "mlp": ("hidden", "epochs", "lr", "batch"),
    "lambda-orthogonal": ("lam", "epochs", "lr", "batch"),
    "fct": ("side", "hidden", "epochs", "lr", "batch"),
    "slerp": ("alpha",),
    "gpa": ("reference", "correct"),
    "auto": ("candidates",),
}


def check(method: object, given: Mapping[str, Any]) -> None:
    """Refuse an unknown method, and options `given` that are not its own.

    Raises:
        InvalidInput: naming the method and what it takes.
    """
    if method not in METHODS:
        raise InvalidInput(f"method {method!r:.80} is not known: use one of {', '.join(METHODS)}")
    for name in given:
        if name not in OPTIONS[str(method)]:
            owners = " and ".join(f"the {owner} method" for owner, names in OPTIONS.items() if name in names)
            raise InvalidInput(f"{name} belongs to {owners}, got it for {method!r}: leave it out")
    ridge = given.get("ridge")
    if ridge is not None and not (isinstance(ridge, int | float | np.floating) and 0 <= ridge < np.inf):
        raise InvalidInput(f"ridge must be a finite number from 0 up, got {ridge!r:.80}")
    for name in given.get("candidates", ()):
        if name not in CANDIDATES:
            raise InvalidInput(f"auto cannot choose {name!r:.80}: candidates are among {', '.join(CANDIDATES)}")
    if "candidates" in given and (isinstance(given["candidates"], str) or not len(given["candidates"])):
        raise InvalidInput("candidates must list one method or more, such as ('orthogonal', 'mlp')")


def check_share(holdout: object) -> None:
    """Refuse a `holdout` that is no share of the pairs.

    Raises:
        InvalidInput: it is not a number from 0 to 0.5.
    """
    if isinstance(holdout, bool) or not isinstance(holdout, int | float | np.floating) or not 0 <= holdout <= 0.5:
        raise InvalidInput(f"holdout must be a share of the pairs from 0 to 0.5, such as 0.1, got {holdout!r:.80}")
