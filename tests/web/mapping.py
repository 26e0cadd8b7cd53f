"""A studied pair that tests of the two maps share: few items, so that they are laid out without t-SNE, with evil names."""

from __future__ import annotations

import numpy as np

from registry import connect
from registry.transforms import Prefix

OLD, NEW, BENCHMARK = "shoes/1", "boots/1", "bench"
HOSTILE = "<script>alert(1)</script>\"'&"
FORMULA = '=HYPERLINK("http://evil.example")'
ITEMS = 28
IDS = [FORMULA, HOSTILE, *(f"item/{i}" for i in range(2, ITEMS))]
PAGE = f"/compare?old={OLD}&new={NEW}"
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000"
    "907753de0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def studied(folder):
    """A registry in `folder` where boots/1 was studied as the successor of shoes/1; the class of an item is 0, 1 or 2."""
    rng = np.random.default_rng(5)
    labels = np.arange(ITEMS) % 3
    centres = rng.normal(size=(3, 16))[labels]
    registry = connect(folder)
    registry.register_version("shoes", dim=8)
    registry.register_version("boots", dim=16)
    registry.add_transform(Prefix(from_dim=16, to_dim=8), source=NEW, target=OLD)
    registry.create_gallery(BENCHMARK, labels=["class", "shop"])
    both = {"class": labels, "shop": np.array([HOSTILE, FORMULA])[np.arange(ITEMS) % 4 // 3]}
    for version, x in ((OLD, centres[:, :8]), (NEW, centres)):
        noisy = x + rng.normal(size=x.shape) * (1.2 if version == OLD else 0.6)
        registry.append(BENCHMARK, version=version, ids=IDS, vectors=noisy, labels=both)
    registry.add_previews(BENCHMARK, IDS, pictures=[PIXEL] * ITEMS)
    registry.evaluate(BENCHMARK)
    registry.study(OLD, NEW, benchmark=BENCHMARK, label="class")
    return registry
