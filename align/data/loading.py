"""`load`: a data set from whatever holds one, told apart by what is inside and not by the file's name."""

from __future__ import annotations

import os
from pathlib import Path

from align.data.archive import Layout, archive
from align.data.dataset import Dataset
from align.data.digits import digits
from align.data.folder import folder
from registry.errors import InvalidInput, NotFound

__all__ = ["load"]


def load(
    source: str | os.PathLike[str],
    *,
    seed: int = 0,
    layout: Layout | None = None,
    size: int | tuple[int, int] | None = None,
) -> Dataset:
    """Load `"digits"`, an .npz file or a folder of images.

    - `digits`: the 1,797 handwritten 8x8 images bundled with scikit-learn, values 0 to 16 as uint8, split half and half
      within each class by `seed`: they are so easy that a large test half, hence a narrow interval, is worth more than
      training images. An item's id is its position in scikit-learn's array, so it is the same for every split.
    - an `.npz` file of plain arrays x_train, y_train, x_test, y_test, and class_names, ids_train and ids_test if it has
      them. Images are (n, h, w), (n, c, h, w) or (n, h, w, c), uint8 or float32; the axis of channels is the one that
      has at most four places, and where both or none could be it, `layout` must say. Labels of the two parts count
      alike: where the test part is of other classes (Omniglot), they are other numbers.
    - an `.npz` file of JPEG sheets jpg_train, off_train, jpg_test, off_test, y_train, y_test, class_names: 50x50 tiles
      of 32x32 pixels each, as CIFAR-100 is packed for this project's tests.
    - a folder `train/<class>/*` and `test/<class>/*`, or only `<class>/*`, which is split like the digits. See
      `align.data.folder` for which files count; `size`, pixels a side or (h, w), resizes them to one size.

    Raises:
        NotFound: no such file or folder, and no built-in set of that name.
        CorruptFile: a file that is damaged, of another format, or pickled, which is never read.
        InvalidInput: an array or class folder is missing or does not fit the others, a layout is not clear, or an option
            is given that the source has no use for.
        MissingExtra: scikit-learn or Pillow is not installed.
    """
    if os.fspath(source) == "digits":
        _unused("digits", layout=layout, size=size)
        return digits(seed)
    path = Path(source)
    if path.is_dir():
        _unused(str(path), layout=layout)
        return folder(path, seed=seed, size=size)
    if not path.is_file():
        raise NotFound(
            f"no data set {os.fspath(source)!r}: use 'digits' or the path of an .npz file or a folder of images"
        )
    _unused(str(path), size=size)
    return archive(path, layout=layout)


def _unused(source: str, **options: object) -> None:
    """Refuse an option that would be passed over in silence."""
    for name, value in options.items():
        if value is not None:
            raise InvalidInput(f"{source} has no use for {name}={value!r}: leave it out")
