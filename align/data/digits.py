"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from align.data.dataset import Dataset
from align.data.sampling import draw
from registry.errors import MissingExtra

__all__ = ["digits"]


def digits(seed: int) -> Dataset:
    """1,797 grey images of 8x8, values 0 to 16, split half and half within each class; see `load`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the digits need scikit-learn: pip install 'samespace[align]'") from error
    bunch = load_digits()
    x, y = bunch.images[:, None].astype(np.uint8), bunch.target.astype(np.int64)
    train = draw(y, np.bincount(y) // 2, seed)
    return Dataset(
        name="digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[~train],
        y_test=y[~train],
        class_names=tuple(str(name) for name in bunch.target_names),
        ids_train=np.flatnonzero(train),
        ids_test=np.flatnonzero(~train),
    )
