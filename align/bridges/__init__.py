"""Bridges between spaces, fitted to pairs of vectors of the same items in both."""

from align.bridges.fitting import fit, fit_closed
from align.bridges.gpa import fit_gpa
from align.bridges.hub import Hub
from align.bridges.methods import METHODS

__all__ = ["METHODS", "Hub", "fit", "fit_closed", "fit_gpa"]
