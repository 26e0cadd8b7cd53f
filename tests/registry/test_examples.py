"""Items by label, items to search by, own vectors, and the paths of many versions at once."""

from __future__ import annotations

import numpy as np
import pytest

from registry.errors import Incompatible, InvalidInput, NotFound
from registry.services import paths, readers
from registry.transforms import Prefix

ROWS = 500


def fill(reg, *, versions=2):
    """Items of two label columns, stored by two versions in different orders; the second one leaves some out."""
    rng = np.random.default_rng(1)
    for _ in range(versions):
        reg.register_version("shoes", dim=4)
    reg.create_gallery("shop", labels=["class", "colour"])
    ids = [f"i{n}" for n in range(ROWS)]
    labels = {"class": np.arange(ROWS) % 7, "colour": [("red", "blue")[n % 2] for n in range(ROWS)]}
    stored = {"shoes/1": rng.normal(size=(ROWS, 4)).astype("float32"), "shoes/2": rng.normal(size=(ROWS, 4))}
    reg.append("shop", version="shoes/1", ids=ids, vectors=stored["shoes/1"], labels=labels)
    order = rng.permutation(ROWS)[:300]
    some = {name: np.asarray(values)[order].tolist() for name, values in labels.items()}
    reg.append("shop", version="shoes/2", ids=[ids[n] for n in order], vectors=stored["shoes/2"][order], labels=some)
    return ids, labels, order, stored


def pages_of(reg, **asked):
    found, after = [], None
    while True:
        page = reg.items("shop", after=after, **asked)
        found += page.items
        if (after := page.next) is None:
            return found


def test_items_with_a_label_are_found_page_by_page(reg):
    ids, labels, order, _ = fill(reg)
    reg.delete("shop", ids[3:40])
    left = [n for n in range(ROWS) if not 3 <= n < 40]
    for label in ({"class": 3}, {"class": "3"}, {"class": 3, "colour": "red"}):
        red = "colour" in label
        wanted = [ids[n] for n in left if labels["class"][n] == 3 and (not red or n % 2 == 0)]
        found = pages_of(reg, label=label, limit=11)
        assert [item.id for item in found] == wanted
        assert all(("shoes/2" in item.versions) == (int(item.id[1:]) in order) for item in found)
    for nothing in ({"class": "03"}, {"class": "x"}, {"class": 10**30}, {"colour": 1}):
        assert pages_of(reg, label=nothing) == []


def test_a_label_that_there_is_not_is_refused(reg):
    fill(reg)
    for label in ({"size": 1}, {"class": 1.5}, {"class": True}, {"class": None}, ["class"]):
        with pytest.raises((InvalidInput, TypeError, ValueError)):
            reg.items("shop", label=label)


@pytest.mark.embedded
def test_a_page_looks_at_so_many_rows_and_the_next_goes_on(reg, monkeypatch):
    from registry import browsing

    ids, *_ = fill(reg)
    monkeypatch.setattr(browsing, "_AT_ONCE", 16)
    monkeypatch.setattr(browsing, "_LOOKED_AT", 64)
    assert len(reg.items("shop", label={"class": 3}).items) < 12
    assert [i.id for i in pages_of(reg, label={"class": 3}, limit=4)] == [ids[n] for n in range(ROWS) if n % 7 == 3]


@pytest.mark.embedded
def test_examples_are_of_all_versions_and_the_same_for_a_seed(reg):
    ids, _, order, stored = fill(reg)
    first, again, other = (reg.examples("shop", versions=["shoes/1", "shoes/2"], many=5, seed=s) for s in (1, 1, 2))
    assert first == again != other and len(set(first)) == 5
    assert set(first) | set(other) <= {ids[n] for n in order}
    for ref, vector in reg.own_vectors("shop", first[0], versions=["shoes/1", "shoes/2"]).items():
        assert np.allclose(vector, stored[ref][int(first[0][1:])], atol=1e-6)
    left_out = next(n for n in range(ROWS) if n not in order)
    with pytest.raises(NotFound, match="shoes/2 stored no vector of item"):
        reg.own_vectors("shop", ids[left_out], versions=["shoes/1", "shoes/2"])
    reg.register_version("shoes", dim=4)
    with pytest.raises(NotFound, match="shoes/3 stored no vectors"):
        reg.examples("shop", versions=["shoes/1", "shoes/3"], many=5, seed=1)


@pytest.mark.embedded
def test_items_are_given_in_the_order_asked_for_and_unknown_ones_passed_over(reg):
    fill(reg)
    reg.add_previews("shop", ["i7", "i400"], texts=["seven", "four hundred"])
    found = reg.items_of("shop", ["i400", "nothing", "i7", "i8"], previews=True)
    assert [(item.id, item.preview) for item in found] == [("i400", "four hundred"), ("i7", "seven"), ("i8", None)]
    assert found[1].labels == {"class": 0, "colour": "blue"}


@pytest.mark.embedded
def test_many_paths_at_once_are_those_that_searches_take(reg):
    fill(reg, versions=4)
    for source, target in (("shoes/2", "shoes/1"), ("shoes/3", "shoes/2"), ("shoes/3", "shoes/1")):
        reg.add_transform(Prefix(from_dim=4, to_dim=4), source=source, target=target)
    reg.evaluate("shop", versions=["shoes/1", "shoes/2"])
    reg.evaluate("shop", versions=["shoes/1", "shoes/2"], label="colour")
    with reg.reading() as session:
        graph = reg.graph(session)
        held = readers.stored(session, "shop")
        found = readers.readers(session, graph, held, limit=10)
        for reader in found.readers:
            for s in held:
                try:
                    one = paths.best_meeting(session, graph, reader.version, s.version, allow_unmeasured=True)
                except Incompatible:
                    one = None
                assert reader.paths.get(s.version) == one
        assert [(r.version, r.alias) for r in found.readers] == [
            ("shoes/4", ""), ("shoes/3", None), ("shoes/2", None), ("shoes/1", None)
        ]  # fmt: skip
        assert [s.version for s in held] == ["shoes/1", "shoes/2"]
