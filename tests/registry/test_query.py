"""`Query`: an encoder and a registry together, embedded and through a server."""

from __future__ import annotations

import numpy as np
import pytest

from registry import Query
from registry.errors import Incompatible, InvalidInput
from registry.transforms import Orthogonal

WORDS = ["red shoes", "blue shoes", "green hat", "old lamp", "new lamp", "tall chair", "low chair"]
ROTATION = np.linalg.qr(np.random.default_rng(5).standard_normal((8, 8)))[0].astype(np.float32)


def old(texts):
    """Something that embeds texts: counts of letters, spread over 8 dimensions."""
    return np.array(
        [[1 + sum(ord(c) * (i + 1) % 17 for c in t) % 31 for i in range(8)] for t in texts], dtype=np.float32
    )


def new(texts):
    return old(texts) @ ROTATION


@pytest.fixture
def shop(reg):
    reg.register_version("shop", dim=8, fingerprint={"weights": "a"})
    reg.register_version("shop", dim=8, fingerprint={"weights": "b"}, parent="shop/1")
    reg.create_gallery("catalog")
    reg.add_transform(Orthogonal(weight=ROTATION.T.copy(), bias=np.zeros(8)), source="shop/2", target="shop/1")
    return reg


def test_a_new_model_finds_what_an_old_one_stored(shop):
    stored = Query(shop, "shop/1", old, fingerprint={"weights": "a"}, batch=3)
    assert stored.append("catalog", WORDS, WORDS) == len(WORDS)
    query = Query(shop, "shop/2", new, fingerprint={"weights": "b"}, batch=2)
    hits = query.search("catalog", WORDS, k=2, allow_unmeasured=True)
    assert hits.ids[:, 0].tolist() == WORDS
    converted = query.convert(WORDS[:3], into="shop/1", allow_unmeasured=True)
    lengths = np.linalg.norm(old(WORDS[:3]), axis=1, keepdims=True)
    np.testing.assert_allclose(converted, old(WORDS[:3]) / lengths, atol=1e-5)


def test_another_encoder_is_refused_before_anything_is_compared(shop):
    with pytest.raises(Incompatible, match="fingerprint is not that of shop/1"):
        Query(shop, "shop/1", new, fingerprint={"weights": "b"}).append("catalog", WORDS, WORDS)
    Query(shop, "shop/1", old).append("catalog", WORDS, WORDS)
    with pytest.raises(Incompatible, match="fingerprint is not that of shop/2"):
        Query(shop, "shop/2", old, fingerprint={"weights": "a"}).search("catalog", WORDS)
    assert shop.gallery("catalog").items == len(WORDS)


def test_a_drifted_encoder_is_noticed(shop):
    shop.add_canaries("shop/1", WORDS, old(WORDS))
    assert Query(shop, "shop/1", old).verify().ok
    assert not Query(shop, "shop/1", new).verify().ok


def test_a_part_that_fails_leaves_nothing(shop):
    def breaks(texts):
        if "low chair" in texts:
            raise RuntimeError("out of memory")
        return old(texts)

    with pytest.raises(RuntimeError, match="out of memory"):
        Query(shop, "shop/1", breaks, batch=2).append("catalog", WORDS, WORDS)
    assert shop.gallery("catalog").items == 0
    Query(shop, "shop/1", old, batch=2).append("catalog", WORDS, WORDS)


@pytest.mark.parametrize("inputs", ["red shoes", b"red shoes", []])
def test_inputs_are_a_list(shop, inputs):
    with pytest.raises(InvalidInput):
        Query(shop, "shop/1", old).embed(inputs)


def test_hits_and_embeddings_become_tables(shop):
    Query(shop, "shop/1", old).append("catalog", WORDS, WORDS)
    found = shop.fetch("catalog", ids=WORDS[:3], into="shop/1")
    assert found.to_arrow()["id"].to_pylist() == WORDS[:3]
    np.testing.assert_array_equal(found.to_pandas().to_numpy(), found.to_numpy())
    np.testing.assert_array_equal(found.to_torch().numpy(), found.vectors)
    hits = shop.search("catalog", old(WORDS[:2]), version="shop/1", k=len(WORDS) + 2)
    table = hits.to_arrow()
    assert table.num_rows == 2 * len(WORDS)  # places without a result are left out
    assert hits.to_pandas()["id"][0] == WORDS[0]
