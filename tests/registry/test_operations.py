"""A request that is repeated under its key is done once; a batch in parts is stored whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from registry.errors import AlreadyExists, BadVector, DimensionMismatch, DuplicateId, InvalidInput
from registry.transforms import Prefix


@pytest.fixture
def shop(reg):
    reg.register_version("m", dim=4)
    reg.create_gallery("g", id_type="int")
    reg.create_gallery("b", labels=["class"])
    return reg


def test_a_repeated_append_stores_nothing_and_is_answered_alike(shop, rows):
    x = rows(3, 4)
    assert shop.append("g", version="m/1", ids=[1, 2, 3], vectors=x, key="job-7") == 3
    assert shop.append("g", version="m/1", ids=[1, 2, 3], vectors=x, key="job-7") == 3
    assert shop.gallery("g").items == 3
    assert [c.action for c in shop.changes()].count("gallery.appended") == 1
    with pytest.raises(AlreadyExists):
        shop.append("g", version="m/1", ids=[1, 2, 3], vectors=x, key="job-8")


def test_a_key_belongs_to_one_request(shop, rows):
    shop.append("g", version="m/1", ids=[1], vectors=rows(1, 4), key="k")
    with pytest.raises(InvalidInput, match="used for another request"):
        shop.append("g", version="m/1", ids=[2], vectors=rows(1, 4), key="k")
    with pytest.raises(InvalidInput, match="used for another request"):
        shop.create_gallery("other", key="k")
    assert [g.name for g in shop.galleries()] == ["b", "g"]


def test_a_request_that_failed_may_be_made_again_under_its_key(shop, rows):
    x = rows(2, 4)
    with pytest.raises(DuplicateId):
        shop.append("g", version="m/1", ids=[1, 1], vectors=x, key="k")
    assert shop.append("g", version="m/1", ids=[1, 2], vectors=x, key="k") == 2


def test_whatever_adds_is_done_once(shop, rows):
    shop.register_version("m", dim=2)
    shop.append("g", version="m/1", ids=[1, 2], vectors=rows(2, 4))
    calls = {
        "version": lambda: shop.register_version("m", dim=8, key="version"),
        "gallery": lambda: shop.create_gallery("new", key="gallery"),
        "transform": lambda: shop.add_transform(
            Prefix(from_dim=4, to_dim=2), source="m/1", target="m/2", key="transform"
        ),
        "anchors": lambda: shop.add_anchors("a", gallery="g", ids=[1, 2], key="anchors"),
        "delete": lambda: shop.delete("g", [2], key="delete"),
    }
    first = {name: call() for name, call in calls.items() if name != "delete"}
    assert {name: calls[name]() for name in first} == first
    assert calls["delete"]() == calls["delete"]() == 1
    assert [v.ref for v in shop.versions("m")] == ["m/1", "m/2", "m/3"]


@pytest.mark.parametrize("key", ["", "x" * 101, "a\nb", 3, "é", " a"])
def test_a_key_is_a_short_text(lite, rows, key):
    with pytest.raises(InvalidInput, match="idempotency key"):
        lite.create_gallery("g", key=key)
    assert lite.galleries() == []


def test_parts_are_one_batch(shop, rows):
    x = rows(1000, 4)
    parts = [(np.arange(i, i + 100), x[i : i + 100], None) for i in range(0, 1000, 100)]
    assert shop.append_parts("g", version="m/1", parts=iter(parts)) == 1000
    assert [c.details["rows"] for c in shop.changes() if c.action == "gallery.appended"] == [1000]
    found = shop.fetch("g", ids=[999, 0, 500, 0], into="m/1")
    np.testing.assert_array_equal(found.vectors, x[[999, 0, 500, 0]])


@pytest.mark.parametrize(
    ("last", "error", "row"),
    [
        (([7, 8], [[1, 2, 3, 4], [np.nan, 0, 0, 1]]), BadVector, 5),
        (([7, 2], [[1, 2, 3, 4], [1, 0, 0, 1]]), DuplicateId, 5),
        (([7, 8], [[1, 2, 3], [1, 0, 0]]), DimensionMismatch, None),
        (([7, -1], [[1, 2, 3, 4], [1, 0, 0, 1]]), InvalidInput, None),
    ],
)
def test_one_bad_row_in_the_last_part_stores_nothing(shop, home, rows, last, error, row):
    parts = [([1, 2], rows(2, 4), None), ([3, 4], rows(2, 4), None), (last[0], np.array(last[1], "f4"), None)]
    with pytest.raises(error) as caught:
        shop.append_parts("g", version="m/1", parts=parts)
    assert row is None or caught.value.row == row
    assert f"row {row}" in str(caught.value) or row is None
    assert shop.gallery("g").items == 0
    assert shop.gallery("g").segments == ()
    assert not list(Path(home).glob("galleries/g/*/data/*")), "staged files are removed"


def test_parts_agree_about_their_labels(shop, rows):
    parts = [(["a"], rows(1, 4), {"class": ["x"]}), (["b"], rows(1, 4), {"class": [3]})]
    with pytest.raises(InvalidInput, match="parts of a batch have the same"):
        shop.append_parts("b", version="m/1", parts=parts)
    assert shop.gallery("b").items == 0
    assert shop.append_parts("b", version="m/1", parts=[parts[0], (["b"], rows(1, 4), {"class": ["y"]})]) == 2
