"""samespace: a registry that keeps stored embeddings usable by every later model version."""

from __future__ import annotations

from registry import transforms
from registry.connecting import connect
from registry.query import Query

__all__ = ["Query", "__version__", "connect", "transforms"]

__version__ = "0.1.0"
