"""A small real registry: four versions of a model, a benchmark, a trained prefix, a fitted map, and evidence."""

from __future__ import annotations

import numpy as np
import pytest

from registry import connect
from registry.transforms import Orthogonal, Prefix
from web import create_app

BENCHMARK = "digits-bench"
HOSTILE = "<script>alert(1)</script>\"'&"
ITEMS, CLASSES, OLD_DIM, NEW_DIM = 300, 6, 16, 32


def vectors(rng: np.random.Generator, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Encoders of the same items: a noisy one, a compatible successor, a rotated one, and one that nothing leads to."""
    centres = rng.normal(size=(CLASSES, NEW_DIM))
    clean = centres[labels]
    old = clean[:, :OLD_DIM] + rng.normal(size=(len(labels), OLD_DIM)) * 1.6
    new = clean + rng.normal(size=(len(labels), NEW_DIM)) * 0.9
    new[:, :OLD_DIM] = 0.5 * new[:, :OLD_DIM] + 0.5 * clean[:, :OLD_DIM]
    rotation = np.linalg.qr(rng.normal(size=(NEW_DIM, NEW_DIM)))[0]
    other = (clean + rng.normal(size=(len(labels), NEW_DIM)) * 1.1) @ rotation
    last = (clean + rng.normal(size=(len(labels), NEW_DIM)) * 0.8) @ rotation.T
    return {1: old, 2: new, 3: other, 4: last}


def fitted(source: np.ndarray, target: np.ndarray) -> Orthogonal:
    """The semi-orthogonal map from `source` rows to `target` rows (Procrustes)."""
    u, _, vt = np.linalg.svd(source.T @ target, full_matrices=False)
    return Orthogonal(weight=u @ vt, bias=np.zeros(target.shape[1]), report={"rows": len(source)})


def fill(registry) -> None:
    """Everything that the pages show."""
    rng = np.random.default_rng(7)
    labels = rng.integers(CLASSES, size=ITEMS)
    made = vectors(rng, labels)
    registry.register_version(
        "products",
        dim=OLD_DIM,
        source="models:/products/1",
        run_id="8f1c2d3e4a5b6c7d8e9f00112233",
        tags={"team": "search"},
    )
    registry.register_version("products", dim=NEW_DIM, parent="products/1", method="oca", tags={"note": HOSTILE})
    registry.register_version("products", dim=NEW_DIM, parent="products/2", source=HOSTILE)
    registry.register_version("products", dim=NEW_DIM, parent="products/2")
    registry.set_alias("products", "champion", 2)
    registry.create_gallery(BENCHMARK, labels=["class"])
    registry.create_gallery("catalog", id_type="int")
    ids = [f"item-{i}" for i in range(ITEMS)]
    for number, x in made.items():
        registry.append(
            BENCHMARK, version=f"products/{number}", ids=ids, vectors=x, labels={"class": labels.astype(str)}
        )
    registry.append("catalog", version="products/1", ids=list(range(50)), vectors=made[1][:50])
    registry.add_transform(Prefix(from_dim=NEW_DIM, to_dim=OLD_DIM), source="products/2", target="products/1")
    registry.add_transform(fitted(made[3], made[1]), source="products/3", target="products/1")
    registry.add_anchors("landmarks", gallery=BENCHMARK, ids=ids[:10])
    registry.evaluate(BENCHMARK)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The folder of a filled registry, which tests only read."""
    folder = tmp_path_factory.mktemp("web") / "home"
    with connect(folder) as registry:
        fill(registry)
    return folder


@pytest.fixture
def registry(home):
    """The filled registry, open."""
    with connect(home) as registry:
        yield registry


@pytest.fixture
def client(registry):
    """A client of the pages and the API over the filled registry."""
    return create_app(registry).test_client()


@pytest.fixture
def empty(tmp_path):
    """A client over a registry that holds nothing."""
    with connect(tmp_path / "home") as registry:
        yield create_app(registry).test_client()
