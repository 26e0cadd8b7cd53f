"""Four models' vectors of the same words: how well a word is found across models, by anchors and by bridges.

    python -m bench.words                # a few minutes on two cores; the picture goes to docs/pictures/words.svg
    python -m bench.words --quick

The vectors are `wordvecs_wiki_derived.npz` of the shared data: 10,000 words, skip-gram, fastText and CBOW, and PPMI with
SVD. Of a permutation by the seed, the first 1,000 words are left out, since defaults of align were chosen on them; the
next 1,000 are tested, and the remaining 8,000 are the pairs, the same first n for every method.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bench.spaces import SEED, Spaces
from bench.spaces_report import measure

FILE = Path(__file__).parents[1] / "../shared/data/wordvecs_wiki_derived.npz"
PICTURE = Path(__file__).parents[1] / "docs/pictures/words.svg"
NAMES = {
    "skip-gram": "vec_w2v_sg_100",
    "fastText": "vec_fasttext_sg_100",
    "CBOW": "vec_w2v_cbow_64",
    "PPMI-SVD": "vec_ppmi_svd_100",
}


def spaces() -> Spaces:
    """The four models."""
    with np.load(FILE, allow_pickle=False) as file:
        vectors = {name: file[key].astype(np.float32) for name, key in NAMES.items()}
    order = np.random.default_rng(SEED).permutation(len(vectors["CBOW"]))
    return Spaces(
        train={name: x[order[2000:]] for name, x in vectors.items()},
        test={name: x[order[1000:2000]] for name, x in vectors.items()},
        detail=("skip-gram", "PPMI-SVD"),
    )


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="Words across four models.")
    parser.add_argument("--quick", action="store_true", help="Fewer numbers of pairs and anchors; draws no picture.")
    options = parser.parse_args()
    if not FILE.is_file():
        sys.exit(f"skipped: the word vectors are not at {FILE.resolve()}; see the README of the shared data")
    measure(spaces(), quick=options.quick, picture=PICTURE, title="1,000 words across four models")


if __name__ == "__main__":
    main()
