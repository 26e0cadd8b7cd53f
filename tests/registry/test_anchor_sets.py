"""Anchor sets: what decides a relative space, how wide it is, and who may lead into it."""

from __future__ import annotations

import numpy as np
import pytest

from align import publish
from align.anchors import Anchors, select
from registry.errors import DimensionMismatch, Incompatible, InvalidInput, NotFound
from registry.transforms import Relative
from registry.vectors import normalize

SIMILARITIES = ("cosine", "whitened", "l2", "product")


def rotation(d, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0].astype(np.float32)


@pytest.fixture
def two(lite, rows):
    """Sixty items embedded by two versions, one a rotation of the other."""
    x = normalize(rows(60, 6))
    for _ in range(2):
        lite.register_version("m", dim=6)
    lite.create_gallery("g", id_type="int", labels=["class"])
    lite.append("g", version="m/1", ids=np.arange(60), vectors=x, labels={"class": np.arange(60) % 6})
    lite.append("g", version="m/2", ids=np.arange(60), vectors=x @ rotation(6))
    return lite, x


def test_a_set_keeps_its_quantum_and_width(reg, rows):
    reg.register_version("m", dim=4)
    reg.create_gallery("g", id_type="int")
    reg.append("g", version="m/1", ids=[1, 2, 3], vectors=rows(3, 4))
    made = reg.add_anchors("w", gallery="g", ids=[1, 2, 3], similarity="product", quantum=0.125)
    assert (made.size, made.dim, made.similarity, made.quantum) == (3, 12, "product", 0.125)
    assert reg.anchor_sets() == [made]
    assert reg.add_anchors("v", gallery="g", ids=[1, 2, 3], quantum=None).quantum == 0
    assert reg.add_anchors("u", gallery="g", ids=[1, 2, 3], quantum=0).dim == 3


@pytest.mark.parametrize("similarity", ["cosine", "whitened", "l2"])
@pytest.mark.parametrize("quantum", [None, 0.02])
def test_versions_meet_in_a_space_of_each_similarity(two, similarity, quantum):
    reg, x = two
    made = publish.freeze_anchors(
        reg, "w", select(x, 12, "prototype", nearest=3), gallery="g", ids=np.arange(60), similarity=similarity,
        quantum=quantum,
    )  # fmt: skip
    for version in ("m/1", "m/2"):
        info = publish.add_relative(reg, "w", version=version)
        assert (info.source_dim, info.target_dim) == (6, made.dim)
        assert reg.transform(info.id).quantum == (quantum or 0)
    one = reg.fetch("g", ids=range(60), into="relative/w", allow_unmeasured=True).vectors
    two_ = reg.convert(x @ rotation(6), source="m/2", into="relative/w", allow_unmeasured=True)
    assert one.shape == (60, 12)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert np.einsum("ij,ij->i", one, two_).min() > 0.99


def test_a_product_space_is_four_times_as_wide(two):
    reg, x = two
    reg.add_anchors("w", gallery="g", ids=range(10), similarity="product")
    info = publish.add_relative(reg, "w", version="m/1")
    assert info.target_dim == 40
    assert reg.fetch("g", ids=[0, 1], into="relative/w", allow_unmeasured=True).vectors.shape == (2, 40)
    assert reg.search("g", reg.convert(x, source="m/1", into="relative/w", allow_unmeasured=True),
                      version="relative/w", k=1, allow_unmeasured=True).ids.ravel().tolist() == list(range(60))  # fmt: skip
    with pytest.raises(DimensionMismatch, match="the space has 40"):
        reg.search("g", x, version="relative/w", allow_unmeasured=True)
    with pytest.raises(DimensionMismatch, match="6 -> 10 dimensions"):
        reg.add_transform(Relative(anchors=x[:10]), source="m/2", target="relative/w")


@pytest.mark.parametrize(
    "other",
    [
        lambda x: Relative(anchors=x[:10]),
        lambda x: Relative(anchors=x[:10], similarity="l2"),
        lambda x: Relative(anchors=x[:10], similarity="l2", quantum=0.2),
        lambda x: Relative(anchors=x[:10], quantum=0.1),
    ],
)
def test_another_similarity_or_quantum_is_another_space(two, other):
    reg, x = two
    reg.add_anchors("w", gallery="g", ids=range(10), similarity="l2", quantum=0.1)
    with pytest.raises(InvalidInput, match=r"relative/w holds l2 similarities in steps of 0\.1"):
        reg.add_transform(other(x), source="m/1", target="relative/w")
    right = Relative(anchors=x[:10], similarity="l2", quantum=0.1)
    assert reg.add_transform(right, source="m/1", target="relative/w").kind == "relative"


