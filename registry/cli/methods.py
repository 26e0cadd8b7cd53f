"""The methods of `samespace fit`: when to use which, and what each takes. `--help` reads it, so it imports no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from registry.cli.files import pairs
from registry.errors import InvalidInput

__all__ = ["METHODS", "OPTIONS", "parsed", "taken"]

METHODS = {
    "orthogonal": "Rotate, scale and shift (Procrustes). Keeps angles: safe with few pairs.",
    "affine": "Any linear map and a shift (ridge). Better with many pairs, some ten for each dimension.",
    "lowrank": "A linear map through few dimensions. Cheaper to apply; loses where the spaces are truly wide.",
    "mlp": "A linear map and a small network. Slow to fit; worth it where linear maps stop gaining from more pairs.",
    "lambda-orthogonal": "A linear map kept nearly a rotation. Between orthogonal and affine; slow to fit.",
    "fct": "Forward: stored vectors into the new space (FCT). --source is the old version, --target the new one.",
    "slerp": "Rotate the new query, then stay near the old one. The old model must still embed every query.",
    "auto": "Try the closed forms, and take what finds the most on held-out pairs; exit 1 if none is worth it.",
}
"""When to use which, in one line; `gpa`, for three versions or more, has options of its own."""

OPTIONS = {
    "orthogonal": (), "affine": ("ridge",), "lowrank": ("rank", "ridge"), "mlp": ("hidden", "epochs", "lr", "batch"),
    "lambda-orthogonal": ("lam", "epochs", "lr", "batch"), "fct": ("hidden", "epochs", "lr", "batch"),
    "slerp": ("alpha",), "auto": ("candidates",),
}  # fmt: skip
"""Those of `align.bridges.methods.OPTIONS` that a command line can give; repeated, since `--help` imports no NumPy."""

_TYPES: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "ridge": (float, "a number"), "lr": (float, "a number"), "lam": (float, "a number"), "alpha": (float, "a number"),
    "rank": (int, "a whole number"), "hidden": (int, "a whole number"), "epochs": (int, "a whole number"),
    "batch": (int, "a whole number"), "candidates": (lambda text: tuple(text.split(",")), "methods with commas between"),
}  # fmt: skip


def taken(method: str) -> str:
    """The help of a method's --option."""
    names = OPTIONS[method]
    return f"Any of {', '.join(names)}; see align.fit. May be repeated." if names else "This method takes none."


def parsed(method: str, options: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE options of a method, each with its type."""
    found: dict[str, Any] = {}
    for name, text in pairs(options, "--option").items():
        if name not in OPTIONS[method]:
            raise InvalidInput(f"{method} has no option {name!r:.80}: it takes {', '.join(OPTIONS[method]) or 'none'}")
        convert, wanted = _TYPES[name]
        try:
            found[name] = convert(text)
        except ValueError as error:
            raise InvalidInput(f"--option {name} takes {wanted}, got {text!r:.80}") from error
    return found
