"""Every bridge that `align.fit` knows, applied to the test vectors of an upgrade."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import align
from align import anchors, relative
from registry.vectors import Array

FEW = ("orthogonal", "affine", "lowrank", "mlp", "lambda-orthogonal", "slerp")


def bridged(
    new_pairs: Array, old_pairs: Array, new: Array, old: Array, *, labels: Array
) -> Iterator[tuple[str, Array, Array]]:
    """(name, queries, gallery) of each way to compare test vectors new (m, d_new) with stored ones old (m, d_old).

    new_pairs (n, d_new), old_pairs (n, d_old): the training items in both spaces, of which `labels` (n,) are the classes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for method in FEW:
            fitted = align.fit(new_pairs, old_pairs, method=method)
            yield method, fitted.apply(new, old) if fitted.side_dim else fitted.apply(new), old
        forward = align.fit(old_pairs, new_pairs, method="fct")
        yield "fct (old vectors mapped forward)", new, forward.apply(old)
        for similarity in ("cosine", "whitened"):
            chosen = anchors.select(old_pairs, 300, "prototype")
            sides = [
                relative.project(
                    x, chosen.vectors(pairs), similarity, **({"data": pairs} if similarity == "whitened" else {})
                )
                for x, pairs in ((new, new_pairs), (old, old_pairs))
            ]
            yield f"relative, 300 prototypes, {similarity}", *sides
