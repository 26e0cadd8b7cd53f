"""Where the vectors of a segment are: in Lance, which samespace writes, or in an engine that held them before."""

from registry.backends.base import Backend, Capability
from registry.backends.lance import LanceBackend

__all__ = ["Backend", "Capability", "LanceBackend"]
