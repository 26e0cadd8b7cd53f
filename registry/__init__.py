"""samespace: a registry that keeps stored embeddings usable by every later model version."""

from __future__ import annotations

from registry import transforms
from registry.connecting import connect

__all__ = ["__version__", "connect", "transforms"]

__version__ = "0.1.0"
