"""The names of backbones: which there are, and whose code they stand for. Nothing is imported to find out."""

from __future__ import annotations

import re

from registry.errors import InvalidInput

__all__ = ["NAMES", "TIMM", "check", "is_foreign"]

NAMES: tuple[str, ...] = ("smallconv", "smallresnet", "resnet10", "resnet18", "resnet34")
"""The built-in ones."""

TIMM = "timm:"
# No slash and no second colon: timm would take those for an address to download from.
_TIMM = re.compile(r"timm:[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def check(name: str) -> str:
    """Return `name` if a backbone can be called so: one of `NAMES`, `timm:NAME` or `module:factory`.

    Whether timm or the module is there shows when the backbone is built.

    Raises:
        InvalidInput: any other name.
    """
    if name in NAMES or (isinstance(name, str) and (_TIMM.fullmatch(name) or is_foreign(name))):
        return name
    raise InvalidInput(
        f"backbone {name!r:.120} is not known: use one of {', '.join(NAMES)}, timm:NAME, or module:factory of your own"
    )


def is_foreign(name: str) -> bool:
    """Whether building `name` imports a module that is neither ours nor timm, so runs code that somebody must trust.

    >>> is_foreign("mynets:tiny"), is_foreign("timm:resnet18"), is_foreign("resnet18")
    (True, False, False)
    """
    return not name.startswith(TIMM) and _FACTORY.fullmatch(name) is not None
