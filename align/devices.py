"""Where arithmetic runs: NumPy on the CPU, torch on a GPU, behind the few operations that the two name differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from registry.vectors import Array

__all__ = ["OnNumpy", "OnTorch", "full_precision", "pick_device"]

# Squared lengths between which the float32 products of a block of rows neither vanish nor overflow.
_SHORTEST, _LONGEST = 1e-30, 1e30


def pick_device(device: str | None) -> str:
    """`device`, or "cuda" where torch has one, or "cpu"."""
    if device is not None:
        return str(device)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Keep torch from rounding the factors of float32 products to TF32 (10 bits), which costs two digits."""
    if device == "cpu":
        yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class OnNumpy:
    """The few operations that NumPy and torch name differently, by NumPy's BLAS (twice torch's speed on AMD)."""

    def load(self, block: Array) -> Array:
        """Rows as float32."""
        with np.errstate(over="ignore"):  # becomes infinity, which `usable` sees
            return np.asarray(block, dtype=np.float32)

    def squares(self, rows: Array) -> Array:
        """Squared length (m,) of each row."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.vecdot(rows, rows))

    def usable(self, squares: Array) -> bool:
        """Whether all rows are finite, not zero, and of a length that float32 products bear."""
        return bool(squares.min() > _SHORTEST and squares.max() < _LONGEST)  # False for NaN

    def ones(self, n: int) -> Array:
        """A row of n ones: its product with a matrix is the fastest column sum."""
        return np.ones(n, dtype=np.float32)

    def wide(self, a: Array) -> Array:
        """In float64."""
        return a.astype(np.float64)

    def host(self, a: Array) -> Array:
        """As a float64 array of NumPy."""
        return np.asarray(a, dtype=np.float64)


class OnTorch:
    """The same on a device of torch."""

    def __init__(self, device: str) -> None:
        import torch

        self.torch = torch
        self.device = torch.device(device)

    def load(self, block: Array) -> Any:
        """Rows as float32, on the device."""
        # A memory map is read-only, which torch warns about; the copy to the device never writes to it.
        return self.torch.tensor(np.asarray(block), device=self.device).float()

    def squares(self, rows: Any) -> Any:
        """Squared length (m,) of each row."""
        return self.torch.linalg.vecdot(rows, rows)

    def usable(self, squares: Any) -> bool:
        """Whether all rows are finite, not zero, and of a length that float32 products bear."""
        return bool(((squares > _SHORTEST) & (squares < _LONGEST)).all())

    def ones(self, n: int) -> Any:
        """A row of n ones."""
        return self.torch.ones(n, device=self.device)

    def wide(self, a: Any) -> Any:
        """In float64."""
        return a.double()

    def host(self, a: Any) -> Array:
        """As a float64 array of NumPy."""
        return np.asarray(a.double().cpu().numpy())
