"""Flipped bits in the files of a home: what a registry that is opened afterwards says of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.hostility import DIM, ITEMS
from registry import connect
from registry.errors import SamespaceError

__all__ = ["KINDS", "SAME", "WRONG", "flip", "seen"]

KINDS = {
    "transform files": "transforms/*.safetensors",
    "canaries files": "canaries/*.safetensors",
    "registry.db": "registry.db",
    "Lance manifests": "galleries/**/*.manifest",
    "Lance transactions and hints": "galleries/**/[_0]*/*[!t]",
    "Lance data, vectors": "galleries/*/products-*.lance/data/*",
    "Lance data, items": "galleries/*/items.lance/data/*",
}
"""The files of a home."""

SAME, WRONG = "same as before", "wrong, and nobody noticed"


def seen(home: Path) -> bytes:
    """Everything of a home that `bench.hostility.fill` made, as its users read it."""
    x = np.linspace(1, 2, DIM, dtype=np.float32)[None]
    with connect(home) as reg:
        facts = [reg.models(), reg.versions(), reg.galleries(), reg.transforms(), reg.anchor_sets(), reg.changes()]
        vectors = [block.vectors for name in ("catalog", "numbers") for block in reg.scan(name, into="products/1")]
        ids = [block.ids.tolist() for name in ("catalog", "numbers") for block in reg.scan(name, into="products/1")]
        labels = reg.shared("numbers", versions=["products/1"], label="class").labels
        fetched = reg.fetch("numbers", ids=list(range(ITEMS)), into="products/1").vectors
        hits = reg.search("catalog", x, version="products/1", k=5)
        mapped = reg.convert(x, source="products/2", into="products/1", allow_unmeasured=True)
        kept = reg.canaries("products/1")
    arrays = [*vectors, fetched, hits.scores, mapped, kept.vectors]
    return repr((facts, ids, labels, hits.ids.tolist(), kept.inputs)).encode() + b"".join(a.tobytes() for a in arrays)


def flip(file: Path, times: int, look: Callable[[], bytes], seed: int = 0) -> Counter[str]:
    """Flip one bit of a file, look, and mend it, `times` times: how often what came of it.

    Bytes that are zero are left alone: most of them are padding and unused pages, which nobody reads.
    """
    sound, rng, found = file.read_bytes(), random.Random(seed), Counter[str]()  # noqa: S311 - repeatable, not secret
    places = [place for place, value in enumerate(sound) if value]
    truth = look()
    for _ in range(times):
        data = bytearray(sound)
        data[rng.choice(places)] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        found[_said(look, truth)] += 1
        file.write_bytes(sound)
    return found


def _said(look: Callable[[], bytes], truth: bytes) -> str:
    try:
        return SAME if look() == truth else WRONG
    except SamespaceError as error:
        return type(error).__name__
    except BaseException as error:  # a panic of Lance is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return f"unforeseen {type(error).__name__}"
