"""A process that lost the database's lock with its connection, and goes on writing files."""

from __future__ import annotations

import lance
import numpy as np
import pytest
from lance.fragment import write_fragments

from registry import gallery
from registry.errors import Unavailable


def intrude(dataset):
    """Append a copy of what is stored, as whoever does not know that its lock is gone."""
    rows = lance.dataset(dataset.uri).to_table()
    operation = lance.LanceOperation.Append(list(write_fragments(rows, dataset.uri, mode="append")))
    lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.latest_version)


@pytest.mark.parametrize("write", ["append", "delete"])
def test_what_another_wrote_without_the_lock_never_counts(lite, monkeypatch, write):
    lite.register_version("m", dim=2)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a", "b"], vectors=np.eye(2))
    real = gallery.Dataset._rolled_back

    def rolled_back(self, version):
        base = real(self, version)
        intrude(base)
        return base

    def attempt():
        if write == "append":
            return lite.append("g", version="m/1", ids=["c", "d"], vectors=-np.eye(2))
        return lite.delete("g", ["a", "b"])

    with monkeypatch.context() as patch:
        patch.setattr(gallery.Dataset, "_rolled_back", rolled_back)
        with pytest.raises(Unavailable, match=r"another process wrote to .* nothing was stored: try again"):
            attempt()
    assert lite.search("g", np.eye(2), version="m/1", k=3).ids.tolist() == [["a", "b", ""], ["b", "a", ""]]
    assert lite.gallery("g").items == 2
    assert attempt() == 2
    left = ["a", "b", "c", "d"] if write == "append" else []
    found = [id for block in lite.scan("g", into="m/1") for id in block.ids.tolist()]
    assert sorted(found) == left
    assert lite.gallery("g").items == len(left)
