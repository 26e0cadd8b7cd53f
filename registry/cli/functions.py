"""Functions of the user's own that a command calls, named MODULE:FUNCTION."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from registry.errors import InvalidInput, NotFound, SamespaceError

__all__ = ["imported"]


def imported(name: str) -> Callable[[Any], Any]:
    """The function `name`, such as `shop.encoders:encode`; what it raises is told in a line that names it.

    Raises:
        InvalidInput: `name` is not of that form, or the module fails while it is imported.
        NotFound: there is no such module or function.
    """
    place, _, attribute = name.partition(":")
    if not place or not attribute:
        raise InvalidInput(f"a function is named MODULE:FUNCTION, got {name!r:.120}")
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        raise NotFound(f"{name}: {place} cannot be imported ({error}): put its folder on PYTHONPATH") from error
    except Exception as error:  # whatever a module does
        raise InvalidInput(f"{name}: importing {place} fails with {_said(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise NotFound(f"{name}: {place} has no function {attribute!r:.80}")

    def called(given: Any) -> Any:
        try:
            return function(given)
        except SamespaceError:
            raise
        except Exception as error:  # whatever it does
            raise InvalidInput(f"{name} fails with {_said(error)}") from error

    return called


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]:.200}"
