"""Two encoders of the same sentences: how well a sentence is found across them, by anchors and by bridges.

    python -m bench.sentences            # a few minutes on two cores; the picture goes to docs/pictures/sentences.svg
    python -m bench.sentences --quick

The sentences are those of STS-B in English (`stsb_multi_mt.npz` of the shared data), each once. The encoders, fitted to the
training sentences alone: TF-IDF of words cut to 128 dimensions by a truncated SVD, and TF-IDF of character 2- to 4-grams
cut to 256. Of its test sentences 1,000 are tested, in an order by the seed; the pairs are of its training sentences.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from bench.spaces import SEED, Spaces
from bench.spaces_report import measure

FILE = Path(__file__).parents[1] / "../shared/data/stsb_multi_mt.npz"
PICTURE = Path(__file__).parents[1] / "docs/pictures/sentences.svg"
TRAIN, TEST = 0, 2  # of the file's splits


def sentences() -> tuple[list[str], list[str]]:
    """Training and test sentences, each once, in an order by the seed."""
    with np.load(FILE, allow_pickle=False) as file:
        raw, ends, split = file["text_en"].tobytes(), file["off_en"], np.repeat(file["split"], 2)
    texts = [raw[a:b].decode() for a, b in pairwise(ends)]
    train = dict.fromkeys(t for t, s in zip(texts, split, strict=True) if s == TRAIN)
    test = dict.fromkeys(t for t, s in zip(texts, split, strict=True) if s == TEST and t not in train)
    rng = np.random.default_rng(SEED)
    return list(rng.permutation(list(train))), list(rng.permutation(list(test)))


def spaces() -> Spaces:
    """Both encoders' vectors; a sentence without any word of the training sentences has none, and is left out."""
    train, test = sentences()
    encoders = {
        "words": make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(128, random_state=SEED)),
        "characters": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True),
            TruncatedSVD(256, random_state=SEED),
        ),
    }
    fitted = {name: encoder.fit(train) for name, encoder in encoders.items()}
    return Spaces(
        train=_encoded(fitted, train, most=8000),
        test=_encoded(fitted, test, most=1000),
        detail=("words", "characters"),
    )


def _encoded(encoders: dict[str, Any], texts: list[str], *, most: int) -> dict[str, Any]:
    vectors = {name: encoder.transform(texts).astype(np.float32) for name, encoder in encoders.items()}
    usable = np.all([np.linalg.norm(x, axis=1) > 1e-6 for x in vectors.values()], axis=0)
    return {name: x[usable][:most] for name, x in vectors.items()}


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="Sentences across two encoders.")
    parser.add_argument("--quick", action="store_true", help="Fewer numbers of pairs and anchors; draws no picture.")
    options = parser.parse_args()
    if not FILE.is_file():
        sys.exit(f"skipped: the sentences are not at {FILE.resolve()}; see the README of the shared data")
    measure(spaces(), quick=options.quick, picture=PICTURE, title="1,000 sentences across two encoders")


if __name__ == "__main__":
    main()
