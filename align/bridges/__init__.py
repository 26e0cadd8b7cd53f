"""Bridges between spaces, fitted to pairs of vectors of the same items in both."""

from align.bridges.fitting import METHODS, fit

__all__ = ["METHODS", "fit"]