@pytest.mark.parametrize("other", [{"quantum": 0.2}, {"similarity": "l2"}, {"weights": [1, 2]}, {"ids": [1, 0]}])
def test_what_decides_a_space_is_in_its_identity(two, other):
    """A transform tagged for one set's space does not fit another set, whatever its name."""
    reg, x = two
    same = {"gallery": "g", "ids": [0, 1], "similarity": "cosine", "quantum": 0.1, "anchor": [0, 1], "weights": [1, 1]}
    tags = []
    for name, facts in (("a", same), ("b", same), ("c", {**same, **other})):
        reg.add_anchors(name, **facts)
        transform = Relative(
            anchors=x[:2], similarity=facts["similarity"], quantum=facts["quantum"], report={"for": name}
        )
        tags.append(reg.transform(reg.add_transform(transform, source="m/1", target=f"relative/{name}").id).target)
    assert tags[0].fingerprint == tags[1].fingerprint != tags[2].fingerprint


def test_anchors_of_many_items_are_their_weighted_means(two, monkeypatch):
    """Items are fetched a few at a time, and each only once, however many anchors it is part of."""
    reg, x = two
    monkeypatch.setattr(publish, "_FETCHED", 7)
    rng = np.random.default_rng(0)
    chosen = Anchors(rng.integers(0, 60, (9, 11)), rng.dirichlet(np.ones(11), 9).astype(np.float32))
    publish.freeze_anchors(reg, "w", chosen, gallery="g", ids=np.arange(60))
    info = publish.add_relative(reg, "w", version="m/2")
    expected = np.einsum("km,kmd->kd", chosen.weights, (x @ rotation(6))[chosen.indices])
    np.testing.assert_allclose(reg.transform(info.id).anchors, expected, atol=1e-5)


def test_lengths_count_only_where_the_metric_says_so(lite, rows):
    """The same vectors, in a space of directions and in one of places."""
    x = rows(80, 5) * np.linspace(0.5, 3, 80, dtype=np.float32)[:, None]
    lite.register_version("m", dim=5)
    lite.register_version("n", dim=5, metric="l2")
    lite.create_gallery("g", id_type="int")
    for version in ("m/1", "n/1"):
        lite.append("g", version=version, ids=np.arange(80), vectors=x)
    for similarity in SIMILARITIES:
        lite.add_anchors(similarity, gallery="g", ids=np.arange(40), anchor=np.arange(40) // 2,
                         weights=[0.5] * 40, similarity=similarity)  # fmt: skip
        for version, rows_ in (("m/1", normalize(x)), ("n/1", x)):
            transform = lite.transform(publish.add_relative(lite, similarity, version=version).id)
            np.testing.assert_allclose(transform.anchors, rows_[:40].reshape(20, 2, 5).mean(1), atol=1e-6)
            longer, as_is = (transform.apply(scale * x) for scale in (5, 1))
            if version == "m/1" or similarity == "cosine":
                np.testing.assert_allclose(longer, as_is, atol=1e-3)
            else:
                assert np.abs(longer - as_is).max() > 1e-2


def test_whitening_reads_what_the_version_itself_wrote(two):
    """Other versions' items in the gallery, which may have no way into this one, do not matter."""
    reg, x = two
    reg.register_version("other", dim=9)
    reg.append("g", version="other/1", ids=[100, 101], vectors=np.eye(9)[:2], labels={"class": [0, 1]})
    reg.add_anchors("w", gallery="g", ids=range(10), similarity="whitened")
    transform = reg.transform(publish.add_relative(reg, "w", version="m/1").id)
    assert transform.report["rows"] == 60
    np.testing.assert_allclose(transform.mean, x.mean(0), atol=1e-5)


def test_a_version_that_embedded_none_of_them_cannot_be_led_in(two):
    reg, _ = two
    reg.register_version("other", dim=9)
    reg.add_anchors("w", gallery="g", ids=range(10))
    with pytest.raises(Incompatible, match="other/1"):
        publish.add_relative(reg, "w", version="other/1")
    with pytest.raises(NotFound, match="no anchor set 'nothing'"):
        publish.add_relative(reg, "nothing", version="m/1")
